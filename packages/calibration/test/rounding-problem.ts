/** What roundings are tested on: a weight, the Hessian of its inputs, and a grid; with the slow matrices of the same. */
import { dequantize, type Encoding, encodingFromRanges, type QuantizerSpec, rangesOf } from '@mobilequant/quantizer';
import { type ProgramCache, programCache, type Value } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { addInputs, emptyHessian, type Feedback, feedbackOf } from '../src/hessian.ts';
import * as slow from './matrices.ts';

export const programs: ProgramCache = programCache(nodeRuntime());
export const DAMPING = 0.01;

export const matrix = (a: slow.Matrix): Value => ({ data: slow.flat(a), shape: [a.length, a[0]?.length as number] });

/** A number for each token. */
export const column = (a: readonly number[]): Value => ({ data: Float32Array.from(a), shape: [a.length, 1] });

/** The Hessian of inputs that come in parts. */
export async function hessianOf(...parts: readonly slow.Matrix[]): Promise<Value> {
  const hessian = emptyHessian(parts[0]?.[0]?.length as number);
  for (const part of parts) await addInputs(programs, hessian, matrix(part));
  return hessian;
}

export async function problem(rows: number, columns: number, spec: QuantizerSpec, seed: number) {
  const w = slow.weight(rows, columns, seed);
  const x = slow.inputs(3 * columns, columns, seed + 1);
  const h = slow.product(slow.transposed(x), x);
  const ranges = rangesOf(slow.flat(w), [rows, columns], spec.granularity);
  const { encoding } = encodingFromRanges(ranges, spec);
  const hessian = await hessianOf(x.slice(0, columns), x.slice(columns));
  const feedback = (block: number): Promise<Feedback> => feedbackOf(programs, hessian, { damping: DAMPING, block });
  return { w, h, ranges, encoding, hessian, feedback };
}

/** What levels stand for, row by row. */
export const reals = (levels: ArrayLike<number>, encoding: Encoding, columns: number): slow.Matrix =>
  slow.rowsOf(dequantize(Uint8Array.from(levels), encoding), columns);

/** 4 bits in every granularity, symmetric and not, by name. */
export const specs: [string, QuantizerSpec][] = (['tensor', 'channel', 'group'] as const).flatMap((kind) =>
  [true, false].map((symmetric): [string, QuantizerSpec] => [
    `${symmetric ? 'symmetric' : 'asymmetric'} per ${kind}`,
    { bits: 4, symmetric, granularity: kind === 'group' ? { kind, size: 10 } : { kind } },
  ]),
);
