/**
 * The methods of the paper from end to end: calibration text in, a quantized model out.
 *
 *     minmax       ranges of the float model
 *     smoothquant  + channel scales from statistics
 *     omniquant    + LET and LWC, layer by layer
 *     mobilequant  + LET, LWC and LRL, end to end
 */
import { cachedWeights, type DecoderConfig, type Weights } from '@mobilequant/core';
import { checkRecipe, type Range, type Recipe, resolveRecipe } from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import type { LearningTargets, ParameterGroup } from './learnables.ts';
import type { Learned, LearningInput, LearningOptions } from './learning.ts';
import { learnEndToEnd } from './mobile-quant.ts';
import { learnLayerWise } from './omni-quant.ts';
import type { OnProgress } from './progress.ts';
import {
  fuseLearned,
  needsHeadRanges,
  type QuantizeInput,
  type QuantizeResult,
  quantizeModel,
  withKnownRanges,
} from './quantize-model.ts';
import type { LearningRate } from './schedule.ts';
import { type SmoothQuantOptions, smooth } from './smooth-quant.ts';
import { collectStatistics, rangesOf, type Statistics } from './statistics.ts';

export const METHODS = ['minmax', 'smoothquant', 'omniquant', 'mobilequant'] as const;

export type Method = (typeof METHODS)[number];

export interface MethodInput {
  /** As the checkpoint says; the norms of the layers are quantized in their L2 form. */
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  readonly method: Method;
  /** Token ids from which ranges and smoothing scales are taken. */
  readonly calibration: readonly Int32Array[];
  /** Token ids to learn from; by default those of calibration. */
  readonly training?: readonly Int32Array[];
}

export interface MethodOptions extends Partial<LearningOptions> {
  readonly smoothing?: SmoothQuantOptions;
}

/** The form that an NPU computes: root-mean-square norms of the layers as L2 norms. The final norm keeps its epsilon. */
export const observedForm = (config: DecoderConfig): DecoderConfig => ({
  ...config,
  norm: config.norm === 'epsilon' ? 'l2' : config.norm,
});

/** What is quantized: that form, under the reference's conventions with the exact GELU whatever the checkpoint's is. */
export const quantizedForm = (config: DecoderConfig, conventions: Recipe['conventions']): DecoderConfig => {
  const form = observedForm(config);
  return conventions === 'reference' && form.activation === 'gelu-tanh' ? { ...form, activation: 'gelu' } : form;
};

/** What a method learns. OmniQuant as MobileQuant's authors run it: LET on every pair, LWC, no ranges. */
export function defaultTargets(method: Method): LearningTargets {
  return {
    pairs: ['qkv', 'out', 'qkt', 'fc1', 'fc2'],
    shifts: false,
    clipping: true,
    ranges: method === 'mobilequant',
  };
}

/**
 * Learning rates. Reference conventions: the paper's for llama (method, section 7). Exact conventions: LET and LRL move
 * logarithms, so their rates are relative changes a step; chosen on held-out calibration text of a 135M llama.
 */
export function defaultRates(recipe: Recipe): Record<ParameterGroup, LearningRate> {
  const falling = (from: number): LearningRate => ({ from, to: from / 10 });
  if (recipe.conventions === 'exact') return { let: falling(1e-2), lwc: falling(1e-2), lrl: falling(1e-3) };
  const weights = resolveRecipe(recipe)('model.layers.0.self_attn.q_proj.weight');
  const gentle = weights !== undefined && weights.bits <= 4 && weights.symmetric;
  return { let: falling(1e-3), lwc: falling(gentle ? 1e-3 : 1e-2), lrl: falling(1e-6) };
}

/** A model ready to be quantized or learned from: (smoothed) weights behind a cache, and its calibrated ranges. */
export interface PreparedModel {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly ranges: ReadonlyMap<string, Range>;
}

export interface PrepareOptions {
  /** Channel scales; `false` leaves the model as it is. */
  readonly smoothing?: SmoothQuantOptions | false;
  /** Statistics of the float model, if they are known already. */
  readonly statistics?: Statistics;
  /** Observe the final norm and the head too, for recipes that quantize what passes there. Default false. */
  readonly head?: boolean;
  readonly onProgress?: OnProgress;
}

/** Observes a model on calibration text, smooths it, and observes again. One copy of the weights at a time. */
export async function prepareModel(
  executor: Executor,
  checkpointConfig: DecoderConfig,
  weights: Weights,
  calibration: readonly Int32Array[],
  { smoothing = {}, statistics, head = false, onProgress }: PrepareOptions = {},
): Promise<PreparedModel> {
  const config = observedForm(checkpointConfig);
  const options = { head, ...(onProgress && { onProgress }) };
  const observed =
    statistics ?? (await collectStatistics(executor, config, cachedWeights(weights), calibration, options));
  if (smoothing === false) return { config, weights, ranges: rangesOf(observed) };
  const smoothed = cachedWeights(smooth(executor, config, weights, observed, smoothing));
  return {
    config,
    weights: smoothed,
    ranges: rangesOf(await collectStatistics(executor, config, smoothed, calibration, options)),
  };
}

/**
 * Quantizes a model by a method.
 *
 * @throws RecipeError for a recipe that cannot be carried out on this model, before anything is computed.
 */
export async function quantizeBy(
  executor: Executor,
  { config, weights, recipe, method, calibration, training = calibration }: MethodInput,
  options: MethodOptions = {},
): Promise<QuantizeResult> {
  checkRecipe(recipe, config.layers);
  const { smoothing, onProgress } = options;
  const groupedHeads = recipe.conventions === 'exact';
  const prepared = await prepareModel(executor, config, weights, calibration, {
    smoothing: method === 'minmax' ? false : { groupedHeads, ...smoothing },
    head: needsHeadRanges(recipe),
    ...(onProgress && { onProgress }),
  });
  return quantizePrepared(executor, prepared, recipe, method, training, options);
}

/** The rest of `quantizeBy`: learn, if the method does, and choose encodings. */
export async function quantizePrepared(
  executor: Executor,
  { config: observed, weights, ranges }: PreparedModel,
  recipe: Recipe,
  method: Method,
  training: readonly Int32Array[],
  options: Partial<LearningOptions> = {},
): Promise<QuantizeResult> {
  const config = quantizedForm(observed, recipe.conventions);
  const input: LearningInput = { config, weights, recipe, ranges: withKnownRanges(ranges, recipe), samples: training };
  if (method === 'minmax' || method === 'smoothquant') return quantizeModel(input);
  return quantizeModel(await learnAndFuse(executor, method, input, options));
}

/** Learns and fuses: the transformed weights, learned ranges and clipping, ready for `quantizeModel`. */
export async function learnAndFuse(
  executor: Executor,
  method: 'omniquant' | 'mobilequant',
  input: LearningInput,
  options: Partial<LearningOptions>,
): Promise<Required<QuantizeInput>> {
  const learn = method === 'omniquant' ? learnLayerWise : learnEndToEnd;
  const learned: Learned = await learn(executor, input, {
    epochs: 2,
    targets: defaultTargets(method),
    rates: defaultRates(input.recipe),
    ...options,
  });
  return fuseLearned(learned, input);
}
