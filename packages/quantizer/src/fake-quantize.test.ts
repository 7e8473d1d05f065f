import { expect, test } from 'vitest';
import { encodingFromRanges } from './encoding-from-ranges.ts';
import { fakeQuantize, fakeQuantizeGradient } from './fake-quantize.ts';
import type { Grid } from './grid.ts';
import { referenceGrid } from './reference-grid.ts';

const unit: Grid = { scale: Float32Array.of(1), offset: Float32Array.of(0), qmin: -8, qmax: 7 };

test('values round half to even and saturate', () => {
  expect(fakeQuantize([0.5, 1.5, -2.5, 7.4, 7.6, -100], unit)).toEqual(Float32Array.of(0, 2, -2, 7, 7, -8));
});

test('each group has its own scale', () => {
  const grid = { ...unit, scale: Float32Array.of(1, 0.5), offset: Float32Array.of(0, 0) };
  expect(fakeQuantize([0.6, 1.2, 0.6, 1.2], grid)).toEqual(Float32Array.of(1, 1, 0.5, 1));
});

test('NaN stays NaN', () => expect(fakeQuantize([Number.NaN], unit)[0]).toBeNaN());

test('a symmetric encoding and the reference grid of the same range mean the same reals', () => {
  const ranges = { min: Float32Array.of(-3), max: Float32Array.of(2) };
  const x = Float32Array.from({ length: 200 }, (_, i) => (i - 100) / 23);
  const { encoding } = encodingFromRanges(ranges, { bits: 4, symmetric: true, granularity: { kind: 'tensor' } });
  expect(fakeQuantize(x, encoding).map((v) => v + 0)).toEqual(
    fakeQuantize(x, referenceGrid(ranges, { bits: 4, symmetric: true })).map((v) => v + 0),
  );
});

test('the gradient passes inside the grid and on its ends, and stops outside', () => {
  const grad = fakeQuantizeGradient([-9, -8, 0.25, 7, 7.4, 8], [1, 1, 1, 1, 1, 1], unit);
  expect(grad.x).toEqual(Float32Array.of(0, 1, 1, 1, 1, 0));
  // Inside: round(x) - x = 0, -0.25, 0, -0.4. Outside: -8 and 7.
  expect(grad.scale[0]).toBeCloseTo(-8 - 0.25 - 0.4 + 7, 6);
  expect(grad.offset[0]).toBe(-2);
});

test('inside the grid, the slope in the scale is the rounding error in steps', () => {
  const grad = fakeQuantizeGradient([0.7, -1.1], [1, 10], { ...unit, scale: Float32Array.of(0.5) });
  // 0.7 / 0.5 = 1.4 → 1; -1.1 / 0.5 = -2.2 → -2.
  expect(grad.scale[0]).toBeCloseTo(-0.4 + 10 * 0.2, 5);
  expect(grad.offset[0]).toBe(0);
});

test('outside the grid, scale and offset have the slope of finite differences', () => {
  // There x̂ = (bound - offset) * scale is smooth; inside, the straight-through slope is a definition.
  const at = (scale: number, offset: number): Grid => ({
    scale: Float32Array.of(scale),
    offset: Float32Array.of(offset),
    qmin: 0,
    qmax: 15,
  });
  const x = [-100, 250];
  const dy = [0.75, -2];
  const loss = (grid: Grid) => fakeQuantize(x, grid).reduce((sum, y, i) => sum + y * (dy[i] as number), 0);
  const grad = fakeQuantizeGradient(x, dy, at(0.5, 3));
  const h = 2 ** -6;
  expect(grad.scale[0]).toBeCloseTo((loss(at(0.5 + h, 3)) - loss(at(0.5 - h, 3))) / (2 * h), 4);
  expect(grad.offset[0]).toBeCloseTo((loss(at(0.5, 3 + h)) - loss(at(0.5, 3 - h))) / (2 * h), 4);
});

test('sizes must fit', () => {
  expect(() => fakeQuantize([1, 2, 3], { ...unit, scale: new Float32Array(2) })).toThrow('3 elements');
  expect(() => fakeQuantizeGradient([1, 2], [1], unit)).toThrowErrorMatchingInlineSnapshot(
    `[ShapeError: fakeQuantizeGradient: expected a gradient of 2 elements, as x, got 1 elements.]`,
  );
});
