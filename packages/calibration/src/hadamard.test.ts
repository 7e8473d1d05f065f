import { expect, test } from 'vitest';
import { hadamard } from './hadamard.ts';
import { randomRotation } from './random-rotation.ts';

/** The largest difference between M · Mᵀ and `length` · I. */
function distance(matrix: ArrayLike<number>, size: number, length: number): number {
  let worst = 0;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += (matrix[i * size + k] as number) * (matrix[j * size + k] as number);
      worst = Math.max(worst, Math.abs(sum - (i === j ? length : 0)));
    }
  }
  return worst;
}

test.each([1, 2, 4, 8, 12, 20, 24, 28, 36, 40, 44, 52, 60, 64, 68, 72, 76, 84, 96, 100, 108, 124, 144, 244, 288, 576])(
  'a Hadamard matrix of %i has entries ±1 and orthogonal rows',
  (size) => {
    const matrix = hadamard(size) as Int8Array;
    expect(matrix.length).toBe(size * size);
    expect(new Set(matrix.map(Math.abs))).toEqual(new Set([1]));
    expect(distance(matrix, size, size)).toBe(0);
  },
);

test('every size of a residual stream that models have has one', () => {
  const sizes = [512, 576, 640, 768, 896, 960, 1024, 1152, 1280, 1536, 2048, 2304, 2560, 3072, 3200, 3584, 4096, 5120];
  expect(sizes.filter((size) => !hadamard(size))).toEqual([]);
});

test.each([0, 3, 6, 18, 22, 92, 2.5])('there is none of %f here', (size) => {
  expect(hadamard(size)).toBeUndefined();
});

test.each([1, 2, 6, 16, 30, 36])('a random rotation of %i is orthogonal, and that of its seed', (size) => {
  const rotation = randomRotation(size, 3);
  expect(distance(rotation, size, 1)).toBeLessThan(1e-6);
  expect(randomRotation(size, 3)).toEqual(rotation);
  if (size > 4) expect(randomRotation(size, 4)).not.toEqual(rotation);
});

test('a random rotation spreads each channel evenly where there is a Hadamard matrix', () => {
  const sizes = new Set(randomRotation(36, 1).map(Math.abs));
  expect([...sizes]).toEqual([Math.fround(1 / 6)]);
});
