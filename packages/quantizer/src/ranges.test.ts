import { expect, test } from 'vitest';
import { NonFiniteError, ShapeError } from './errors.ts';
import { rangesOf, symmetricRanges } from './ranges.ts';

const x = [1, -2, 3, 4, -5, -6, -7, -8];

test('ranges are taken per tensor, row, or consecutive group of a row', () => {
  expect(rangesOf(x, [2, 4], { kind: 'tensor' })).toEqual({ min: Float32Array.of(-8), max: Float32Array.of(4) });
  expect(rangesOf(x, [2, 4], { kind: 'channel' })).toEqual({
    min: Float32Array.of(-2, -8),
    max: Float32Array.of(4, -5),
  });
  expect(rangesOf(x, [2, 4], { kind: 'group', size: 2 })).toEqual({
    min: Float32Array.of(-2, 3, -6, -8),
    max: Float32Array.of(1, 4, -5, -7),
  });
});

test('a symmetric range is as wide as the larger end', () => {
  const ranges = symmetricRanges(rangesOf(x, [2, 4], { kind: 'channel' }));
  expect(ranges).toEqual({ min: Float32Array.of(-4, -8), max: Float32Array.of(4, 8) });
});

test('a value that is not finite is named with its site', () => {
  const bad = [1, Number.NaN, 2];
  expect(() => rangesOf(bad, [3], { kind: 'tensor' }, { site: 'mlp.w2.input' })).toThrowErrorMatchingInlineSnapshot(
    `[NonFiniteError: mlp.w2.input: expected finite values, got NaN at element 1. Look for an overflow before this site.]`,
  );
  expect(() => rangesOf([-Infinity], [1], { kind: 'tensor' })).toThrow(NonFiniteError);
});

test('the data must have the shape it is said to have', () => {
  expect(() => rangesOf(x, [3, 4], { kind: 'tensor' })).toThrowErrorMatchingInlineSnapshot(
    `[ShapeError: rangesOf: expected 12 elements of shape [3, 4], got 8 elements.]`,
  );
  expect(() => rangesOf([], [0], { kind: 'tensor' })).toThrow(ShapeError);
});
