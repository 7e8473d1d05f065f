import { expect, test } from 'vitest';
import { fakeQuantizeDynamic, fakeQuantizeDynamicGradient } from './dynamic.ts';
import type { QuantizerSpec } from './spec.ts';

const spec: QuantizerSpec = { bits: 8, symmetric: false, granularity: { kind: 'tensor' } };

test('the grid covers the tensor itself', () => {
  expect(fakeQuantizeDynamic([0, 100.4, 255], [3], spec)).toEqual(Float32Array.of(0, 100, 255));
});

test('equal extremes share the gradient of the scale equally', () => {
  const x = [0, 3.25, 15, 15];
  const grad = fakeQuantizeDynamicGradient(x, [0, 1, 0, 0], [4], { ...spec, bits: 4 });
  // scale = 1, d x̂/d scale = 3 - 3.25 at the one element with a gradient; d scale/d max = 1/15, d scale/d min = -1/15.
  expect(grad[0]).toBeCloseTo(0.25 / 15, 7);
  expect(grad[1]).toBe(1);
  expect(grad[2]).toBeCloseTo(-0.25 / 15 / 2, 7);
  expect(grad[3]).toBe(grad[2]);
});

test('a symmetric range passes its gradient to the larger end, or half to each', () => {
  const symmetric = { ...spec, bits: 4, symmetric: true };
  const larger = fakeQuantizeDynamicGradient([-7, 2.25, 3], [0, 1, 0], [3], symmetric);
  expect(Array.from(larger)).toEqual([expect.closeTo(0.25 / 7, 7), 1, 0]);
  const tie = fakeQuantizeDynamicGradient([-7, 2.25, 7], [0, 1, 0], [3], symmetric);
  expect(Array.from(tie)).toEqual([expect.closeTo(0.125 / 7, 7), 1, expect.closeTo(-0.125 / 7, 7)]);
});

test('a clamped scale passes nothing', () => {
  expect(fakeQuantizeDynamicGradient([0, 1e-8], [1, 1], [2], spec)).toEqual(Float32Array.of(1, 1));
});
