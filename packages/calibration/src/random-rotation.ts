/**
 * Random orthogonal matrices: a Hadamard matrix with random signs where there is one of that size, since it spreads every channel
 * evenly; else the Q of a matrix of normal numbers.
 */
import { mulberry32 } from '@mobilequant/core';
import { hadamard } from './hadamard.ts';
import { normalFrom } from './numbers.ts';

/** An orthogonal matrix, `[size, size]`, the same for the same seed. Row vectors are turned by `x · Q`. */
export function randomRotation(size: number, seed: number): Float32Array {
  const next = mulberry32(seed);
  const even = hadamard(size);
  if (!even) return orthogonal(size, next);
  const length = Math.sqrt(size);
  const signs = Float64Array.from({ length: size }, () => (next() < 0.5 ? -1 : 1));
  return Float32Array.from(even, (value, i) => (value * (signs[Math.floor(i / size)] as number)) / length);
}

/** Gram and Schmidt over rows of normal numbers, twice each, which keeps them orthogonal to rounding. */
function orthogonal(size: number, next: () => number): Float32Array {
  const normal = normalFrom(next);
  const rows: Float64Array[] = [];
  for (let i = 0; i < size; i++) {
    const row = Float64Array.from({ length: size }, normal);
    for (const other of [...rows, ...rows]) {
      const along = dot(row, other);
      for (let j = 0; j < size; j++) row[j] = (row[j] as number) - along * (other[j] as number);
    }
    const length = Math.sqrt(dot(row, row));
    rows.push(row.map((value) => value / length));
  }
  const result = new Float32Array(size * size);
  rows.forEach((row, i) => {
    result.set(row, i * size);
  });
  return result;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
