/**
 * Runs what a golden case holds the results of, through the packages' own functions.
 */
import {
  type BlockContext,
  type BlockWeights,
  block,
  cachedWeights,
  contextValues,
  type DecoderConfig,
  embed,
  readLayer,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import {
  type QuantizerSpec,
  type Range,
  type Recipe,
  type Rule,
  recipeByName,
  resolveRecipe,
} from '@mobilequant/quantizer';
import type { Runtime, Value } from '@mobilequant/tracer';
import type * as tf from '@tensorflow/tfjs';
import { type LayerPrograms, layerPrograms } from '../src/layer-programs.ts';
import { initialLearnables, type LearningTargets, learningTap } from '../src/learnables.ts';
import type { LearningInput } from '../src/learning.ts';
import { observedForm, quantizedForm } from '../src/methods.ts';
import { withKnownRanges } from '../src/quantize-model.ts';
import { type SmoothQuantOptions, smooth } from '../src/smooth-quant.ts';
import { collectStatistics, rangesOf, type Statistics } from '../src/statistics.ts';
import { evaluate, type How } from './evaluate.ts';
import type { GoldenCase } from './golden-case.ts';

/** Nothing is learned: quantization alone. */
export const NOTHING: LearningTargets = { pairs: [], shifts: false, clipping: false, ranges: false };

/** What all comparisons of a case start from: its float model in the form that is quantized, and that model's statistics. */
export interface CaseRuns {
  readonly config: DecoderConfig;
  statistics(): Promise<Statistics>;
  /** The model smoothed, or as it is. */
  weights(variant: SmoothQuantOptions['variant'] | 'none'): Promise<Weights>;
  /** Statistics of a variant. */
  statisticsOf(variant: SmoothQuantOptions['variant'] | 'none'): Promise<Statistics>;
}

export function startRuns(runtime: Runtime, golden: GoldenCase): CaseRuns {
  const config = observedForm(golden.config);
  const observe = (weights: Weights) => collectStatistics(runtime, config, weights, golden.calibration);
  const statistics = once(() => observe(golden.weights));
  const variants = new Map<string, ReturnType<typeof once<{ weights: Weights; statistics: Statistics }>>>();
  const variant = (name: SmoothQuantOptions['variant'] | 'none') => {
    const key = name ?? 'modified';
    let found = variants.get(key);
    if (!found) {
      found = once(async () => {
        if (name === 'none') return { weights: golden.weights, statistics: await statistics() };
        const weights = cachedWeights(
          smooth(runtime, config, golden.weights, await statistics(), {
            variant: name,
            groupedHeads: false,
          } as SmoothQuantOptions),
        );
        return { weights, statistics: await observe(weights) };
      });
      variants.set(key, found);
    }
    return found();
  };
  return {
    config,
    statistics,
    weights: async (name) => (await variant(name)).weights,
    statisticsOf: async (name) => (await variant(name)).statistics,
  };
}

/** Computes once, when first asked. */
export function once<T>(compute: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => (result ??= compute());
}

/** Norm weights as the reference's SmoothQuant baselines have them in the symmetric recipe: symmetric too (method, section 10, point 5). */
const symmetricNorms: Rule = {
  site: 'model.layers.*layernorm.weight',
  spec: { bits: 16, symmetric: true, granularity: { kind: 'tensor' } },
};

/** The recipe that the reference calls `w8a8`, `w4a8`, `w4a8-sym`, in training or without. */
export function recipeOf(precision: string, learned: boolean): Recipe {
  const recipe = recipeByName(`paper-${precision}`);
  return precision.endsWith('-sym') && !learned ? { ...recipe, rules: [...recipe.rules, symmetricNorms] } : recipe;
}

/** What quantizing or learning from a variant starts with. */
export async function inputOf(
  runs: CaseRuns,
  golden: GoldenCase,
  variant: SmoothQuantOptions['variant'] | 'none',
  recipe: Recipe,
): Promise<LearningInput> {
  const ranges = withKnownRanges(rangesOf(await runs.statisticsOf(variant)), recipe);
  return {
    config: quantizedForm(runs.config, 'reference'),
    weights: await runs.weights(variant),
    recipe,
    ranges,
    samples: golden.calibration,
  };
}

/** The quantized layers in the reference's own arithmetic. */
export function simulate(
  runtime: Runtime,
  { config, weights, recipe, ranges }: Omit<LearningInput, 'samples'>,
): LayerPrograms {
  return layerPrograms(runtime, { config, weights, recipe, resolve: resolveRecipe(recipe), ranges, targets: NOTHING });
}

/** Through all layers, `[tokens, hidden]`. */
export async function hiddenBy(
  programs: LayerPrograms,
  config: DecoderConfig,
  weights: Weights,
  tokens: Int32Array,
): Promise<Float32Array> {
  let x: Value = await embed(config, weights, tokens);
  for (let layer = 0; layer < config.layers; layer++) x = await programs.forward(layer, x, programs.learnables(layer));
  return x.data as Float32Array;
}

/** Passes on what a tap does, and keeps what goes into the sites that are inputs and what comes out of those that are outputs. */
function capturing(tap: Tap, seen: Record<string, tf.Tensor>): Tap {
  return {
    weight: (site, w) => tap.weight(site, w),
    activation(site, x, hint) {
      const y = tap.activation(site, x, hint);
      seen[`at:${site}`] = /\.input2?$/.test(site) ? x : y;
      return y;
    },
  };
}

export interface SitesInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** Quantize by this recipe with these ranges; float without. */
  readonly quantized?: { readonly recipe: Recipe; readonly ranges: ReadonlyMap<string, Range> };
}

