import {
  encodingFromRange,
  fakeQuantize,
  type QuantizerSpec,
  type Range,
  type RangeRule,
  type Recipe,
  recipes,
} from '@mobilequant/quantizer';
import { describe, expect, test } from 'vitest';
import { normal, random } from '../test/tiny-layer.ts';
import type { SiteHistogram } from './collect-histograms.ts';
import { histogramOf, weightedHistogramOf } from './histogram.ts';
import { defaultRangeRules, needsHistogram, rangeOf, rangeRulesOf, rangesBy, ruleOf } from './range-rules.ts';

const tensor = { kind: 'tensor' } as const;
const a8: QuantizerSpec = { bits: 8, symmetric: false, granularity: tensor };
const percentile = (percent: number): RangeRule => ({ kind: 'percentile', percent });

/** What activations look like: normal, one-sided, with outliers on one side or both, far from zero. */
const texts: readonly { name: string; x: Float32Array }[] = [
  { name: 'normal', of: () => (next: () => number) => next() },
  { name: 'with outliers', of: () => (next: () => number, i: number) => next() * (i % 400 === 0 ? 30 : 1) },
  { name: 'with huge outliers', of: () => (next: () => number, i: number) => (i % 4000 === 7 ? 2e3 : 1) * next() },
  { name: 'with an outlier above', of: () => (next: () => number, i: number) => (i === 5 ? 900 : next()) },
  {
    name: 'like a SiLU',
    of: () => (next: () => number) => {
      const g = 3 * next();
      return g / (1 + Math.exp(-g));
    },
  },
  { name: 'above zero', of: () => (next: () => number) => 5 + Math.abs(next()) },
  { name: 'below zero', of: () => (next: () => number) => -2 - Math.abs(next()) },
].map(({ name, of }, seed) => {
  const next = normal(seed + 1);
  const value = of();
  return { name, x: Float32Array.from({ length: 20_000 }, (_, i) => value(next, i)) };
});

const errorOf = (x: Float32Array, range: Range, spec: QuantizerSpec): number =>
  fakeQuantize(x, encodingFromRange(range, spec).encoding).reduce((sum, y, i) => sum + (y - (x[i] as number)) ** 2, 0) /
  x.length;

describe.each(texts)('values $name', ({ x }) => {
  const histogram = histogramOf(x);
  const [min, max] = [Math.min(0, histogram.min), Math.max(0, histogram.max)];

  // Of 20,000 values, 99.999 % are all but 0.2.
  test.each([
    [99.999, 0],
    [99.99, 2],
    [99.9, 20],
    [99, 200],
    [80, 4000],
  ] as const)('percentile %f gives up the %i outermost values on each side', (percent, spare) => {
    const sorted = x.toSorted();
    const range = rangeOf(histogram, percentile(percent), a8);
    const [low, high] = [sorted[spare] as number, sorted[x.length - 1 - spare] as number];
    const slack = (value: number) => 2 ** -7 * Math.abs(value);
    expect(range.min).toBeLessThanOrEqual(Math.min(0, low));
    expect(range.min).toBeGreaterThanOrEqual(Math.min(0, low - slack(low)));
    expect(range.max).toBeGreaterThanOrEqual(Math.max(0, high));
    expect(range.max).toBeLessThanOrEqual(Math.max(0, high + slack(high)));
  });

  test('min-max is exact', () => {
    expect(rangeOf(histogram, { kind: 'minmax' }, a8)).toEqual({ min: histogram.min, max: histogram.max });
  });

  test.each([percentile(99.999), percentile(99), percentile(100), { kind: 'mse' } as const])(
    'a range contains zero and reaches no further than the values: %o',
    (rule) => {
      for (const symmetric of [true, false]) {
        const range = rangeOf(histogram, rule, { bits: 8, symmetric });
        expect(range.min).toBeLessThanOrEqual(0);
        expect(range.max).toBeGreaterThanOrEqual(0);
        expect(range.min).toBeGreaterThanOrEqual(min);
        expect(range.max).toBeLessThanOrEqual(max);
      }
    },
  );

  test.each([
    { bits: 8, symmetric: false },
    { bits: 8, symmetric: true },
    { bits: 4, symmetric: false },
    { bits: 4, symmetric: true },
  ])(
    'the range of least error is as good as the best of all pairs of clips: $bits bit, symmetric $symmetric',
    (form) => {
      const spec = { ...form, granularity: tensor };
      const sample = x.filter((value, i) => i % 10 === 0 || Math.abs(value) > 10);
      const { min: low, max: high } = histogramOf(sample);
      const own = errorOf(sample, rangeOf(histogramOf(sample), { kind: 'mse' }, spec), spec);
      expect(own).toBeLessThanOrEqual(errorOf(sample, { min: low, max: high }, spec) * 1.01);
      const largest = Math.max(-low, high);
      const clips = Array.from({ length: 24 }, (_, i) => largest * 2 ** (-i / 2));
      for (const below of form.symmetric ? [largest] : clips) {
        for (const above of clips) {
          const range = { min: Math.max(low, -(form.symmetric ? above : below)), max: Math.min(high, above) };
          if (range.min > range.max) continue; // nothing is left of the values
          expect(own).toBeLessThanOrEqual(errorOf(sample, range, spec) * 1.01);
        }
      }
    },
  );
});

test('a few values lose none to a high percentile', () => {
  const x = Float32Array.of(-3, 1, 2, 500);
  expect(rangeOf(histogramOf(x), percentile(99.999), a8)).toEqual({ min: -3, max: 500 });
});

