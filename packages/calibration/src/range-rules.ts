/**
 * From histograms to the ranges of activation quantizers, by rules that are data.
 *
 * Percentile and error are worth their name only if the tokens that attention sinks into stand in a prefix: their values are few and
 * huge, and a range that leaves them out destroys the model.
 */
import {
  affineFromRange,
  matchSite,
  type QuantizerSpec,
  type Range,
  type RangeRule,
  type Recipe,
  RecipeError,
  resolveRecipe,
  type SiteRangeRule,
} from '@mobilequant/quantizer';
import type { Histograms } from './collect-histograms.ts';
import { binEdge, type Histogram } from './histogram.ts';
import { roundingError } from './rounding-error.ts';

/**
 * Of recipes with `exact` conventions: up to 8 bits a few outliers are given up, of keys a few more, and above that there are levels
 * enough for them. Chosen by the divergence of the logits of a 135M llama on held-out calibration text.
 */
export const defaultRangeRules: readonly SiteRangeRule[] = [
  { site: '*', range: { kind: 'minmax' } },
  { site: '*', maxBits: 8, range: { kind: 'percentile', percent: 99.999 } },
  ...['self_attn.k_proj.output', 'self_attn.k_norm.output', 'self_attn.qk_bmm.input2'].map(
    (keys): SiteRangeRule => ({ site: `*.${keys}`, maxBits: 8, range: { kind: 'percentile', percent: 99.995 } }),
  ),
];

/** A recipe's range rules behind the custom of its conventions: the default ones, or the reference's minima and maxima. */
export const rangeRulesOf = ({ conventions, ranges = [] }: Recipe): SiteRangeRule[] => [
  ...(conventions === 'exact' ? defaultRangeRules : []),
  ...ranges,
];

/** The rule of a site that is quantized by `spec`: the last that matches, or min-max. A range that the spec knows needs none. */
export function ruleOf(site: string, spec: QuantizerSpec, rules: readonly SiteRangeRule[]): RangeRule {
  const covers = ({ site: pattern, maxBits = Infinity }: SiteRangeRule) =>
    spec.bits <= maxBits && matchSite(pattern, site);
  return (spec.range ? undefined : rules.findLast(covers)?.range) ?? { kind: 'minmax' };
}

/** Whether a site's range cannot be taken without a histogram; the `count` of `collectHistograms` for a recipe. */
export function needsHistogram(
  recipe: Recipe,
  rules: readonly SiteRangeRule[] = rangeRulesOf(recipe),
): (site: string) => boolean {
  const resolve = resolveRecipe(recipe);
  return (site) => {
    const spec = resolve(site);
    return spec !== undefined && ruleOf(site, spec, rules).kind !== 'minmax';
  };
}

/**
 * Full site name → range, as `quantizeModel` takes them. Sites that the recipe leaves in float have their extremes.
 *
 * @throws RecipeError when the rule of a site needs a histogram and there is none.
 */
export function rangesBy(
  histograms: Histograms,
  recipe: Recipe,
  rules: readonly SiteRangeRule[] = rangeRulesOf(recipe),
): Map<string, Range> {
  const resolve = resolveRecipe(recipe);
  const range = (site: string, { min, max, histogram }: Range & { histogram?: Histogram }): Range => {
    const spec = resolve(site);
    if (spec?.range) return spec.range;
    const rule: RangeRule = spec ? ruleOf(site, spec, rules) : { kind: 'minmax' };
    if (!spec || rule.kind === 'minmax') return { min, max };
    if (histogram) return rangeOf(histogram, rule, spec);
    throw new RecipeError({
      where: `${recipe.name}, '${site}'`,
      expected: `a histogram, for its range is taken by ${rule.kind}`,
      received: 'its extremes alone',
      advice: 'Collect histograms with `count: needsHistogram(recipe)`.',
    });
  };
  return new Map([...histograms].map(([site, found]) => [site, range(site, found)]));
}

/**
 * The range of one site. Except by min-max it contains 0, and never reaches beyond the extremes or 0.
 *
 * @throws RangeError when a percentile is not above 50 and up to 100.
 */
export function rangeOf(histogram: Histogram, rule: RangeRule, spec: Pick<QuantizerSpec, 'bits' | 'symmetric'>): Range {
  switch (rule.kind) {
    case 'minmax':
      return { min: histogram.min, max: histogram.max };
    case 'percentile':
      return percentileRange(histogram, rule.percent);
    case 'mse':
      return leastErrorRange(histogram, spec);
  }
}

/**
 * Each tail is given up to (100 - percent) % of the values, counted from its end; what is kept is rounded outwards to whole bins.
 * So few values (below 100,000 at 99.999) lose none.
 */
function percentileRange({ min, max, total, bins, counts }: Histogram, percent: number): Range {
  if (!(percent > 50 && percent <= 100))
    throw new RangeError(`percentile: expected above 50 and up to 100, got ${percent}. 99.999 is a good start.`);
  const spare = Math.floor(((total * (100 - percent)) / 100) * (1 + 1e-9)); // 100 - 99.9 is a little less than 0.1
  let [first, last] = [0, bins.length - 1];
  for (let below = counts[first] as number; below <= spare; below += counts[first] as number) first++;
  for (let above = counts[last] as number; above <= spare; above += counts[last] as number) last--;
  return {
    min: Math.min(0, Math.max(min, binEdge(bins[first] as number))),
    max: Math.max(0, Math.min(max, binEdge((bins[last] as number) + 1))),
  };
}

const geometric = (ratio: number, from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ratio ** (from + i));

const CLIPS = geometric(2 ** -0.25, 0, 48); // down to 2^-12 of the largest value
const NEAR = geometric(2 ** -0.0625, -6, 6); // a grid of its own around the best of the others

/** All of it where nothing counts. A common clip for both sides first, from an outlier's size down; then each end by itself, twice, since they share the levels. */
function leastErrorRange(histogram: Histogram, spec: Pick<QuantizerSpec, 'bits' | 'symmetric'>): Range {
  const low = Math.min(0, histogram.min);
  const high = Math.max(0, histogram.max);
  if (histogram.total === 0) return { min: low, max: high };
  const clipped = (below: number, above: number): Range => ({ min: Math.max(low, -below), max: Math.min(high, above) });
  const best = (candidates: readonly Range[]): Range => {
    const errors = candidates.map((range) => roundingError(histogram, affineFromRange(range, spec)));
    return candidates[errors.indexOf(Math.min(...errors))] as Range;
  };
  const largest = Math.max(-low, high);
  const common = best(CLIPS.map((factor) => clipped(factor * largest, factor * largest)));
  const size = Math.max(-common.min, common.max);
  let range = best([common, ...NEAR.map((factor) => clipped(factor * size, factor * size))]);
  if (spec.symmetric) return range;
  for (let round = 0; round < 2; round++) {
    for (const end of ['min', 'max'] as const) {
      const { min, max } = range;
      const ends = NEAR.map((factor) => (end === 'min' ? clipped(-factor * min, max) : clipped(-min, factor * max)));
      range = best([range, ...ends]);
    }
  }
  return range;
}
