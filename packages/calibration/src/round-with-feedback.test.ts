import { encodingFromRanges, quantize, rangesOf } from '@mobilequant/quantizer';
import { describe, expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { DAMPING, hessianOf, matrix, problem, programs, reals, specs } from '../test/rounding-problem.ts';
import { emptyHessian, feedbackOf } from './hessian.ts';
import { roundWithFeedback, unrounded } from './round-with-feedback.ts';

test('the upper triangle of the Hessian is that of all inputs', async () => {
  const { h, hessian } = await problem(2, 30, { bits: 4, symmetric: true, granularity: { kind: 'tensor' } }, 3);
  const largest = Math.max(...h.flat());
  for (const [i, row] of slow.rowsOf(hessian.data as Float32Array, 30).entries())
    for (let j = i; j < 30; j++)
      expect(Math.abs((row[j] as number) - (h[i]?.[j] as number)) / largest).toBeLessThan(1e-6);
});

test('a pivot is what a column costs when those rounded after it make up for it', async () => {
  const { h, feedback } = await problem(1, 12, { bits: 4, symmetric: true, granularity: { kind: 'tensor' } }, 6);
  const { order, pivots, diagonal } = await feedback(5);
  const full = slow.damped(h, DAMPING);
  order.forEach((column, k) => {
    const own = [...order.subarray(0, k + 1)];
    const inverted = slow.inverse(own.map((i) => own.map((j) => full[i]?.[j] as number)));
    expect((pivots[column] as number) * (inverted[k]?.[k] as number)).toBeCloseTo(1, 3);
    expect((diagonal[column] as number) / (full[column]?.[column] as number)).toBeCloseTo(1, 5);
  });
});

describe.each(specs)('%s', (_, spec) => {
  test('the integers are those of GPTQ with an explicit inverse, and make a smaller error than the nearest', async () => {
    const [rows, columns] = [40, 50];
    const { w, h, encoding, feedback } = await problem(rows, columns, spec, 11);
    const { levels, fractions } = await roundWithFeedback(programs, matrix(w), encoding, await feedback(16));
    const expected = slow.slowGptq(w, slow.damped(h, DAMPING), encoding);
    const differ = slow.rowsOf(levels, columns).filter((row, r) => `${row}` !== `${expected[r]}`);
    expect(differ.length).toBeLessThanOrEqual(1); // a row may meet a value half way between two levels

    const error = (q: ArrayLike<number>) => slow.quadratic(slow.difference(w, reals(q, encoding, columns)), h);
    expect(error(levels)).toBeLessThan(0.7 * error(quantize(slow.flat(w), encoding)));

    const before = unrounded({ levels, fractions }, encoding);
    expect(quantize(before, encoding)).toEqual(levels);
    expect(fractions.filter((fraction) => fraction !== 0).length).toBeGreaterThan(0.7 * fractions.length);
    const nearest = quantize(slow.flat(w), encoding);
    expect(levels.some((level, i) => level !== nearest[i])).toBe(true); // so they are not those of w
  });

  test('blocks of any width give the same', async () => {
    const { w, encoding, feedback } = await problem(20, 70, spec, 5);
    const of = async (block: number) =>
      (await roundWithFeedback(programs, matrix(w), encoding, await feedback(block))).levels;
    const [whole, ...others] = [await of(70), await of(1), await of(7), await of(64)] as const;
    for (const other of others) {
      const differ = slow.rowsOf(other, 70).filter((row, r) => `${row}` !== `${slow.rowsOf(whole, 70)[r]}`);
      expect(differ.length).toBeLessThanOrEqual(1);
    }
  });
});

/** What errors of some outputs cost together. */
async function costs(rows: number, seed: number) {
  const gradients = slow.inputs(3 * rows, rows, seed);
  const whole = slow.damped(slow.product(slow.transposed(gradients), gradients), DAMPING);
  const hessian = await hessianOf(gradients);
  return { whole, of: (block: number) => feedbackOf(programs, hessian, { damping: DAMPING, block }) };
}

describe.each(specs)('%s, with costs of outputs', (_, spec) => {
  test('the integers are those of GPTQ on all weights at once, and make a smaller error than rows alone', async () => {
    const [rows, columns] = [7, 20];
    const { w, h, encoding, feedback } = await problem(rows, columns, spec, 21);
    const g = await costs(rows, 5);
    const { levels } = await roundWithFeedback(programs, matrix(w), encoding, await feedback(8), await g.of(3));
    const damped = slow.damped(h, DAMPING);
    const order = slow.byDiagonal(g.whole).flatMap((r) => slow.byDiagonal(damped).map((k) => r * columns + k));
    const expected = slow.slowGptq([w.flat()], slow.kronecker(g.whole, damped), encoding, order);
    expect(slow.rowsOf(levels, columns).flat()).toEqual(expected[0]);

    const error = (q: ArrayLike<number>): number => {
      const e = slow.difference(w, reals(q, encoding, columns));
      return slow.quadratic([e.flat()], slow.kronecker(g.whole, damped));
    };
    const alone = await roundWithFeedback(programs, matrix(w), encoding, await feedback(8));
    expect(error(levels)).toBeLessThan(0.9 * error(alone.levels));
  });

  test('tiles of any size give the same', async () => {
    const { w, encoding, feedback } = await problem(20, 30, spec, 5);
    const g = await costs(20, 6);
    const of = async (columns: number, rows: number) =>
      (await roundWithFeedback(programs, matrix(w), encoding, await feedback(columns), await g.of(rows))).levels;
    const whole = await of(30, 20);
    for (const [columns, rows] of [
      [1, 1],
      [7, 20],
      [30, 3],
    ] as const)
      expect(await of(columns, rows)).toEqual(whole);
  });
});

test('outputs whose errors have nothing to do with each other are rounded as rows alone', async () => {
  const spec = { bits: 4, symmetric: true, granularity: { kind: 'channel' } } as const;
  const { w, encoding, feedback } = await problem(6, 20, spec, 4);
  const diagonal = w.map((_, i) => w.map((_, j) => (i === j ? i + 1 : 0)));
  const outputs = await feedbackOf(programs, matrix(diagonal), { damping: 0, block: 4 });
  const together = await roundWithFeedback(programs, matrix(w), encoding, await feedback(8), outputs);
  expect(together).toEqual(await roundWithFeedback(programs, matrix(w), encoding, await feedback(8)));
});

test('columns that do not correlate are rounded to nearest, dead ones too', async () => {
  const w = slow.weight(6, 8, 1);
  const { encoding } = encodingFromRanges(rangesOf(slow.flat(w), [6, 8], { kind: 'channel' }), {
    bits: 4,
    symmetric: true,
    granularity: { kind: 'channel' },
  });
  const h = w[0]?.map((_, i) => w[0]?.map((_, j) => (i === j && i !== 3 ? i + 1 : 0))) as slow.Matrix;
  const feedback = await feedbackOf(programs, matrix(h), { damping: 0, block: 4 });
  expect(feedback.damping).toBe(0);
  expect(feedback.diagonal[3]).toBeCloseTo((36 - 4) / 7);
  expect([...feedback.order].indexOf(7)).toBe(7); // the last is rounded first
  expect((await roundWithFeedback(programs, matrix(w), encoding, feedback)).levels).toEqual(
    quantize(slow.flat(w), encoding),
  );
  const nothing = await feedbackOf(programs, emptyHessian(8), { damping: 0, block: 4 });
  expect((await roundWithFeedback(programs, matrix(w), encoding, nothing)).levels).toEqual(
    quantize(slow.flat(w), encoding),
  );
});

test('a Hessian of fewer inputs than columns is damped until it has a factor', async () => {
  const x = slow.inputs(5, 12, 2);
  const hessian = await hessianOf(x);
  const feedback = await feedbackOf(programs, hessian, { damping: 0, block: 4 });
  expect(feedback.damping).toBe(1e-3);
  for (const { data } of feedback.panels) expect(data.every(Number.isFinite)).toBe(true);
});

test('inputs that are no numbers are an error', async () => {
  const hessian = await hessianOf([[NaN, 1]]);
  await expect(feedbackOf(programs, hessian, { damping: 0.01, block: 4 })).rejects.toThrow('finite inputs');
  const infinite = await hessianOf([[1e30, 1]]);
  await expect(feedbackOf(programs, infinite, { damping: 0.01, block: 4 })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[NonFiniteError: gptq: expected finite inputs of a linear, got a sum of squares that is Infinity in channel 0. Look for an overflow before it.]`,
  );
});
