import { describe, expect, test } from 'vitest';
import { normal } from '../test/tiny-layer.ts';
import { binEdge, histogramOf, mergeHistograms, weightedHistogramOf } from './histogram.ts';

/** Normal numbers with outliers of any size, both zeros, and numbers too small to be normal. */
function values(seed: number, count: number): Float32Array {
  const next = normal(seed);
  const special = [0, -0, 1e-40, -1e-40, 3.4e38, -3.4e38, 1];
  return Float32Array.from({ length: count }, (_, i) =>
    i < special.length ? (special[i] as number) : next() * Math.exp(next() * (i % 7)),
  );
}

describe('histogramOf', () => {
  test('holds every value in the bin whose edges are around it', () => {
    const x = values(1, 1000);
    const { bins, counts, total, min, max } = histogramOf(x);
    expect(total).toBe(x.length);
    expect(min).toBe(Math.min(...x));
    expect(max).toBe(Math.max(...x));
    // Of negative numbers, the bin is closed above: it holds what rounds towards zero to the same number.
    const holds = (bin: number, value: number) =>
      value < 0 || Object.is(value, -0)
        ? binEdge(bin) < value && value <= binEdge(bin + 1)
        : binEdge(bin) <= value && value < binEdge(bin + 1);
    const expected = [...bins].map((bin) => x.filter((value) => holds(bin, value)).length);
    // The two zeros have bins of their own, that meet at 0.
    expect([...counts]).toEqual(expected);
    expect(counts.reduce((a, b) => a + b)).toBe(total);
    expect([...bins]).toEqual([...bins].toSorted((a, b) => a - b));
  });

  test('has bins that are narrow beside their values', () => {
    const { bins } = histogramOf(values(2, 3000).map((x) => Math.min(Math.max(x, -1e38), 1e38) + 1e-30));
    for (const bin of bins) {
      const [low, high] = [binEdge(bin), binEdge(bin + 1)];
      expect(high - low).toBeLessThanOrEqual(2 ** -7 * Math.max(Math.abs(low), Math.abs(high)));
    }
  });

  test('counts a part of a buffer', () => {
    const x = values(3, 100);
    expect(histogramOf(x.subarray(20, 60))).toEqual(histogramOf(x.slice(20, 60)));
  });

  test('refuses what is not finite by name, and counts the next values rightly', () => {
    const x = values(4, 100);
    const before = histogramOf(x);
    const wrong = (value: number) => () => histogramOf(Float32Array.of(1, value, 2), { site: 'mlp.w2.input' });
    expect(wrong(NaN)).toThrowErrorMatchingInlineSnapshot(
      `[NonFiniteError: mlp.w2.input: expected finite values, got NaN at 1.]`,
    );
    expect(wrong(Infinity)).toThrow('got Infinity');
    expect(wrong(-Infinity)).toThrow('got -Infinity');
    expect(wrong(-NaN)).toThrow('got NaN');
    expect(histogramOf(x)).toEqual(before);
  });
});

test('histograms of parts add up to that of the whole', () => {
  const x = values(5, 4000);
  const parts = [x.subarray(0, 10), x.subarray(10, 1500), x.subarray(1500)].map((part) => histogramOf(part));
  expect(parts.reduce(mergeHistograms)).toEqual(histogramOf(x));
  expect(parts.toReversed().reduce(mergeHistograms)).toEqual(histogramOf(x));
});

test('bins meet, and zero is an edge', () => {
  expect(binEdge(2 ** 15)).toBe(0);
  for (const bin of [2 ** 15 - 0x3f81, 2 ** 15 - 1, 2 ** 15 + 0x3f80])
    expect(binEdge(bin)).toBeLessThan(binEdge(bin + 1));
  expect(binEdge(2 ** 15 + 0x3f80)).toBe(1);
  expect(binEdge(2 ** 15 - 0x3f80)).toBe(-1);
});

describe('weightedHistogramOf', () => {
  test('has the bins of a plain one, and in each the sum of the weights of its values', () => {
    const x = values(3, 200);
    const places = Array.from(x, (value) => histogramOf(Float32Array.of(value)).bins[0]);
    const weights = Float32Array.from(x, (_, i) => (i % 5) / 4);
    const { counts, total, ...rest } = weightedHistogramOf(x, weights);
    const { counts: plain, total: count, ...same } = histogramOf(x);
    expect(rest).toEqual(same);
    for (const [i, bin] of rest.bins.entries()) {
      const own = weights.filter((_, j) => places[j] === bin);
      expect(own.length).toBe(plain[i]);
      expect(counts[i]).toBeCloseTo(
        own.reduce((a, b) => a + b, 0),
        9,
      );
    }
    expect(total).toBeCloseTo(
      weights.reduce((a, b) => a + b, 0),
      9,
    );
    expect(count).toBe(x.length);
  });

  test('refuses weights that are not finite, and other numbers of them, and counts as before', () => {
    const x = values(5, 20);
    const ones = x.map(() => 1);
    const broken = ones.with(3, Number.NaN);
    expect(() => weightedHistogramOf(x, broken, 'here')).toThrow(/^here: expected finite weights, got a sum of NaN/);
    expect(() => weightedHistogramOf(x, ones.subarray(1), 'here')).toThrow(
      'here: expected a weight for each of 20 values, got 19.',
    );
    expect(weightedHistogramOf(x, ones)).toEqual(histogramOf(x));
  });

  test('of weights of 1 is the plain one, each time', () => {
    const x = values(4, 300);
    for (let time = 0; time < 2; time++)
      expect(
        weightedHistogramOf(
          x,
          x.map(() => 1),
        ),
      ).toEqual(histogramOf(x));
  });
});
