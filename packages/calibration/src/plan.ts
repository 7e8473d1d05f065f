/**
 * A plan: the way from a float model to a quantized one, step by step. Each step is a module of its own and can be left out; none adds
 * an operator to what the device runs.
 *
 *     prefix     tokens before every text that take the sinks upon themselves
 *     transform  the same float function, easier to round: scales, or rotations
 *     ranges     of activations, by the recipe's rules
 *     budget     for more activations of 16 bits, placed where 8 bits cost most
 *     rounding   of weights: nearest, with feedback (GPTQ), or as the paper learns it
 *     reconstruction   of each layer's output, by integers that are learned together
 *     tuning     of scales, norms and biases by the divergence of the logits
 */
import { cachedWeights, type DecoderConfig, type FloatModel, type Weights, withPrefix } from '@mobilequant/core';
import { checkRecipe, type Range, type Recipe, resolveRecipe, withRules } from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import { collectHistograms, type Histograms } from './collect-histograms.ts';
import { collectSensitivities } from './collect-sensitivities.ts';
import { gptq } from './gptq.ts';
import type { Pair } from './learnables.ts';
import type { LearningStore } from './learning.ts';
import { learnAndFuse, observedForm, quantizedForm } from './methods.ts';
import { checkObservation, type Observation, observationFingerprint, type SampleShard } from './observation.ts';
import {
  checkBudget,
  movableDivergences,
  movableSites,
  type Placement,
  placePrecision,
  widenings,
} from './place-precision.ts';
import type { OnProgress } from './progress.ts';
import {
  needsHeadRanges,
  type QuantizeInput,
  type QuantizeResult,
  quantizeModel,
  withKnownRanges,
} from './quantize-model.ts';
import { needsHistogram, rangeOf, rangeRulesOf, rangesBy, ruleOf } from './range-rules.ts';
import { reconstruct } from './reconstruct.ts';
import { rotate } from './rotations.ts';
import { searchPrefix } from './search-prefix.ts';
import { searchScales } from './search-scales.ts';
import { smooth } from './smooth-quant.ts';
import { collectStatistics, rangesOf } from './statistics.ts';
import { type Tuned, type TuningEvaluation, tune } from './tuning.ts';

export interface Plan {
  /** So many tokens at most, searched; 0 for none; or the tokens. */
  readonly prefix: number | readonly number[];
  readonly transform: Transform;
  /**
   * `rules`: the recipe's; `minmax`: everything is kept; `loss`: the recipe's, but in place of percentiles whatever adds least to the loss
   * of the text (`collectSensitivities`).
   */
  readonly ranges: RangeChoice;
  /** The share of the layers' multiply-accumulates that may move to 16-bit activations (`placePrecision`), to 1; 0 for none. */
  readonly budget: number;
  /** `learned`: to nearest, after what the paper learns end to end (scales, clipping, ranges), from where the transformation left off. */
  readonly rounding: Rounding;
  /** How much of the errors in its inputs GPTQ lets a linear make up for, to 1 (`gptq`); 0 for none. */
  readonly correction: number;
  /** Times that integers are decided again after GPTQ's rounding, at most (`descend`); 0 for none. */
  readonly sweeps: number;
  /** Times that each layer sees the training samples when its integers are learned together after GPTQ (`reconstruct`); 0 for none. */
  readonly reconstruction: number;
  /** Steps; 0 for none. */
  readonly tuning: number;
  /** While tuning, the rank of what moves the integers of the weights; 0: they stay. */
  readonly learnedRounding: number;
}

export const TRANSFORMS = ['none', 'smooth', 'scales', 'rotation', 'rotation+scales'] as const;
export type Transform = (typeof TRANSFORMS)[number];

export const RANGE_CHOICES = ['rules', 'minmax', 'loss'] as const;
export type RangeChoice = (typeof RANGE_CHOICES)[number];

export const ROUNDINGS = ['nearest', 'gptq', 'learned'] as const;
export type Rounding = (typeof ROUNDINGS)[number];

export const PRESETS = ['fast', 'best'] as const;
export type Preset = (typeof PRESETS)[number];

/**
 * What is best as far as measured: a rotation with scales for queries and keys, and rounding with feedback; `best`, which takes
 * gradients, chooses ranges by the loss, and tunes; with coarse weights it also lets linears make up for what rounding before them did. Learned rounding has not shown a gain within so few steps. Models with norms behind
 * attention and MLP, whose residual stream cannot be rotated, get scales where weights have 8 bits.
 */
