/** The steps of a plan up to the rounding of weights, each as the plan says. */
import { cachedWeights, type FloatModel } from '@mobilequant/core';
import { type Range, type Recipe, resolveRecipe, withRules } from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import { collectHistograms, type Histograms } from './collect-histograms.ts';
import { collectSensitivities } from './collect-sensitivities.ts';
import type { Pair } from './learnables.ts';
import { observedForm } from './methods.ts';
import { evenPlaces } from './numbers.ts';
import { movableDivergences, movableSites, type Placement, placePrecision, widenings } from './place-precision.ts';
import type { Plan, PlanInput } from './plan.ts';
import type { OnProgress } from './progress.ts';
import { needsHeadRanges, type QuantizeInput, withKnownRanges } from './quantize-model.ts';
import { needsHistogram, rangeOf, rangeRulesOf, rangesBy, ruleOf } from './range-rules.ts';
import { rotate } from './rotations.ts';
import { searchPrefix } from './search-prefix.ts';
import { searchScales } from './search-scales.ts';
import { smooth } from './smooth-quant.ts';
import { collectStatistics, rangesOf } from './statistics.ts';

export type Reporting = { readonly onProgress: OnProgress; readonly signal?: AbortSignal };

/** Passes progress on, and stops the step that reports it, or sooner where that looks at the signal; tuning has a state to save. */
export const reportingUntil = (signal?: AbortSignal, onProgress?: OnProgress): Reporting => ({
  ...(signal && { signal }),
  onProgress(progress) {
    signal?.throwIfAborted();
    onProgress?.(progress);
  },
});

export async function prefixOf(
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

export async function transformed(
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
export async function observedSites(
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
export async function rangesFor(
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
      if (histogram.total > 0 && spec && spec.bits <= (resolve(site)?.bits ?? 0))
        ranges.set(site, rangeOf(histogram, { kind: 'mse' }, spec));
    }
    return ranges;
  };
}

const SENSITIVITY_SAMPLES = 12; // a pass forward and one back for each

/** `count` of the samples at even distances, or all. */
export const evenly = (samples: readonly Int32Array[], count: number): Int32Array[] =>
  samples.length <= count ? [...samples] : evenPlaces(samples.length, count).map((i) => samples[i] as Int32Array);

const MEASURED_SAMPLES = 2; // enough to tell sites apart, and each takes as long again
const MEASURED_TOKENS = 256;

/** The recipe with 16 bits where they gain most, as the first tokens of some samples say. */
export async function placed(
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
