import { expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { hessianOf, matrix, programs } from '../test/rounding-problem.ts';
import { emptyHessian, feedbackOf } from './hessian.ts';
import { addDrift, makeUpForInputs } from './make-up-for-inputs.ts';

/** A weight and its inputs, in float and after something was done to them. */
async function problem(rows: number, columns: number, block: number, damping: number) {
  const w = slow.weight(rows, columns, 7);
  const float = slow.inputs(3 * columns, columns, 8);
  const noise = slow.weight(3 * columns, columns, 9);
  const x = float.map((row, i) => row.map((v, j) => 0.9 * v + 0.2 * (noise[i]?.[j] as number)));
  const drift = emptyHessian(columns);
  for (const [from, to] of [
    [0, 9],
    [9, 3 * columns],
  ])
    await addDrift(programs, drift, matrix(float.slice(from, to)), matrix(x.slice(from, to)));
  const hessian = await hessianOf(x);
  const feedback = await feedbackOf(programs, hessian, { damping, block });
  const corrected = async (part: number) =>
    slow.rowsOf((await makeUpForInputs(programs, matrix(w), drift, feedback, part)).data as Float32Array, columns);
  /** |W x̃ - W' x|² over all inputs. */
  const error = (changed: slow.Matrix): number => {
    const off = slow.difference(slow.product(float, slow.transposed(w)), slow.product(x, slow.transposed(changed)));
    return off.flat().reduce((sum, e) => sum + e * e, 0);
  };
  return { w, float, x, corrected, error };
}

test.each([1, 5, 16, 40])('the weight is the least squares solution, in blocks of %i', async (block) => {
  const { w, float, x, corrected, error } = await problem(6, 23, block, 0.01);
  const normal = slow.damped(slow.product(slow.transposed(x), x), 0.01);
  const drift = slow.product(slow.transposed(slow.difference(float, x)), x);
  const change = slow.product(slow.product(w, drift), slow.inverse(normal));
  for (const part of [0.5, 1]) {
    const found = await corrected(part);
    found.forEach((row, i) =>
      row.forEach((v, j) => expect(v).toBeCloseTo((w[i]?.[j] as number) + part * (change[i]?.[j] as number), 4)),
    );
  }
  expect(error(await corrected(1))).toBeLessThan(error(await corrected(0.5)));
  expect(error(await corrected(0.5))).toBeLessThan(error(w));
});

test('nothing is made up for where nothing is wrong', async () => {
  const columns = 12;
  const x = slow.inputs(30, columns, 1);
  const w = matrix(slow.weight(4, columns, 2));
  const feedback = await feedbackOf(programs, await hessianOf(x), { damping: 0.01, block: 5 });
  const drift = emptyHessian(columns);
  await addDrift(programs, drift, matrix(x), matrix(x));
  expect((await makeUpForInputs(programs, w, drift, feedback, 1)).data).toEqual(w.data);
});