export function presetPlan(preset: Preset, recipe: Recipe, { outputNorms }: Pick<DecoderConfig, 'outputNorms'>): Plan {
  const weights = resolveRecipe(recipe)('model.layers.0.mlp.w1.weight');
  const coarse = weights !== undefined && weights.bits < 8;
  const thorough = preset === 'best' && coarse; // errors of 8-bit weights leave later layers little to make up for
  return {
    prefix: 4,
    transform: outputNorms && !coarse ? 'scales' : 'rotation+scales',
    ranges: preset === 'fast' ? 'rules' : 'loss',
    budget: 0,
    rounding: 'gptq',
    correction: thorough ? 0.25 : 0,
    sweeps: thorough ? 4 : 0,
    reconstruction: 0,
    tuning: preset === 'fast' ? 0 : coarse ? 160 : 40,
    learnedRounding: 0,
  };
}

export interface PlanInput {
  /** As the checkpoint says. */
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** Token ids for everything else. */
  readonly calibration: readonly Int32Array[];
  /** Token ids to learn from: for tuning, learned rounding, and GPTQ's correction, which wants many. By default those of calibration. */
  readonly training?: readonly Int32Array[];
  /** Token ids by which the best state is chosen; by default the last of the training samples (`heldOutOf`), which are then not learned from. */
  readonly heldOut?: readonly Int32Array[];
  /** The token that begins a text, if the model has one. */
  readonly first?: number | undefined;
  /** What `observe` found in all of the calibration text; by default it is looked at here. */
  readonly observed?: Observation;
}

export interface PlanOptions {
  readonly seed?: number;
  /** Passes over the training samples where rounding is learned. Default 2. */
  readonly epochs?: number;
  readonly onProgress?: OnProgress;
  readonly onEvaluation?: (evaluation: TuningEvaluation) => void;
  readonly store?: LearningStore;
  readonly saveEvery?: number;
  readonly signal?: AbortSignal;
}

export interface PlanResult extends QuantizeResult {
  /** The float model behind the same prefix: what the quantized one is to be compared with. */
  readonly float: FloatModel;
  /** The same function in the form whose weights were rounded: transformed, before anything was learned. */
  readonly transformed: FloatModel;
  /** What moved to 16 bits; absent without a budget. */
  readonly placement?: Placement;
  /** How tuning went; absent without it. */
  readonly tuning?: Pick<Tuned, 'evaluations' | 'step'>;
  /** Seconds of each step. */
  readonly seconds: Readonly<Record<string, number>>;
}

/**
 * Carries a plan out.
 *
 * @throws RecipeError for a recipe that cannot be carried out on this model, RangeError for a budget that is no share or for two steps that
 *   learn, before anything is computed; the signal's reason once it is aborted, after the layer at hand at the latest (learning: InterruptedError, its
 *   state saved); ObservationError for what was observed of something else; what the steps throw.
 */