test('a percentile gives up whole outliers, exactly as many as it may', () => {
  const next = random(9);
  const x = Float32Array.from({ length: 10_000 }, (_, i) => (i < 11 ? 1000 + i : 2 * next() - 1));
  expect(rangeOf(histogramOf(x), percentile(99.9), a8).max).toBeGreaterThan(1000); // 10 of 11
  expect(rangeOf(histogramOf(x.subarray(1)), percentile(99.9), a8).max).toBeGreaterThan(1000); // 9.999 of 10: 9
  expect(rangeOf(histogramOf(x.subarray(0, 11)), percentile(99.9), a8).max).toBe(1010);
  expect(rangeOf(histogramOf(x), percentile(99.89), a8).max).toBeLessThanOrEqual(1);
});

test('where no value counts, the least error is that of the whole range', () => {
  const x = Float32Array.of(-3, 1, 2);
  const nothing = weightedHistogramOf(x, new Float32Array(3));
  expect(rangeOf(nothing, { kind: 'mse' }, a8)).toEqual({ min: -3, max: 2 });
});

test('a percentile that is none is refused', () => {
  for (const percent of [0, 50, 100.1, NaN])
    expect(() => rangeOf(histogramOf(Float32Array.of(1)), percentile(percent), a8)).toThrow(RangeError);
});

describe('rules of a recipe', () => {
  const x = texts[1]?.x as Float32Array;
  const histogram = histogramOf(x);
  const found: SiteHistogram = { min: histogram.min, max: histogram.max, histogram };
  const minmax = { min: histogram.min, max: histogram.max };
  const layer = 'model.layers.0';
  const sites = ['mlp.w1.output', 'mlp.act_fn.input2', 'mlp.w2.output', 'mlp.w2.input', 'mlp.w3.input'];
  const histograms = new Map(sites.map((site) => [`${layer}.${site}`, found]));
  const given = (recipe: Recipe) =>
    Object.fromEntries([...rangesBy(histograms, recipe)].map(([site, range]) => [site.slice(layer.length + 1), range]));
  const p99 = rangeOf(histogram, percentile(99), a8);
  const base: Recipe = { ...recipes.w8a8, ranges: [{ site: '*', maxBits: 8, range: percentile(99) }] };

  test('give 8-bit sites a percentile, and others their extremes or what is known', () => {
    expect(given(base)).toEqual({
      'mlp.w1.output': p99,
      'mlp.act_fn.input2': { min: 0, max: 1 }, // known
      'mlp.w2.output': minmax, // 16 bit
      'mlp.w2.input': minmax,
      'mlp.w3.input': minmax, // float
    });
    const own = rangesBy(histograms, recipes.w8a8).get(`${layer}.mlp.w1.output`);
    expect(own).toEqual(rangeOf(histogram, percentile(99.999), a8));
    expect(ruleOf('model.layers.3.self_attn.qk_bmm.input2', a8, defaultRangeRules)).toEqual(percentile(99.995));
    expect(ruleOf('model.layers.3.self_attn.qk_bmm.input', { ...a8, bits: 16 }, defaultRangeRules)).toEqual({
      kind: 'minmax',
    });
  });

  test('are decided by the last that matches', () => {
    const last = (site: string, range: RangeRule): Recipe => ({
      ...base,
      ranges: [...(base.ranges ?? []), { site, range }],
    });
    expect(given(last('*.w1.output', { kind: 'minmax' }))).toMatchObject({ 'mlp.w1.output': minmax });
    expect(given(last('*.w2.*', percentile(99)))).toMatchObject({ 'mlp.w1.output': p99, 'mlp.w2.output': p99 });
    expect(given(last('model.layers.1.*', { kind: 'minmax' }))).toMatchObject({ 'mlp.w1.output': p99 });
    expect(given(last('*.act_fn.input2', percentile(99)))).toMatchObject({ 'mlp.act_fn.input2': { min: 0, max: 1 } });
    expect(given(last('*.w1.output', { kind: 'mse' }))['mlp.w1.output']).toEqual(
      rangeOf(histogram, { kind: 'mse' }, a8),
    );
  });

  test('are minima and maxima under the conventions of the reference, unless the recipe says more', () => {
    const paper = recipes['paper-w8a8'];
    expect(rangeRulesOf(paper)).toEqual([]);
    expect(given(paper)).toMatchObject({ 'mlp.w1.output': minmax });
    expect(given({ ...paper, ranges: base.ranges ?? [] })).toMatchObject({ 'mlp.w1.output': p99 });
  });

  test('say where a histogram is needed, and miss it there alone', () => {
    const needed = sites.filter((site) => needsHistogram(base)(`${layer}.${site}`));
    expect(needed).toEqual(['mlp.w1.output']);
    expect(sites.some((site) => needsHistogram(recipes['paper-w8a8'])(`${layer}.${site}`))).toBe(false);
    const bare = new Map(
      [...histograms.keys()].map((site) => [site, needed.some((name) => site.endsWith(name)) ? found : minmax]),
    );
    expect(rangesBy(bare, base)).toEqual(rangesBy(histograms, base));
    expect(() => rangesBy(new Map([[`${layer}.mlp.w1.output`, minmax]]), base)).toThrowErrorMatchingInlineSnapshot(
      `[RecipeError: w8a8, 'model.layers.0.mlp.w1.output': expected a histogram, for its range is taken by percentile, got its extremes alone. Collect histograms with \`count: needsHistogram(recipe)\`.]`,
    );
  });
});
