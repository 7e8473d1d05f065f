import { describe, expect, test } from 'vitest';
import { random } from '../test/random.ts';
import { affineFromRange } from './encoding-from-ranges.ts';
import { exactRange } from './exact-range.ts';
import { SCALE_MIN } from './grid.ts';

const specs = [2, 3, 4, 8, 12, 16].flatMap((bits) => [true, false].map((symmetric) => ({ bits, symmetric })));

describe.each(specs)('$bits bits, symmetric $symmetric', (spec) => {
  const next = random(spec.bits);
  const ranges = Array.from({ length: 2000 }, () => {
    const [a, b] = [1, 2].map(() => 10 ** (8 * next() - 4) * (2 * next() - 1)) as [number, number];
    return { min: Math.min(a, b), max: Math.max(a, b) };
  });

  test('gives back scale and zero point of any range, in float32', () => {
    for (const range of [...ranges, { min: 0, max: 0 }, { min: 0, max: 1 }, { min: -3, max: 0 }]) {
      const { scale, zeroPoint } = affineFromRange(range, spec);
      const found = exactRange(spec, scale, zeroPoint);
      expect(found, JSON.stringify(range)).toBeDefined();
      expect(affineFromRange(found as typeof range, spec)).toMatchObject({ scale, zeroPoint });
      expect([found?.min, found?.max]).toEqual([found?.min, found?.max].map((end) => Math.fround(end as number)));
    }
  });

  test('stays within what a tensor has, or finds nothing', () => {
    for (const range of ranges) {
      const { scale, zeroPoint } = affineFromRange(range, spec);
      if (scale === SCALE_MIN) continue; // of a longer range than the tensor's
      const [low, high] = [Math.min(range.min, 0), Math.max(range.max, 0)];
      const more = { min: 1.5 * low, max: 1.5 * high };
      const found = exactRange(spec, scale, zeroPoint, more);
      const reached = spec.symmetric
        ? found && (found.max <= more.max || found.min >= more.min)
        : found && found.max <= more.max && found.min >= more.min;
      expect(reached, JSON.stringify(range)).toBe(true);
      expect(exactRange(spec, scale, zeroPoint, { min: 0.5 * low, max: 0.5 * high })).toBeUndefined();
    }
  });
});

test('a scale that no range has is not found', () => {
  const scales = Array.from({ length: 1000 }, (_, i) => Math.fround(1.005 + i * 2 ** -23));
  expect(scales.some((scale) => exactRange({ bits: 8, symmetric: false }, scale, 128) === undefined)).toBe(true);
});
