/** A small random llama with outlier channels, quantized by min-max: what the tests export. */
import { collectStatistics, quantizeModel, rangesOf } from '@mobilequant/calibration';
import { type DecoderConfig, parseConfig, type QuantizedModel, type Weights, weightsFrom } from '@mobilequant/core';
import { type Recipe, recipeByName } from '@mobilequant/quantizer';
import type { Runtime } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';

export const runtime: Runtime = nodeRuntime();

export const config: DecoderConfig = parseConfig({
  model_type: 'llama',
  vocab_size: 96,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
});

/** mulberry32, as normal numbers. */
function randomNormal(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

export function randomWeights(
  { hidden, ffn, heads, kvHeads, headDim, vocab, layers }: DecoderConfig,
  seed = 1,
): Weights {
  const normal = randomNormal(seed);
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>();
  const matrix = (name: string, shape: [number, number], size: number) =>
    tensors.set(name, { shape, data: Float32Array.from({ length: shape[0] * shape[1] }, () => normal() * size) });
  const norm = (name: string) =>
    tensors.set(name, {
      shape: [hidden],
      data: Float32Array.from({ length: hidden }, (_, i) => 1 + 0.2 * normal() + (i === 3 ? 8 : 0)),
    });
  matrix('model.embed_tokens.weight', [vocab, hidden], 1);
  for (let layer = 0; layer < layers; layer++) {
    const inLayer = (name: string) => `model.layers.${layer}.${name}.weight`;
    norm(inLayer('input_layernorm'));
    norm(inLayer('post_attention_layernorm'));
    matrix(inLayer('self_attn.q_proj'), [heads * headDim, hidden], 0.2);
    matrix(inLayer('self_attn.k_proj'), [kvHeads * headDim, hidden], 0.2);
    matrix(inLayer('self_attn.v_proj'), [kvHeads * headDim, hidden], 0.2);
    matrix(inLayer('self_attn.o_proj'), [hidden, heads * headDim], 0.2);
    matrix(inLayer('mlp.w1'), [ffn, hidden], 0.2);
    matrix(inLayer('mlp.w3'), [ffn, hidden], 0.2);
    matrix(inLayer('mlp.w2'), [hidden, ffn], 0.2);
  }
  norm('model.norm.weight');
  return weightsFrom(tensors);
}

export const randomTokens = (length: number, vocab: number, seed: number): Int32Array => {
  const normal = randomNormal(seed);
  return Int32Array.from({ length }, () => Math.floor(Math.abs(normal()) * 1e6) % vocab);
};

/** Ranges from two random texts, encodings from a recipe. */
export async function quantized(
  recipe: Recipe | Parameters<typeof recipeByName>[0],
  { config: own = config, weights = randomWeights(own) }: { config?: DecoderConfig; weights?: Weights } = {},
): Promise<QuantizedModel> {
  const samples = [randomTokens(24, own.vocab, 2), randomTokens(24, own.vocab, 3)];
  const ranges = rangesOf(await collectStatistics(runtime, own, weights, samples));
  const whole = typeof recipe === 'string' ? recipeByName(recipe) : recipe;
  return (await quantizeModel({ config: own, weights, recipe: whole, ranges })).model;
}
