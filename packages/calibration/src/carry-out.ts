/** Carries plans out. */
import { cachedWeights, type FloatModel, withPrefix } from '@mobilequant/core';
import { checkRecipe } from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import { collectOutputHessians } from './collect-output-hessians.ts';
import { gptq } from './gptq.ts';
import type { LearningStore } from './learning.ts';
import { learnAndFuse, observedForm, quantizedForm } from './methods.ts';
import {
  checkObservation,
  checkObservedPrefix,
  type Observation,
  observationFingerprint,
  type SampleShard,
} from './observation.ts';
import { checkBudget, type Placement } from './place-precision.ts';
import { heldOutOf, type Plan, type PlanInput } from './plan.ts';
import {
  evenly,
  observedSites,
  placed,
  prefixOf,
  type Reporting,
  rangesFor,
  reportingUntil,
  transformed,
} from './plan-steps.ts';
import type { OnProgress } from './progress.ts';
import { type QuantizeResult, quantizeModel } from './quantize-model.ts';
import { reconstruct } from './reconstruct.ts';
import { type Tuned, type TuningEvaluation, tune } from './tuning.ts';

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
 * @throws RecipeError for a recipe that cannot be carried out on this model, RangeError for a budget that is no share, for two steps that
 *   learn or for too few texts to learn from, before anything is computed; the signal's reason once it is aborted, after the layer at hand at the latest (learning: InterruptedError, its
 *   state saved); ObservationError for what was observed of something else; what the steps throw.
 */
export async function carryOut(
  executor: Executor,
  { observed, ...input }: PlanInput,
  plan: Plan,
  { seed = 0, epochs = 2, onProgress, onEvaluation, store, saveEvery, signal }: PlanOptions = {},
): Promise<PlanResult> {
  const { config: given, weights: original, recipe, calibration, training = calibration } = input;
  checkRecipe(recipe, given.layers);
  checkBudget(plan.budget);
  checkLearning(plan);
  const { heldOut = training.slice(training.length - heldOutOf(training.length)) } = input;
  const samples = training.filter((sample) => !heldOut.includes(sample));
  const rebuilds = plan.reconstruction > 0;
  if (plan.tuning > 0 || rebuilds) checkTexts(samples, heldOut, rebuilds);
  if (observed) checkObservation(observed, await fingerprintOf(input, plan, seed));
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
  if (observed) checkObservedPrefix(observed, prefix);
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
  const rounded = await timed('rounding', async () => {
    if (plan.rounding === 'nearest') return quantizeModel(toRound);
    if (plan.rounding === 'learned') {
      const learning = { ...toRound, samples: training };
      return quantizeModel(await learnAndFuse(executor, 'mobilequant', learning, { epochs, ...saving }));
    }
    const learns = plan.tuning > 0 && plan.learnedRounding > 0;
    const fractions = rebuilds || learns;
    const longer = plan.correction > 0 && samples.length > calibration.length;
    const told = evenly(calibration, plan.gradients);
    const outputs = await collectOutputHessians(executor, { ...model, samples: told }, reporting);
    const layerDone: OnProgress = (progress) => {
      model.weights.forget(); // GPTQ reads a layer for as long as it is at it
      reporting.onProgress(progress);
    };
    model.weights.forget();
    const { unrounded, ...found } = await gptq(
      executor,
      { ...toRound, samples: longer ? samples : calibration, outputs },
      { fractions, correction: plan.correction, sweeps: plan.sweeps, ...reporting, onProgress: layerDone },
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

/** Tuning needs texts to learn from, a reconstruction some to choose by too. */
function checkTexts(samples: readonly Int32Array[], heldOut: readonly Int32Array[], rebuilds: boolean): void {
  if (samples.length > 0 && (heldOut.length > 0 || !rebuilds)) return;
  throw new RangeError(
    `plan: expected texts to learn from${rebuilds ? ' and some that are held out' : ''}, got ${samples.length} and ${heldOut.length} held out. Give more.`,
  );
}

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