export async function carryOut(
  executor: Executor,
  { observed, ...input }: PlanInput,
  plan: Plan,
  { seed = 0, epochs = 2, onProgress, onEvaluation, store, saveEvery, signal }: PlanOptions = {},
): Promise<PlanResult> {
  const { config: given, weights: original, recipe, calibration, first, ...learning } = input;
  checkRecipe(recipe, given.layers);
  checkBudget(plan.budget);
  checkLearning(plan);
  const reporting = reportingUntil(signal, onProgress);
  const saving = {
    ...(onProgress && { onProgress }),
    ...(store && { store }),
    ...(saveEvery !== undefined && { saveEvery }),
    ...(signal && { signal }),
  };
  const seconds: Record<string, number> = {};
  const timed: Timed = async (step, work) => {
    signal?.throwIfAborted();
    const start = performance.now();
    const result = await work();
    seconds[step] = (performance.now() - start) / 1000;
    return result;
  };

  const { config, weights, prefix, float, model } = await prepared(executor, plan, input, {
    seed,
    timed,
    ...reporting,
  });
  if (observed) checkObservation(observed, { fingerprint: await fingerprintOf(input, plan, seed), prefix });
  const ranges = await timed('ranges', () =>
    rangesFor(executor, plan, model, { recipe, calibration, ...reporting }, observed?.sites),
  );
  weights.forget(); // the transformed model has a cache of its own, and so have the rounded weights
  const placement =
    plan.budget > 0 &&
    (await timed('placement', () =>
      placed(executor, plan, model, { recipe, ranges: ranges(recipe), calibration, ...reporting }),
    ));
  const chosen = placement ? placement.recipe : recipe;
  const toRound = { ...model, recipe: chosen, ranges: ranges(chosen) };
  const { training = calibration } = learning;
  const { heldOut = training.slice(training.length - heldOutOf(training.length)) } = learning;
  const samples = training.filter((sample) => !heldOut.includes(sample));
  const rebuilds = plan.reconstruction > 0;
  const rounded = await timed('rounding', async () => {
    if (plan.rounding === 'nearest') return quantizeModel(toRound);
    if (plan.rounding === 'learned') {
      return quantizeModel(
        await learnAndFuse(executor, 'mobilequant', { ...toRound, samples: training }, { epochs, ...saving }),
      );
    }
    const learns = plan.tuning > 0 && plan.learnedRounding > 0;
    const fractions = rebuilds || learns;
    const { unrounded, ...found } = await gptq(
      executor,
      { ...toRound, samples: plan.correction > 0 && samples.length > calibration.length ? samples : calibration },
      { fractions, correction: plan.correction, sweeps: plan.sweeps, ...reporting },
    );
    const before = learns ? cachedWeights(unrounded) : unrounded; // learning reads them at every step
    return quantizeModel({ ...found, weights: fractions ? before : found.weights });
  });
  const built = rebuilds
    ? await timed('reconstruction', () =>
        reconstruct(
          executor,
          { model: rounded.model, float: model, samples, heldOut },
          { epochs: plan.reconstruction, seed, ...reporting },
        ),
      )
    : rounded.model;
  const made = { float, transformed: model, ...(placement && { placement }), seconds };
  if (plan.tuning === 0) return { model: built, widened: rounded.widened, ...made };

  model.weights.forget(); // of its linears the rounded ones are left
  const tuned = await timed('tuning', async () =>
    tune(
      executor,
      {
        model: built,
        float: await withPrefix(executor, config, original, prefix), // read once, and not kept
        samples,
        heldOut,
      },
      {
        steps: plan.tuning,
        targets: { rounding: plan.learnedRounding },
        seed,
        ...(onEvaluation && { onEvaluation }),
        ...saving,
      },
    ),
  );
  const { evaluations, step } = tuned;
  return { model: tuned.model, widened: rounded.widened, tuning: { evaluations, step }, ...made };
}

/**
 * What a plan looks at, on some of the calibration samples: `observed` of `carryOut` once all parts are joined (`joinObservations`). Every part
 * searches the prefix and the scales by itself, on the whole text.
 *
 * @throws RecipeError for a recipe that cannot be carried out on this model; the signal's reason once it is aborted.
 */
export async function observe(
  executor: Executor,
  input: Pick<PlanInput, 'config' | 'weights' | 'recipe' | 'calibration' | 'first'>,
  plan: Plan,
  {
    seed = 0,
    shard: { index, count } = { index: 0, count: 1 },
    onProgress,
    signal,
  }: Pick<PlanOptions, 'seed' | 'onProgress' | 'signal'> & { readonly shard?: SampleShard } = {},
): Promise<Observation> {
  const { recipe, calibration } = input;
  checkRecipe(recipe, input.config.layers);
  const reporting = reportingUntil(signal, onProgress);
  const timed: Timed = (_, work) => work();
  const { prefix, model } = await prepared(executor, plan, input, { seed, timed, ...reporting });
  const own = calibration.filter((_, i) => i % count === index);
  const found = await observedSites(executor, plan, model, { recipe, calibration: own, ...reporting });
  const sites = new Map([...found].map(([site, { channels: _, ...rest }]) => [site, rest]));
  return { fingerprint: await fingerprintOf(input, plan, seed), prefix, parts: [index], count, sites };
}

/** The steps that decide what is observed. */
const fingerprintOf = (
  { config, weights, recipe, calibration, first }: PlanInput,
  { prefix, transform, ranges, budget }: Plan,
  seed: number,
): Promise<string> =>
  observationFingerprint(
    { config, weights, recipe, calibration, first },
    { prefix, transform, seed, extremesAlone: ranges === 'minmax', widened: budget > 0 },
  );

