/**
 * Affine quantization: integers that stand for reals.
 *
 *     q = clamp(round(x / scale) + offset, qmin, qmax)
 *     x ≈ (q - offset) * scale
 *
 * Two kinds of grid are made elsewhere: the reference implementation's (`reference-grid.ts`) and the one that devices demand
 * (`encoding-from-ranges.ts`). The arithmetic is float32 step by step (`Math.fround`), so it is bit-equal with PyTorch and
 * onnxruntime: of two float32 numbers, a double +, -, *, / rounded once to float32 is the float32 result.
 */
import type { Encoding } from './encoding.ts';
import { RecipeError } from './errors.ts';
import { roundHalfEven } from './round.ts';

/** One scale and offset for each group, one set of levels for all. */
export interface Grid {
  /** `[groups]` */
  readonly scale: Float32Array;
  /** `[groups]`; a learned one may be fractional, the reference's may lie outside [qmin, qmax]. */
  readonly offset: Float32Array;
  readonly qmin: number;
  readonly qmax: number;
}

/** Below this a scale is not made smaller: a constant tensor has an empty range (method, section 2). */
export const SCALE_MIN: number = Math.fround(1e-5);

/** The grid of an encoding: unsigned, the zero point as offset. */
export function gridFromEncoding({ spec, scale, zeroPoint }: Encoding): Grid {
  return { scale, offset: Float32Array.from(zeroPoint), qmin: 0, qmax: 2 ** spec.bits - 1 };
}

/** The grid that a function was given, directly or as an encoding. */
export function toGrid(by: Grid | Encoding): Grid {
  return 'zeroPoint' in by ? gridFromEncoding(by) : by;
}

/** `round(x / scale) + offset`, before it is clamped. */
export function levelOf(x: number, scale: number, offset: number): number {
  return Math.fround(roundHalfEven(Math.fround(Math.fround(x) / scale)) + offset);
}

/** The real number that level `q` stands for. */
export function realOf(q: number, scale: number, offset: number): number {
  return Math.fround(Math.fround(q - offset) * scale);
}

/** NaN stays NaN. */
export function clamp(x: number, min: number, max: number): number {
  return Math.min(Math.max(x, min), max);
}

/** @throws RecipeError unless `bits` is an integer from 2 to 16. */
export function checkBits(bits: number, where: string): void {
  if (Number.isInteger(bits) && bits >= 2 && bits <= 16) return;
  throw new RecipeError({
    where,
    expected: 'bits from 2 to 16',
    received: String(bits),
    advice: 'A site with more bits is left in float: give it no spec (null).',
  });
}
