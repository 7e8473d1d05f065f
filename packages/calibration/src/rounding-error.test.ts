import { type Affine, affineFromRange, encodingFromRange, fakeQuantize } from '@mobilequant/quantizer';
import { expect, test } from 'vitest';
import { normal } from '../test/tiny-layer.ts';
import { binEdge, histogramOf } from './histogram.ts';
import { roundingError } from './rounding-error.ts';

const specs = [
  { bits: 8, symmetric: false },
  { bits: 8, symmetric: true },
  { bits: 4, symmetric: false },
  { bits: 16, symmetric: true },
];
const ranges = [
  { min: -30, max: 40 },
  { min: -1.5, max: 0.7 },
  { min: 0, max: 3 },
];
const cases = specs.flatMap((spec) => ranges.map((range) => ({ ...spec, ...range })));

function values(seed: number): Float32Array {
  const next = normal(seed);
  return Float32Array.from({ length: 20_000 }, (_, i) => next() * (i % 500 === 0 ? 12 : 1));
}

test.each(cases)(
  'is the error of rounding the values: $bits bit, symmetric $symmetric, [$min, $max]',
  ({ min, max, ...spec }) => {
    const x = values(1);
    const { encoding } = encodingFromRange({ min, max }, { ...spec, granularity: { kind: 'tensor' } });
    const exact = fakeQuantize(x, encoding).reduce((sum, y, i) => sum + (y - (x[i] as number)) ** 2, 0) / x.length;
    const found = roundingError(histogramOf(x), affineFromRange({ min, max }, spec));
    expect(found / exact).toBeGreaterThan(0.97);
    expect(found / exact).toBeLessThan(1.03);
  },
);

/** Points spread over each bin, rounded one by one. */
function slow(histogram: ReturnType<typeof histogramOf>, { scale, zeroPoint, qmax }: Affine, points: number): number {
  let sum = 0;
  histogram.bins.forEach((bin, i) => {
    const low = Math.max(binEdge(bin), histogram.min);
    const high = Math.min(binEdge(bin + 1), histogram.max);
    for (let p = 0; p < points; p++) {
      const x = low + ((high - low) * (p + 0.5)) / points;
      const level = Math.min(Math.max(Math.round(x / scale) + zeroPoint, 0), qmax);
      sum += ((histogram.counts[i] as number) / points) * ((level - zeroPoint) * scale - x) ** 2;
    }
  });
  return sum / histogram.total;
}

test.each(cases)(
  'takes values to lie evenly in their bins: $bits bit, symmetric $symmetric, [$min, $max]',
  ({ min, max, ...spec }) => {
    const histogram = histogramOf(values(2).subarray(0, 500));
    const affine = affineFromRange({ min, max }, spec);
    expect(roundingError(histogram, affine) / slow(histogram, affine, 400)).toBeCloseTo(1, 3);
  },
);

test('of one value that was seen often, is its own', () => {
  const histogram = histogramOf(new Float32Array(7).fill(0.3));
  expect(roundingError(histogram, { scale: 1, zeroPoint: 0, qmax: 3 })).toBeCloseTo(0.09, 6);
  expect(roundingError(histogram, { scale: 0.1, zeroPoint: 0, qmax: 1 })).toBeCloseTo(0.04, 6);
});