type Timed = <T>(step: string, work: () => Promise<T>) => Promise<T>;

/** The float model behind its prefix, and the same transformed: what is observed and rounded. */
async function prepared(
  executor: Executor,
  plan: Plan,
  { config: given, weights: original, recipe, calibration, first }: PlanInput,
  { seed, timed, ...reporting }: { readonly seed: number; readonly timed: Timed } & Reporting,
) {
  const config = quantizedForm(given, recipe.conventions);
  const weights = cachedWeights(original);
  const prefix = await timed('prefix', () =>
    prefixOf(executor, plan, { config, weights, calibration, first, ...reporting }),
  );
  const float = await withPrefix(executor, config, weights, prefix);
  const model = await timed('transform', async () => {
    const changed = await transformed(executor, plan, float, { recipe, calibration, seed, ...reporting });
    return { config: observedForm(changed.config), weights: cachedWeights(changed.weights) };
  });
  return { config, weights, prefix, float, model };
}

/** Of so many training samples, those that are held out to choose the best state by: an eighth, and 4 at most. */
export const heldOutOf = (samples: number): number => Math.min(HELD_OUT, Math.ceil((samples - 1) / 8));

/** Training samples with which tuning sees another one at each step, those that are held out included. */
export const samplesForTuning = (steps: number): number => steps + HELD_OUT;

const HELD_OUT = 4;

/** What learns saves its state, and there is room for one; what is learned of integers begins with those of GPTQ. */
function checkLearning({ rounding, reconstruction, tuning }: Plan): void {
  if (reconstruction > 0 && rounding !== 'gptq')
    throw new RangeError(
      `plan: expected GPTQ before a reconstruction, got rounding '${rounding}'. Leave the reconstruction out, or round by gptq.`,
    );
  if (rounding !== 'learned' || tuning === 0) return;
  throw new RangeError(
    `plan: expected no tuning where rounding is learned, got ${tuning} steps. Set tuning to 0, or round otherwise.`,
  );
}

type Reporting = { readonly onProgress: OnProgress; readonly signal?: AbortSignal };

/** Passes progress on, and stops the step that reports it, or sooner where that looks at the signal; tuning has a state to save. */
const reportingUntil = (signal?: AbortSignal, onProgress?: OnProgress): Reporting => ({
  ...(signal && { signal }),
  onProgress(progress) {
    signal?.throwIfAborted();
    onProgress?.(progress);
  },
});

async function prefixOf(
  executor: Executor,
  { prefix }: Plan,
  {
    config,
    weights,
    calibration,
    first,
    ...reporting
  }: Pick<PlanInput, 'config' | 'weights' | 'calibration' | 'first'> & Reporting,
): Promise<readonly number[]> {
  if (typeof prefix !== 'number') return prefix;
  if (prefix === 0) return [];
  return (
    await searchPrefix(executor, { config, weights, samples: calibration, first }, { limit: prefix, ...reporting })
  ).tokens;
}

async function transformed(
  executor: Executor,
  { transform, ranges }: Plan,
  { config, weights }: FloatModel,
  { recipe, calibration, seed, ...reporting }: Pick<PlanInput, 'recipe' | 'calibration'> & { seed: number } & Reporting,
): Promise<FloatModel> {
  const scaled = async (model: FloatModel, pairs?: readonly Pair[]): Promise<FloatModel> => {
    const samples = calibration.slice(0, SEARCH_SAMPLES);
    const options = { ...(ranges === 'minmax' && { coverage: () => 1 }), ...(pairs && { pairs }), ...reporting };
    return { ...model, weights: (await searchScales(executor, { ...model, recipe, samples }, options)).weights };
  };
  const residual = !config.outputNorms; // norms behind attention and MLP hold the residual stream's channels fast
  const rotated = (): FloatModel => rotate(executor, config, weights, { seed, residual });
  switch (transform) {
    case 'none':
      return { config, weights };
    case 'smooth': {
      const statistics = await collectStatistics(executor, config, weights, calibration, { head: false, ...reporting });
      return { config, weights: smooth(executor, config, weights, statistics) };
    }
    case 'scales':
      return scaled({ config, weights });
    case 'rotation':
      return rotated();
    case 'rotation+scales': {
      const model = rotated();
      const config = observedForm(model.config);
      return scaled({ config, weights: cachedWeights(model.weights) }, residual ? UNROTATED : undefined);
    }
  }
}

