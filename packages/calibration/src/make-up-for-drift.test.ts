import { expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { hessianOf, matrix, programs } from '../test/rounding-problem.ts';
import { feedbackOf } from './hessian.ts';
import { addDrift, makeUpForDrift, noDrift } from './make-up-for-drift.ts';

const [ROWS, COLUMNS] = [6, 23];

/** A weight, its inputs, and the stream that it adds to, in float and after something was done to them. */
async function problem(block: number) {
  const w = slow.weight(ROWS, COLUMNS, 7);
  const float = slow.inputs(3 * COLUMNS, COLUMNS, 8);
  const noise = slow.weight(3 * COLUMNS, COLUMNS, 9);
  const x = float.map((row, i) => row.map((v, j) => 0.9 * v + 0.2 * (noise[i]?.[j] as number)));
  const floatStream = slow.inputs(3 * COLUMNS, ROWS, 10);
  const lost = slow.product(x, slow.weight(COLUMNS, ROWS, 11)); // what happened to the stream has to do with the inputs
  const stream = floatStream.map((row, i) => row.map((v, j) => v - 0.3 * (lost[i]?.[j] as number) + 0.01 * i));
  const drift = { inputs: noDrift(COLUMNS, COLUMNS), stream: noDrift(ROWS, COLUMNS) };
  for (const [from, to] of [
    [0, 9],
    [9, 3 * COLUMNS],
  ]) {
    const rows = (of: slow.Matrix) => matrix(of.slice(from, to));
    await addDrift(programs, drift.inputs, { float: rows(float), own: rows(x), inputs: rows(x) });
    await addDrift(programs, drift.stream, { float: rows(floatStream), own: rows(stream), inputs: rows(x) });
  }
  const feedback = await feedbackOf(programs, await hessianOf(x), { damping: 0.01, block });
  return { w, float, x, floatStream, stream, drift, feedback };
}

const sumOf = (a: slow.Matrix, b: slow.Matrix): slow.Matrix =>
  a.map((row, i) => row.map((v, j) => v + (b[i]?.[j] as number)));

const squared = (m: slow.Matrix): number => m.flat().reduce((sum, e) => sum + e * e, 0);

test.each([1, 5, 16, 40])('the weight is the least squares solution, in blocks of %i', async (block) => {
  const { w, float, x, floatStream, stream, drift, feedback } = await problem(block);
  const inverse = slow.inverse(slow.damped(slow.product(slow.transposed(x), x), 0.01));
  const ofInputs = slow.product(w, slow.product(slow.transposed(slow.difference(float, x)), x));
  const ofStream = slow.product(slow.transposed(slow.difference(floatStream, stream)), x);
  for (const withStream of [false, true]) {
    const change = slow.product(withStream ? sumOf(ofInputs, ofStream) : ofInputs, inverse);
    /** Σ |W x̃ - W' x|² over all inputs, or with what either adds to. */
    const error = (changed: slow.Matrix): number => {
      const off = slow.difference(slow.product(float, slow.transposed(w)), slow.product(x, slow.transposed(changed)));
      return squared(withStream ? sumOf(off, slow.difference(floatStream, stream)) : off);
    };
    const corrected = async (part: number): Promise<slow.Matrix> => {
      const own = withStream ? drift : { inputs: drift.inputs };
      const { data } = await makeUpForDrift(programs, matrix(w), own, feedback, part);
      return slow.rowsOf(data as Float32Array, COLUMNS);
    };
    for (const part of [0.5, 1]) {
      (await corrected(part)).forEach((row, i) =>
        row.forEach((v, j) => expect(v).toBeCloseTo((w[i]?.[j] as number) + part * (change[i]?.[j] as number), 4)),
      );
    }
    expect(error(await corrected(1))).toBeLessThan(error(await corrected(0.5)));
    expect(error(await corrected(0.5))).toBeLessThan(error(w));
  }
});

test('nothing is made up for where nothing is wrong', async () => {
  const x = matrix(slow.inputs(30, COLUMNS, 1));
  const r = matrix(slow.inputs(30, ROWS, 3));
  const w = matrix(slow.weight(ROWS, COLUMNS, 2));
  const feedback = await feedbackOf(programs, await hessianOf(slow.inputs(30, COLUMNS, 1)), {
    damping: 0.01,
    block: 5,
  });
  const drift = { inputs: noDrift(COLUMNS, COLUMNS), stream: noDrift(ROWS, COLUMNS) };
  await addDrift(programs, drift.inputs, { float: x, own: x, inputs: x });
  await addDrift(programs, drift.stream, { float: r, own: r, inputs: x });
  expect((await makeUpForDrift(programs, w, drift, feedback, 1)).data).toEqual(w.data);
});
