/** Coordinate descent: against every single change, and against the slow sum it makes smaller. */
import {
  dequantize,
  type Encoding,
  encodingFromRanges,
  gridFromEncoding,
  type QuantizerSpec,
  quantize,
  rangesOf,
} from '@mobilequant/quantizer';
import { programCache, type Value } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import * as slow from '../test/matrices.ts';
import { descend, symmetric } from './descend.ts';
import { addInputs, emptyHessian, feedbackOf } from './hessian.ts';
import { roundWithFeedback, unrounded } from './round-with-feedback.ts';

const programs = programCache(nodeRuntime());
const DAMPING = 0.01;
const matrix = (a: slow.Matrix): Value => ({ data: slow.flat(a), shape: [a.length, a[0]?.length as number] });

/** A weight rounded by GPTQ, and the damped Hessian of its inputs, ours and the slow one. */
async function rounded(rows: number, columns: number, spec: QuantizerSpec, seed: number) {
  const w = slow.weight(rows, columns, seed);
  const x = slow.inputs(3 * columns, columns, seed + 1);
  const hessian = await addInputs(programs, emptyHessian(columns), matrix(x));
  const feedback = await feedbackOf(programs, hessian, { damping: DAMPING, block: 32 });
  const ranges = rangesOf(slow.flat(w), [rows, columns], spec.granularity);
  const { encoding } = encodingFromRanges(ranges, spec);
  const rounded = await roundWithFeedback(programs, matrix(w), encoding, feedback);
  const h = slow.damped(slow.product(slow.transposed(x), x), DAMPING);
  const error = (q: ArrayLike<number>, own: Encoding): number =>
    slow.quadratic(slow.difference(w, slow.rowsOf(dequantize(Uint8Array.from(q), own), columns)), h);
  return { w, h, error, start: { ...rounded, ranges, encoding }, whole: symmetric(hessian, feedback.diagonal) };
}

const specs: [string, QuantizerSpec][] = (['tensor', 'channel', 'group'] as const).flatMap((kind) =>
  [true, false].map((symmetric): [string, QuantizerSpec] => [
    `${symmetric ? 'symmetric' : 'asymmetric'} per ${kind}`,
    { bits: 4, symmetric, granularity: kind === 'group' ? { kind, size: 10 } : { kind } },
  ]),
);

describe.each(specs)('%s', (_, spec) => {
  test('no other level of any one weight costs less, and GPTQ cost more', async () => {
    const [rows, columns] = [12, 150]; // more than a block
    const { error, start, whole, w } = await rounded(rows, columns, spec, 3);
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
    const random = Array.from({ length: 60 }, (_, i) => (i * 7919) % found.levels.length);
    for (const at of random)
      for (const change of [-1, 1]) {
        const other = found.levels.slice();
        other[at] = Math.min(Math.max((other[at] as number) + change, 0), qmax);
        expect(error(other, found.encoding)).toBeGreaterThan(least * (1 - 1e-6));
      }
  });

  test('no sweep costs more than the one before', async () => {
    const { error, start, whole, w } = await rounded(10, 40, spec, 8);
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
  const spec: QuantizerSpec = { bits: 4, symmetric: true, granularity: { kind: 'channel' } };
  const { error, start, whole, w } = await rounded(10, 60, spec, 5);
  const fixed = await descend(programs, matrix(w), whole, start, { sweeps: 3, scales: false });
  const found = await descend(programs, matrix(w), whole, start, { sweeps: 3, scales: true });
  const least = error(found.levels, found.encoding);
  expect(least).toBeLessThan(error(fixed.levels, fixed.encoding));
  expect(encodingFromRanges(found.ranges, spec).encoding).toEqual(found.encoding);
  for (const factor of [0.999, 1.001]) {
    const scale = found.encoding.scale.map((s, r) => (r === 4 ? s * factor : s));
    expect(error(found.levels, { ...found.encoding, scale })).toBeGreaterThan(least);
  }
});

test('a weight on the grid stays as it is', async () => {
  const spec: QuantizerSpec = { bits: 4, symmetric: true, granularity: { kind: 'channel' } };
  const { start, whole } = await rounded(6, 30, spec, 9);
  const own: Value = { data: dequantize(start.levels, start.encoding), shape: [6, 30] };
  const found = await descend(programs, own, whole, start, { sweeps: 5, scales: true });
  expect(found.levels).toEqual(start.levels);
  expect(quantize(own.data as Float32Array, found.encoding)).toEqual(start.levels);
});
