import {
  dequantize,
  type Encoding,
  encodingFromRanges,
  type QuantizerSpec,
  quantize,
  rangesOf,
} from '@mobilequant/quantizer';
import { programCache, type Value } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { addInputs, emptyHessian, type Feedback, feedbackOf } from './hessian.ts';
import { roundWithFeedback, unrounded } from './round-with-feedback.ts';

const programs = programCache(nodeRuntime());
const DAMPING = 0.01;

const matrix = (a: slow.Matrix): Value => ({ data: slow.flat(a), shape: [a.length, a[0]?.length as number] });

/** A problem of rounding: a weight, its inputs' Hessian, and a grid. */
async function problem(rows: number, columns: number, spec: QuantizerSpec, seed: number) {
  const w = slow.weight(rows, columns, seed);
  const x = slow.inputs(3 * columns, columns, seed + 1);
  const h = slow.product(slow.transposed(x), x);
  const ranges = rangesOf(slow.flat(w), [rows, columns], spec.granularity);
  const { encoding } = encodingFromRanges(ranges, spec);
  let hessian = emptyHessian(columns);
  for (const part of [x.slice(0, columns), x.slice(columns)])
    hessian = await addInputs(programs, hessian, matrix(part));
  const feedback = (block: number): Promise<Feedback> => feedbackOf(programs, hessian, { damping: DAMPING, block });
  return { w, h, encoding, hessian, feedback };
}

const reals = (levels: ArrayLike<number>, encoding: Encoding, columns: number): slow.Matrix =>
  slow.rowsOf(dequantize(Uint8Array.from(levels), encoding), columns);

const specs: [string, QuantizerSpec][] = (['tensor', 'channel', 'group'] as const).flatMap((kind) =>
  [true, false].map((symmetric): [string, QuantizerSpec] => [
    `${symmetric ? 'symmetric' : 'asymmetric'} per ${kind}`,
    { bits: 4, symmetric, granularity: kind === 'group' ? { kind, size: 10 } : { kind } },
  ]),
);

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
  const hessian = await addInputs(programs, emptyHessian(12), matrix(x));
  const feedback = await feedbackOf(programs, hessian, { damping: 0, block: 4 });
  expect(feedback.damping).toBe(1e-3);
  for (const { data } of feedback.panels) expect(data.every(Number.isFinite)).toBe(true);
});

test('inputs that are no numbers are an error', async () => {
  const hessian = await addInputs(programs, emptyHessian(2), matrix([[NaN, 1]]));
  await expect(feedbackOf(programs, hessian, { damping: 0.01, block: 4 })).rejects.toThrow('finite inputs');
  const infinite = await addInputs(programs, emptyHessian(2), matrix([[1e30, 1]]));
  await expect(feedbackOf(programs, infinite, { damping: 0.01, block: 4 })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[NonFiniteError: gptq: expected finite inputs of a linear, got a sum of squares that is Infinity in channel 0. Look for an overflow before it.]`,
  );
});
