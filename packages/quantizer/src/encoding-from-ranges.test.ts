import { expect, test } from 'vitest';
import { affineFromRange, encodingFromRange, encodingFromRanges, rangesFromEncoding } from './encoding-from-ranges.ts';
import { NonFiniteError, ShapeError } from './errors.ts';
import { referenceAffine } from './reference-grid.ts';
import type { QuantizerSpec } from './spec.ts';

const asymmetric: QuantizerSpec = { bits: 8, symmetric: false, granularity: { kind: 'tensor' } };
const symmetric: QuantizerSpec = { ...asymmetric, symmetric: true };

test('a range that excludes zero is widened to it, and that is said', () => {
  expect(affineFromRange({ min: 10, max: 255 }, asymmetric)).toEqual({
    scale: 1,
    zeroPoint: 0,
    qmax: 255,
    widened: true,
  });
  expect(affineFromRange({ min: -255, max: -10 }, asymmetric)).toEqual({
    scale: 1,
    zeroPoint: 255,
    qmax: 255,
    widened: true,
  });
  expect(affineFromRange({ min: 0, max: 255 }, asymmetric).widened).toBe(false);
});

test('the widened groups are listed', () => {
  const ranges = { min: Float32Array.of(-1, 2, -3, -4), max: Float32Array.of(1, 3, -2, 0) };
  expect(encodingFromRanges(ranges, { ...asymmetric, granularity: { kind: 'channel' } }).widened).toEqual([1, 2]);
  expect(encodingFromRanges(ranges, { ...symmetric, granularity: { kind: 'channel' } }).widened).toEqual([]);
});

test('a symmetric zero point is the middle of the unsigned grid', () => {
  expect(affineFromRange({ min: -127, max: 50 }, symmetric)).toEqual({
    scale: 1,
    zeroPoint: 128,
    qmax: 255,
    widened: false,
  });
  expect(affineFromRange({ min: 1, max: 7 }, { bits: 4, symmetric: true })).toMatchObject({ scale: 1, zeroPoint: 8 });
});

test('where the range contains zero, scale and zero point are the reference’s', () => {
  for (const range of [
    { min: -0.3, max: 1.7 },
    { min: 0, max: 1 },
    { min: -5, max: 0 },
    { min: -1e-7, max: 2e-7 },
    { min: 0, max: 0 },
  ]) {
    for (const bits of [2, 4, 8, 16]) {
      const device = affineFromRange(range, { bits, symmetric: false });
      const reference = referenceAffine(range, { bits, symmetric: false });
      expect([device.scale, device.zeroPoint + 0]).toEqual([reference.scale, reference.offset + 0]);
      const deviceSymmetric = affineFromRange(range, { bits, symmetric: true });
      expect(deviceSymmetric.scale).toBe(referenceAffine(range, { bits, symmetric: true }).scale);
    }
  }
});

test('an encoding represents its range within half a step', () => {
  const range = { min: -1.234, max: 5.678 };
  const { encoding } = encodingFromRange(range, asymmetric);
  const { min, max } = rangesFromEncoding(encoding);
  const half = 0.501 * (encoding.scale[0] as number);
  expect(Math.abs((min[0] as number) - range.min)).toBeLessThanOrEqual(half);
  expect(Math.abs((max[0] as number) - range.max)).toBeLessThanOrEqual(half);
});

test('a range that is none is refused', () => {
  expect(() => affineFromRange({ min: Number.NaN, max: 1 }, asymmetric, { site: 'lm_head.output' })).toThrow(
    NonFiniteError,
  );
  expect(() =>
    affineFromRange({ min: 0, max: Infinity }, asymmetric, { site: 'lm_head.output' }),
  ).toThrowErrorMatchingInlineSnapshot(
    `[NonFiniteError: lm_head.output: expected a finite range, got [0, Infinity]. Calibrate on data that reaches this site.]`,
  );
  expect(() =>
    affineFromRange({ min: 2, max: 1 }, asymmetric, { site: 'lm_head.output' }),
  ).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: lm_head.output: expected a range with min ≤ max, got [2, 1]. Swap the two.]`,
  );
  for (const wide of [
    { min: -3e38, max: 3e38 },
    { min: 0, max: 1e39 },
  ])
    expect(() => affineFromRange(wide, asymmetric)).toThrow(/expected a range that float32 holds, got \[/);
});

test('a per-tensor spec has one range', () => {
  expect(() => encodingFromRanges({ min: new Float32Array(2), max: new Float32Array(2) }, asymmetric)).toThrow(
    ShapeError,
  );
});