/** What is at every site of every layer, by full site name, and the output of the last layer under ''. */
export async function sitesOf(
  how: How,
  runtime: Runtime,
  { config, weights, quantized }: SitesInput,
  tokens: Int32Array,
): Promise<Map<string, Float32Array>> {
  const sites = new Map<string, Float32Array>();
  let x = (await embed(config, weights, tokens)).data;
  for (let layer = 0; layer < config.layers; layer++) {
    const tensors = await readLayer(weights, layer);
    const prefix = `model.layers.${layer}.`;
    const resolveAll = quantized && resolveRecipe(quantized.recipe);
    const resolve = (site: string): QuantizerSpec | undefined => resolveAll?.(prefix + site) ?? undefined;
    const options = { config, conventions: 'reference', targets: NOTHING, resolve } as const;
    const own = new Map(
      [...(quantized?.ranges ?? [])].flatMap(([site, range]) =>
        site.startsWith(prefix) ? [[site.slice(prefix.length), range] as const] : [],
      ),
    );
    const shapes = Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
    const { constants } = initialLearnables(shapes, own, options);
    const fn = (inputs: Record<string, tf.Tensor>): Record<string, tf.Tensor> => {
      const seen: Record<string, tf.Tensor> = {};
      const layerWeights: BlockWeights = Object.fromEntries(
        Object.keys(tensors).map((name) => [name, inputs[name] as tf.Tensor]),
      );
      const tap = capturing(learningTap(inputs, options), seen);
      const { x } = block(
        inputs['x'] as tf.Tensor,
        layerWeights,
        inputs as Record<string, tf.Tensor> & BlockContext,
        config,
        { tap },
      );
      return { y: x, ...seen };
    };
    const context = contextValues(config, tokens.length, 0, layer);
    const results = await evaluate(how, runtime, fn, {
      x: { data: x, shape: [tokens.length, config.hidden] },
      ...context,
      ...tensors,
      ...constants,
    });
    x = results['y'] as Float32Array;
    for (const [name, data] of Object.entries(results)) {
      if (name.startsWith('at:')) sites.set(prefix + name.slice('at:'.length), asReference(name, data, config));
    }
  }
  return sites.set('', x);
}

/** Keys, values and products as the reference lays them out: repeated over the query heads, keys transposed. */
function asReference(site: string, data: Float32Array, { heads, kvHeads, headDim }: DecoderConfig): Float32Array {
  const tokens = data.length / headDim / (site.endsWith('input2') ? kvHeads : heads);
  const at = (head: number, token: number, channel: number): number => {
    const keyHead = Math.floor((head * kvHeads) / heads);
    return data[(keyHead * tokens + token) * headDim + channel] as number;
  };
  const laidOut = (value: (head: number, i: number) => number) =>
    Float32Array.from({ length: heads * tokens * headDim }, (_, i) =>
      value(Math.floor(i / (tokens * headDim)), i % (tokens * headDim)),
    );
  if (site.endsWith('qk_bmm.input2')) return laidOut((head, i) => at(head, i % tokens, Math.floor(i / tokens)));
  if (site.endsWith('pv_bmm.input2')) return laidOut((head, i) => at(head, Math.floor(i / headDim), i % headDim));
  if (site.endsWith('pv_bmm.output')) {
    return laidOut((head, i) => data[(Math.floor(i / headDim) * heads + head) * headDim + (i % headDim)] as number);
  }
  return data;
}