/** What no rotation reaches, and whose scales cost the rounding of weights nothing: those of whole output channels. */
const UNROTATED: readonly Pair[] = ['qkt'];
const SEARCH_SAMPLES = 8;

/** What a plan's ranges are taken from. */
async function observedSites(
  executor: Executor,
  plan: Plan,
  { config, weights }: FloatModel,
  { recipe, calibration, ...reporting }: Pick<PlanInput, 'recipe' | 'calibration'> & Reporting,
): Promise<Histograms> {
  const options = { head: needsHeadRanges(recipe), ...reporting };
  if (plan.ranges === 'minmax') return collectStatistics(executor, config, weights, calibration, options);
  const widest = withRules(recipe, recipe.name, widenings(movableSites(config, recipe), config, recipe));
  const recipes = plan.budget > 0 ? [recipe, widest] : [recipe];
  const anyOf = (checks: readonly ((site: string) => boolean)[]) => (site: string) => checks.some((own) => own(site));
  return collectHistograms(executor, config, weights, calibration, {
    asked: anyOf(recipes.map(resolveRecipe).map((resolve) => (site) => resolve(site) !== undefined)),
    count: anyOf(recipes.map((own) => needsHistogram(own))),
    channels: false,
    ...options,
  });
}

/** The ranges as a recipe takes them: the given one, or one with more bits. */
async function rangesFor(
  executor: Executor,
  plan: Plan,
  { config, weights }: FloatModel,
  { recipe, calibration, ...reporting }: Pick<PlanInput, 'recipe' | 'calibration'> & Reporting,
  known?: Histograms,
): Promise<(recipe: Recipe) => ReadonlyMap<string, Range>> {
  const histograms =
    known ?? (await observedSites(executor, plan, { config, weights }, { recipe, calibration, ...reporting }));
  if (plan.ranges === 'minmax') return (own) => withKnownRanges(rangesOf(histograms), own);
  const byRules = (own: Recipe): Map<string, Range> => withKnownRanges(rangesBy(histograms, own), own);
  if (plan.ranges === 'rules') return byRules;

  const resolve = resolveRecipe(recipe);
  const rules = rangeRulesOf(recipe);
  const asked = (site: string): boolean => {
    const spec = resolve(site);
    return spec !== undefined && !spec.range && ruleOf(site, spec, rules).kind === 'percentile';
  };
  const samples = evenly(calibration, SENSITIVITY_SAMPLES);
  const minded = await collectSensitivities(executor, { config, weights, samples, asked }, reporting);
  return (own) => {
    const ranges = byRules(own);
    for (const [site, histogram] of minded) {
      const spec = resolveRecipe(own)(site);
      if (spec && spec.bits <= (resolve(site)?.bits ?? 0)) ranges.set(site, rangeOf(histogram, { kind: 'mse' }, spec));
    }
    return ranges;
  };
}

const SENSITIVITY_SAMPLES = 12; // a pass forward and one back for each

/** `count` of the samples at even distances, or all. */
const evenly = (samples: readonly Int32Array[], count: number): Int32Array[] =>
  samples.length <= count
    ? [...samples]
    : Array.from({ length: count }, (_, i) => samples[Math.floor(((i + 0.5) * samples.length) / count)] as Int32Array);

const MEASURED_SAMPLES = 2; // enough to tell sites apart, and each takes as long again
const MEASURED_TOKENS = 256;

/** The recipe with 16 bits where they gain most, as the first tokens of some samples say. */
async function placed(
  executor: Executor,
  { budget }: Plan,
  { config, weights }: FloatModel,
  { calibration, ...given }: Pick<QuantizeInput, 'recipe' | 'ranges'> & Pick<PlanInput, 'calibration'> & Reporting,
): Promise<Placement> {
  const step = Math.ceil(calibration.length / MEASURED_SAMPLES);
  const samples = calibration.filter((_, i) => i % step === 0).map((sample) => sample.subarray(0, MEASURED_TOKENS));
  const { recipe, ranges, ...reporting } = given;
  const input = { config, weights, recipe, ranges, samples };
  const divergences = await movableDivergences(executor, input, reporting);
  return placePrecision({ config, weights, recipe, divergences }, budget);
}
