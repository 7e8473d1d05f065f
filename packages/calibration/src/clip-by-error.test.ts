import { encodingFromRanges, fakeQuantize, type QuantizerSpec, type Ranges, rangesOf } from '@mobilequant/quantizer';
import type { Value } from '@mobilequant/tracer';
import { expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { normal } from '../test/tiny-layer.ts';
import { clipByError } from './clip-by-error.ts';

const [rows, columns] = [12, 40];
const weight: Value = { data: slow.flat(slow.weight(rows, columns, 4)), shape: [rows, columns] };
const next = normal(9);
const importance = Float64Array.from({ length: columns }, () => Math.exp(2 * next()));

/** The weighted error of each group. */
function errors(ranges: Ranges, spec: QuantizerSpec): number[] {
  const w = weight.data as Float32Array;
  const y = fakeQuantize(w, encodingFromRanges(ranges, spec).encoding);
  const sums = new Array<number>(ranges.min.length).fill(0);
  const length = w.length / sums.length;
  w.forEach((x, i) => {
    const group = Math.floor(i / length);
    sums[group] = (sums[group] as number) + (importance[i % columns] as number) * (x - (y[i] as number)) ** 2;
  });
  return sums;
}

const specs: QuantizerSpec[] = ([{ kind: 'tensor' }, { kind: 'channel' }, { kind: 'group', size: 8 }] as const).flatMap(
  (granularity) => [true, false].map((symmetric) => ({ bits: 4, symmetric, granularity })),
);

test.each(specs)('$granularity.kind, symmetric $symmetric: no other part of the range has a smaller error', (spec) => {
  const whole = rangesOf(weight.data as Float32Array, weight.shape, spec.granularity);
  const chosen = clipByError(weight, spec, importance);
  const least = errors(chosen, spec);
  for (const factor of [1, 0.9, 0.76, 0.6, 0.5]) {
    const other = errors({ min: whole.min.map((x) => x * factor), max: whole.max.map((x) => x * factor) }, spec);
    other.forEach((error, g) => expect(error * (1 + 1e-5)).toBeGreaterThanOrEqual(least[g] as number));
  }
  chosen.min.forEach((min, g) => {
    const kept = min / (whole.min[g] as number);
    expect((chosen.max[g] as number) / (whole.max[g] as number)).toBeCloseTo(kept, 5);
  });
});

test('a column without importance does not keep the range wide', () => {
  const outlier = (weight.data as Float32Array).slice();
  outlier[5] = 30;
  const spec: QuantizerSpec = { bits: 4, symmetric: true, granularity: { kind: 'channel' } };
  const kept = (h: Float64Array) => clipByError({ ...weight, data: outlier }, spec, h).max[0] as number;
  expect(kept(importance.with(5, 0))).toBeLessThan(0.5 * kept(importance.with(5, 1000)));
});
