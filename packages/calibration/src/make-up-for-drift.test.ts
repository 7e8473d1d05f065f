import { expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { column, hessianOf, matrix, programs } from '../test/rounding-problem.ts';
import { addInputs, emptyHessian, feedbackOf } from './hessian.ts';
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
  const counts = x.map((_, i) => 0.01 + (i % 5) ** 2);
  const drift = { inputs: noDrift(COLUMNS, COLUMNS), stream: noDrift(ROWS, COLUMNS) };
  const hessian = emptyHessian(COLUMNS);
  for (const [from, to] of [
    [0, 9],
    [9, 3 * COLUMNS],
  ]) {
    const rows = (of: slow.Matrix) => matrix(of.slice(from, to));
    const given = { inputs: rows(x), counts: column(counts.slice(from, to)) };
    await addInputs(programs, hessian, given.inputs, given.counts);
    await addDrift(programs, drift.inputs, { float: rows(float), own: rows(x), ...given });
    await addDrift(programs, drift.stream, { float: rows(floatStream), own: rows(stream), ...given });
  }
  const feedback = await feedbackOf(programs, hessian, { damping: 0.01, block });
  return { w, float, x, counts, floatStream, stream, drift, feedback };
}

const sumOf = (a: slow.Matrix, b: slow.Matrix): slow.Matrix =>
  a.map((row, i) => row.map((v, j) => v + (b[i]?.[j] as number)));

const squared = (m: slow.Matrix): number => m.flat().reduce((sum, e) => sum + e * e, 0);

test.each([1, 5, 16, 40])('the weight is the least squares solution, in blocks of %i', async (block) => {
  const { w, float, x, counts, floatStream, stream, drift, feedback } = await problem(block);
  /** Each row as often as it counts. */
  const counted = (m: slow.Matrix, power = 1): slow.Matrix =>
    m.map((row, i) => row.map((v) => v * (counts[i] as number) ** power));
  const inverse = slow.inverse(slow.damped(slow.product(slow.transposed(counted(x)), x), 0.01));
  const ofInputs = slow.product(w, slow.product(slow.transposed(slow.difference(float, x)), counted(x)));
  const ofStream = slow.product(slow.transposed(slow.difference(floatStream, stream)), counted(x));
  for (const withStream of [false, true]) {
    const change = slow.product(withStream ? sumOf(ofInputs, ofStream) : ofInputs, inverse);
    /** Σ |W x̃ - W' x|² over all inputs as they count, or with what either adds to. */
    const error = (changed: slow.Matrix): number => {
      const off = slow.difference(slow.product(float, slow.transposed(w)), slow.product(x, slow.transposed(changed)));
      return squared(counted(withStream ? sumOf(off, slow.difference(floatStream, stream)) : off, 0.5));
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
