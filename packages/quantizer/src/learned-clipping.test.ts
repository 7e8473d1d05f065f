import { expect, test } from 'vitest';
import { fakeQuantize } from './fake-quantize.ts';
import { clip, clippedRanges, fakeQuantizeClipped, fakeQuantizeClippedGradient } from './learned-clipping.ts';
import { rangesOf, symmetricRanges } from './ranges.ts';
import { referenceGrid } from './reference-grid.ts';

const x = [-0.5, 0.25, 0.9, -0.1, 0.3, -0.8];
const factors = { up: Float32Array.of(1, 4), low: Float32Array.of(4, 0) };
const ranges = rangesOf(x, [2, 3], { kind: 'channel' });

test('a factor of 4 keeps 98.2 % of the range, 0 keeps half', () => {
  const { min, max } = clippedRanges(ranges, factors);
  expect(max[1]).toBeCloseTo(0.9820138 * 0.3, 6);
  expect(min[1]).toBeCloseTo(-0.4, 6);
});

test('fusing a clipped asymmetric weight changes nothing that was trained', () => {
  const spec = { bits: 4, symmetric: false };
  const trained = fakeQuantizeClipped(x, spec, factors);
  const stored = clip(x, clippedRanges(ranges, factors));
  const again = fakeQuantize(stored, referenceGrid(rangesOf(stored, [2, 3], { kind: 'channel' }), spec));
  expect(again).toEqual(trained);
});

test('a symmetric weight needs the symmetric range: the reference’s stores another weight than it trained', () => {
  const spec = { bits: 4, symmetric: true };
  // The first row's maximum, 0.9 · σ(4), decides; its minimum, -0.5 · σ(-3), is clipped away by the reference only.
  const row = { up: Float32Array.of(4), low: Float32Array.of(-3) };
  const weight = [-0.5, 0.25, 0.9];
  const kept = clippedRanges(rangesOf(weight, [3], { kind: 'tensor' }), row);
  const trained = fakeQuantizeClipped(weight, spec, row);
  const fused = (stored: Float32Array) =>
    fakeQuantize(stored, referenceGrid(rangesOf(stored, [3], { kind: 'tensor' }), spec));
  expect(fused(clip(weight, symmetricRanges(kept)))).toEqual(trained);
  expect(fused(clip(weight, kept))).not.toEqual(trained);
});

test('the factors have the slope of finite differences where everything is outside the grid', () => {
  // Only the saturated element has a gradient: x̂ = (15 - offset) · scale, smooth while the offset does not step.
  const spec = { bits: 4, symmetric: false };
  const weight = [-1, 0.1, 2];
  const dy = [0, 0, 1];
  const at = (up: number) => ({ up: Float32Array.of(up), low: Float32Array.of(4) });
  const loss = (up: number) => fakeQuantizeClipped(weight, spec, at(up))[2] as number;
  const h = 1e-3;
  const grad = fakeQuantizeClippedGradient(weight, dy, spec, at(1));
  expect(grad.up[0]).toBeCloseTo((loss(1 + h) - loss(1 - h)) / (2 * h), 3);
});

test('an extreme passes its gradient as far as it is kept', () => {
  // Half of the minimum and of the maximum is kept: the scale is (2 - (-1)) / 2 / 15 = 0.1.
  const grad = fakeQuantizeClippedGradient(
    [-1, 0.23, 2],
    [0, 1, 0],
    { bits: 4, symmetric: false },
    { up: Float32Array.of(0), low: Float32Array.of(0) },
  );
  const gradScale = 2 - 2.3;
  expect(grad.x[0]).toBeCloseTo((-gradScale / 15) * 0.5, 6);
  expect(grad.x[1]).toBe(1);
  expect(grad.x[2]).toBeCloseTo((gradScale / 15) * 0.5, 6);
});
