import { programCache } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { expect, test } from 'vitest';
import { damped, flat, inputs, type Matrix, product, transposed } from '../test/matrices.ts';
import { cholesky, type Panel } from './cholesky.ts';

const programs = programCache(nodeRuntime());

/** Row by row, in float64. */
function slowCholesky(a: Matrix): Matrix {
  const l = a.map((row) => row.map(() => 0));
  a.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      let rest = row[j] as number;
      for (let k = 0; k < j; k++) rest -= (l[i]?.[k] as number) * (l[j]?.[k] as number);
      (l[i] as number[])[j] = i === j ? Math.sqrt(rest) : rest / (l[j]?.[j] as number);
    }
  });
  return l;
}

function dense(panels: readonly Panel[], size: number): Matrix {
  const l = Array.from({ length: size }, () => new Array<number>(size).fill(0));
  for (const { from, width, data } of panels)
    data.forEach((x, i) => {
      (l[from + Math.floor(i / width)] as number[])[from + (i % width)] = x;
    });
  return l;
}

/** Positive definite, float32. */
function hessian(size: number): Matrix {
  const x = inputs(2 * size + 3, size, size);
  return damped(product(transposed(x), x), 0.01).map((row) => row.map(Math.fround));
}

test.each([1, 7, 64, 130, 257])('a matrix of %i rows has the factor that it has slowly', async (size) => {
  const a = hessian(size);
  const expected = slowCholesky(a).flat();
  const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
  for (const width of [32, 128]) {
    const panels = await cholesky(programs, flat(a), size, { width });
    expect(panels?.map((panel) => panel.from)).toEqual(
      Array.from({ length: Math.ceil(size / width) }, (_, i) => i * width),
    );
    const off = dense(panels as Panel[], size)
      .flat()
      .map((x, i) => Math.abs(x - (expected[i] as number)));
    expect(Math.max(...off) / largest).toBeLessThan(1e-5);
  }
});

test('an order is that of rows and columns', async () => {
  const a = hessian(9);
  const order = [4, 2, 8, 0, 1, 7, 3, 6, 5];
  const reordered = order.map((i) => order.map((j) => a[i]?.[j] as number));
  expect(await cholesky(programs, flat(a), 9, { order, width: 4 })).toEqual(
    await cholesky(programs, flat(reordered), 9, { width: 4 }),
  );
});

test('a matrix that is not positive definite has none, wherever that shows', async () => {
  for (const at of [0, 5, 8]) {
    const a = hessian(9);
    (a[at] as number[])[at] = -1;
    expect(await cholesky(programs, flat(a), 9, { width: 4 })).toBeUndefined();
  }
  expect(await cholesky(programs, Float32Array.of(2), 1, { least: 2 })).toBeUndefined();
  expect(await cholesky(programs, Float32Array.of(NaN), 1)).toBeUndefined();
});
