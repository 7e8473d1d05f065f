/** Coordinate descent: against every single change, and against the slow sum it makes smaller. */
import {
  dequantize,
  type Encoding,
  encodingFromRanges,
  gridFromEncoding,
  type QuantizerSpec,
  quantize,
} from '@mobilequant/quantizer';
import type { Value } from '@mobilequant/tracer';
import { describe, expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { DAMPING, matrix, problem, programs, reals, specs } from '../test/rounding-problem.ts';
import { descend } from './descend.ts';
import { wholeHessian } from './hessian.ts';
import { roundWithFeedback, unrounded } from './round-with-feedback.ts';

/** A weight rounded by GPTQ, the whole Hessian, and what a rounding costs, slowly. */
async function rounded(rows: number, columns: number, spec: QuantizerSpec, seed: number) {
  const { w, h, ranges, encoding, hessian, feedback } = await problem(rows, columns, spec, seed);
  const own = await feedback(32);
  const first = await roundWithFeedback(programs, matrix(w), encoding, own);
  const damped = slow.damped(h, DAMPING);
  const gradients = slow.inputs(3 * rows, rows, seed + 5);
  const together = slow.product(slow.transposed(gradients), gradients);
  const errorOf =
    (g?: slow.Matrix) =>
    (q: ArrayLike<number>, grid: Encoding): number => {
      const e = slow.difference(w, reals(q, grid, columns));
      return g ? slow.trace(slow.product(g, e), slow.product(e, damped)) : slow.quadratic(e, damped);
    };
  const whole = { h: wholeHessian(hessian, own) };
  const start = { ...first, ranges, encoding };
  return {
    w,
    start,
    alone: { whole, error: errorOf() },
    costs: { whole: { ...whole, g: slow.flat(together) }, error: errorOf(together) },
  };
}

const CHANNEL: QuantizerSpec = { bits: 4, symmetric: true, granularity: { kind: 'channel' } };

/** Rows that do not know of each other, and rows that do. */
const KINDS = ['alone', 'costs'] as const;

describe.each(specs)('%s', (_, spec) => {
  test.each(KINDS)('no other level of any one weight costs less, and GPTQ cost more: %s', async (kind) => {
    const [rows, columns] = [36, 140]; // more than a tile, and than a block
    const { start, w, ...kinds } = await rounded(rows, columns, spec, 3);
    const { whole, error } = kinds[kind];
    const before = start.levels.slice();
    const found = await descend(programs, matrix(w), whole, start, { sweeps: 50, scales: false });
    expect(start.levels).toEqual(before);
    expect(found.encoding).toBe(start.encoding);
    const least = error(found.levels, found.encoding);
    expect(least).toBeLessThan(error(start.levels, start.encoding));
    const nearest = { ...start, levels: quantize(slow.flat(w), start.encoding) };
    const other = await descend(programs, matrix(w), whole, nearest, { sweeps: 50, scales: false });
    expect(error(other.levels, start.encoding)).toBeLessThan(0.8 * error(nearest.levels, start.encoding));

    const wanted = unrounded(found, found.encoding);
    expect(quantize(wanted, found.encoding)).toEqual(found.levels);
    expect(found.fractions).not.toEqual(start.fractions);

    const { qmax } = gridFromEncoding(start.encoding);
    const random = Array.from({ length: 30 }, (_, i) => (i * 7919) % found.levels.length);
    for (const at of random)
      for (const change of [-1, 1]) {
        const other = found.levels.slice();
        other[at] = Math.min(Math.max((other[at] as number) + change, 0), qmax);
        expect(error(other, found.encoding)).toBeGreaterThan(least * (1 - 1e-5));
      }
  });

  test.each(KINDS)('no sweep costs more than the one before: %s', async (kind) => {
    const { start, w, ...kinds } = await rounded(10, 40, spec, 8);
    const { whole, error } = kinds[kind];
    const errors = [error(start.levels, start.encoding)];
    for (const sweeps of [1, 2, 3]) {
      const found = await descend(programs, matrix(w), whole, start, { sweeps, scales: false });
      errors.push(error(found.levels, found.encoding));
    }
    expect(errors[1]).toBeLessThanOrEqual(errors[0] as number);
    expect(errors[2]).toBeLessThanOrEqual(errors[1] as number);
    expect(errors[3]).toBeLessThanOrEqual(errors[2] as number);
  });
});

test('scales of rows are the best for their levels: a little more or less costs more', async () => {
  const {
    start,
    w,
    alone: { whole, error },
  } = await rounded(10, 60, CHANNEL, 5);
  const fixed = await descend(programs, matrix(w), whole, start, { sweeps: 3, scales: false });
  const found = await descend(programs, matrix(w), whole, start, { sweeps: 3, scales: true });
  const least = error(found.levels, found.encoding);
  expect(least).toBeLessThan(error(fixed.levels, fixed.encoding));
  expect(encodingFromRanges(found.ranges, CHANNEL).encoding).toEqual(found.encoding);
  for (const factor of [0.999, 1.001]) {
    const scale = found.encoding.scale.map((s, r) => (r === 4 ? s * factor : s));
    expect(error(found.levels, { ...found.encoding, scale })).toBeGreaterThan(least);
  }
});

test('scales of rows that know of each other: none is worse for being fitted', async () => {
  const {
    start,
    w,
    costs: { whole, error },
  } = await rounded(10, 60, CHANNEL, 5);
  const [fixed, found] = [
    await descend(programs, matrix(w), whole, start, { sweeps: 1, scales: false }),
    await descend(programs, matrix(w), whole, start, { sweeps: 1, scales: true }),
  ];
  expect(found.levels).toEqual(fixed.levels);
  expect(error(found.levels, found.encoding)).toBeLessThan(error(fixed.levels, fixed.encoding));
  const last = 9; // fitted knowing all others
  for (const factor of [0.999, 1.001]) {
    const scale = found.encoding.scale.map((s, r) => (r === last ? s * factor : s));
    expect(error(found.levels, { ...found.encoding, scale })).toBeGreaterThan(error(found.levels, found.encoding));
  }
});

test('a weight on the grid stays as it is', async () => {
  const {
    start,
    costs: { whole },
  } = await rounded(6, 30, CHANNEL, 9);
  const own: Value = { data: dequantize(start.levels, start.encoding), shape: [6, 30] };
  const found = await descend(programs, own, whole, start, { sweeps: 5, scales: true });
  expect(found.levels).toEqual(start.levels);
  expect(quantize(own.data as Float32Array, found.encoding)).toEqual(start.levels);
});
