/** A random llama of two layers with a tokenizer of single characters, as a directory: enough for every command. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeSafetensors } from '@mobilequant/checkpoint/node';
import { checkpointForm, mulberry32, storedName } from '@mobilequant/core';

const [HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, LAYERS] = [32, 48, 4, 2, 8, 2];
const CHARACTERS = ['<s>', ...' \nabcdefghijklmnopqrstuvwxyz.,'];

/** Writes the model into a directory, which is made. */
export async function writeTinyModel(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const config = {
    model_type: 'llama',
    hidden_size: HIDDEN,
    intermediate_size: FFN,
    num_hidden_layers: LAYERS,
    num_attention_heads: HEADS,
    num_key_value_heads: KV_HEADS,
    vocab_size: CHARACTERS.length,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  };
  const tokenizer = {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Fuse' },
    model: { type: 'BPE', unk_token: '<s>', vocab: Object.fromEntries(CHARACTERS.map((c, i) => [c, i])), merges: [] },
  };
  await writeFile(join(directory, 'config.json'), JSON.stringify(config));
  await writeFile(join(directory, 'tokenizer.json'), JSON.stringify(tokenizer));
  const random = mulberry32(5);
  const tensors = Object.entries(shapes()).map(([name, shape]) => {
    const size = shape.length === 1 ? 0.1 : 1.5 / Math.sqrt(shape[1] as number);
    const data = Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => (shape.length === 1 ? 1 : 0) + size * (2 * random() - 1),
    );
    return {
      name: storedName(checkpointForm({ model_type: 'llama' }), name),
      dtype: 'float32' as const,
      shape,
      data: () => data,
    };
  });
  await writeSafetensors(join(directory, 'model.safetensors'), tensors, { format: 'pt' });
}

/** A text of random words that the tokenizer covers. */
export function tinyText(characters: number, seed: number): string {
  const random = mulberry32(seed);
  const letters = 'etaoinshrdlucmfw';
  return Array.from({ length: characters }, () =>
    random() < 0.2 ? ' ' : letters[Math.floor(random() * letters.length)],
  ).join('');
}

function shapes(): Record<string, number[]> {
  const layer = {
    'input_layernorm.weight': [HIDDEN],
    'self_attn.q_proj.weight': [HEADS * HEAD_DIM, HIDDEN],
    'self_attn.k_proj.weight': [KV_HEADS * HEAD_DIM, HIDDEN],
    'self_attn.v_proj.weight': [KV_HEADS * HEAD_DIM, HIDDEN],
    'self_attn.o_proj.weight': [HIDDEN, HEADS * HEAD_DIM],
    'post_attention_layernorm.weight': [HIDDEN],
    'mlp.w1.weight': [FFN, HIDDEN],
    'mlp.w3.weight': [FFN, HIDDEN],
    'mlp.w2.weight': [HIDDEN, FFN],
  };
  const layers = Array.from({ length: LAYERS }, (_, i) =>
    Object.entries(layer).map(([name, shape]) => [`model.layers.${i}.${name}`, shape]),
  );
  return {
    'model.embed_tokens.weight': [CHARACTERS.length, HIDDEN],
    ...Object.fromEntries(layers.flat()),
    'model.norm.weight': [HIDDEN],
  };
}
