/** A small random llama with outlier channels, quantized by min-max: what the tests export. */
import { collectStatistics, quantizeModel, rangesOf } from '@mobilequant/calibration';
import {
  type DecoderConfig,
  decoderTensors,
  parseConfig,
  type QuantizedModel,
  type Weights,
  weightsFrom,
} from '@mobilequant/core';
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

/** Random weights with one large channel in every norm, and the biases that the config asks for. */
export function randomWeights(config: DecoderConfig, seed = 1): Weights {
  const normal = randomNormal(seed);
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const { name, shape, optional } of decoderTensors(config)) {
    if (optional) continue;
    const isNorm = name.endsWith('norm.weight');
    const value = (_: unknown, i: number) =>
      isNorm ? 1 + 0.2 * normal() + (i === 3 ? 8 : 0) : normal() * (name.includes('embed') ? 1 : 0.2);
    tensors.set(name, { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, value) });
  }
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
