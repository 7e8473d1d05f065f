/** Small random layers, quantized and with everything learnable moved away from its starting point. */
import {
  contextValues,
  type DecoderConfig,
  decoderConfig,
  decoderTensors,
  embed,
  type Weights,
  weightsFrom,
} from '@mobilequant/core';
import { type QuantizerSpec, type Range, type Recipe, resolveRecipe } from '@mobilequant/quantizer';
import type { Runtime, Value } from '@mobilequant/tracer';
import { type LayerPrograms, layerPrograms } from '../src/layer-programs.ts';
import { type LayerLearnables, type LearningTargets, parameterGroup } from '../src/learnables.ts';
import { withKnownRanges } from '../src/quantize-model.ts';
import { collectStatistics, rangesOf } from '../src/statistics.ts';

/** Uniform numbers in [0, 1) from a seed (mulberry32), so that tests are the same every time. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normal numbers (Box-Muller). */
export function normal(seed: number): () => number {
  const next = random(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

export interface TinySize extends Partial<DecoderConfig> {
  readonly hidden: number;
  readonly ffn: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly tied?: boolean;
}

export const tinyConfig = ({ tied = false, ...size }: TinySize): DecoderConfig =>
  decoderConfig({ layers: 1, vocab: 24, maxPositions: 64, norm: 'l2', tiedEmbeddings: tied, ...size });

/** Random weights, norm weights around 1; the biases that the config asks for, and others on request. */
export function tinyWeights(
  config: DecoderConfig,
  seed: number,
  { normBias = false, bias = false }: { normBias?: boolean; bias?: boolean } = {},
): Weights {
  const next = normal(seed);
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const { name, shape, optional } of decoderTensors(config)) {
    const isNorm = name.includes('norm.');
    const inLayer = name.includes('.layers.');
    if (optional && !(name.endsWith('.bias') && inLayer && (isNorm ? normBias : bias))) continue;
    const columns = shape.at(-1) as number;
    const value = (): number => {
      if (name.endsWith('.bias')) return 0.2 * next();
      if (isNorm) return 1 + 0.3 * next();
      return name.includes('embed') ? next() : next() / Math.sqrt(columns);
    };
    tensors.set(name, { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, value) });
  }
  return weightsFrom(tensors);
}

export interface TinyLayer {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  readonly ranges: ReadonlyMap<string, Range>;
  readonly resolve: (site: string) => QuantizerSpec | undefined;
  readonly targets: LearningTargets;
  readonly learnables: LayerLearnables;
  readonly x: Value;
  readonly dy: Value;
  readonly context: ReturnType<typeof contextValues>;
  programs(runtime: Runtime, queryChunk?: number): LayerPrograms;
}

/** A layer whose ranges are a little too small, so that every clamp has something to do, and whose parameters are not at their start. */
export async function tinyLayer(
  runtime: Runtime,
  {
    config,
    recipe,
    targets,
    tokens,
    seed,
    bias = {},
  }: {
    config: DecoderConfig;
    recipe: Recipe;
    targets: LearningTargets;
    tokens: number;
    seed: number;
    bias?: { normBias?: boolean; bias?: boolean };
  },
): Promise<TinyLayer> {
  const weights = tinyWeights(config, seed, bias);
  const sample = Int32Array.from({ length: tokens }, (_, i) => (7 * i + 1) % config.vocab);
  const statistics = await collectStatistics(runtime, config, weights, [sample], { head: false });
  const narrow = new Map(
    [...rangesOf(statistics)].map(([site, { min, max }]) => [
      site,
      site.endsWith('pv_bmm.input') ? { min, max } : { min: 0.85 * min, max: 0.85 * max },
    ]),
  );
  const ranges = withKnownRanges(narrow, recipe);
  const resolve = resolveRecipe(recipe);
  const programs = (r: Runtime, queryChunk = 0): LayerPrograms =>
    layerPrograms(r, { config, weights, recipe, resolve, ranges, targets, queryChunk });
  const learnables = programs(runtime).learnables(0);
  const next = normal(seed + 1);
  for (const [name, { data }] of Object.entries(learnables.parameters)) {
    const group = parameterGroup(name);
    for (let i = 0; i < data.length; i++) {
      const value = data[i] as number;
      if (group === 'let') data[i] = value + 0.1 * next();
      else if (group === 'lwc') data[i] = 2 + 0.5 * next();
      else if (/\.(low|high)$/.test(name)) data[i] = 0.1 * next();
      else if (name.endsWith('.scale')) data[i] = value * (1 + 0.05 * next());
      else if (value !== 0) data[i] = value + 0.3 * next(); // a zero point at the end of its grid stays there
    }
  }
  const x = await embed(config, weights, sample);
  const dy = { data: Float32Array.from({ length: tokens * config.hidden }, () => next()), shape: x.shape };
  return {
    config,
    weights,
    recipe,
    ranges,
    resolve: (site) => resolve(`model.layers.0.${site}`) ?? undefined,
    targets,
    learnables,
    x,
    dy,
    context: contextValues(config, tokens),
    programs,
  };
}
