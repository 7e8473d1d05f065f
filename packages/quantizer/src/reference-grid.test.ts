import { expect, test } from 'vitest';
import { RecipeError } from './errors.ts';
import { rangesFromReferenceGrid, referenceAffine, referenceGrid } from './reference-grid.ts';

test('an asymmetric offset is free to leave the grid', () => {
  const { scale, offset } = referenceAffine({ min: 10, max: 265 }, { bits: 8, symmetric: false });
  expect([scale, offset]).toEqual([1, -10]);
});

test('symmetric levels are signed and ignore the smaller end', () => {
  const spec = { bits: 8, symmetric: true };
  expect(referenceAffine({ min: -127, max: 3 }, spec)).toEqual(referenceAffine({ min: 0, max: 127 }, spec));
  expect(referenceAffine({ min: -127, max: 3 }, spec)).toEqual({ scale: 1, offset: 0, qmin: -128, qmax: 127 });
});

test('the scale stays between 1e-5 and 1e6', () => {
  expect(referenceAffine({ min: 0, max: 0 }, { bits: 8, symmetric: true }).scale).toBe(Math.fround(1e-5));
  expect(referenceAffine({ min: -1e30, max: 1e30 }, { bits: 8, symmetric: false }).scale).toBe(1e6);
});

test('a grid stands for the range that made it, up to the rounding of the offset', () => {
  const ranges = { min: Float32Array.of(-3, 0), max: Float32Array.of(5, 2) };
  for (const symmetric of [true, false]) {
    const grid = referenceGrid(ranges, { bits: 8, symmetric });
    const stood = rangesFromReferenceGrid(grid);
    grid.scale.forEach((s, g) => {
      const alpha = Math.max(-(ranges.min[g] as number), ranges.max[g] as number);
      expect(Math.abs((stood.max[g] as number) - (symmetric ? alpha : (ranges.max[g] as number)))).toBeLessThanOrEqual(
        0.501 * s,
      );
      expect(Math.abs((stood.min[g] as number) - (symmetric ? -alpha : (ranges.min[g] as number)))).toBeLessThanOrEqual(
        0.501 * s,
      );
    });
  }
});

test('bits are 2 to 16', () => {
  expect(() => referenceAffine({ min: 0, max: 1 }, { bits: 17, symmetric: false })).toThrow(RecipeError);
  expect(() => referenceAffine({ min: 0, max: 1 }, { bits: 1, symmetric: true })).toThrowErrorMatchingInlineSnapshot(
    `[RecipeError: referenceGrid: expected bits from 2 to 16, got 1. A site with more bits is left in float: give it no spec (null).]`,
  );
});
