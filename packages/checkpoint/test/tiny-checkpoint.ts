import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TensorSource, type WriteSafetensorsOptions, writeSafetensors } from '../src/write-safetensors.ts';

/** A tokenizer of eleven tokens: two special ones, letters, a space, and `ab` as one. */
export const TOKENIZER = {
  version: '1.0',
  added_tokens: [
    { id: 0, content: '<s>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    { id: 1, content: '</s>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  ],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
  },
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    vocab: { '<s>': 0, '</s>': 1, a: 2, b: 3, c: 4, d: 5, e: 6, Ġ: 7, '.': 8, ',': 9, ab: 10 },
    merges: ['a b'],
  },
};

/** Tensors with Hugging Face names, as of a model with one layer of hidden size 2. */
export const TENSORS: readonly TensorSource[] = [
  ['model.embed_tokens.weight', [11, 2]],
  ['model.layers.0.self_attn.q_proj.weight', [2, 2]],
  ['model.layers.0.self_attn.rotary_emb.inv_freq', [1]],
  ['model.layers.0.mlp.gate_proj.weight', [3, 2]],
  ['model.layers.0.mlp.up_proj.weight', [3, 2]],
  ['model.layers.0.mlp.down_proj.weight', [2, 3]],
  ['model.norm.weight', [2]],
].map(([name, shape], seed) => {
  const size = (shape as number[]).reduce((a, b) => a * b);
  const data = Float32Array.from({ length: size }, (_, i) => (i + 1) / 8 - seed);
  return { name: name as string, dtype: 'float32', shape: shape as number[], data: () => data };
});

/** Writes a small model directory. */
export async function writeTinyCheckpoint(directory: string, options: WriteSafetensorsOptions = {}): Promise<void> {
  await writeSafetensors(join(directory, 'model.safetensors'), TENSORS, { format: 'pt' }, options);
  const files = {
    'config.json': { model_type: 'llama', hidden_size: 2, torch_dtype: 'float32' },
    'generation_config.json': { eos_token_id: 1 },
    'tokenizer.json': TOKENIZER,
    'tokenizer_config.json': { bos_token: '<s>', eos_token: { content: '</s>' } },
  };
  for (const [name, value] of Object.entries(files)) await writeFile(join(directory, name), JSON.stringify(value));
}
