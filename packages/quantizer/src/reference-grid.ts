/**
 * The grid as the reference implementation makes it (method, section 2), bit for bit:
 *
 *     symmetric    qmin = -2^(b-1)  qmax = 2^(b-1)-1   scale = max(|min|, |max|) / qmax   offset = 0
 *     asymmetric   qmin = 0         qmax = 2^b-1       scale = (max - min) / qmax         offset = -round(min / scale)
 *
 * Nothing keeps the offset inside the grid: a range that excludes 0 puts it outside, and zero is then not representable.
 * Learning starts from this form; what a device gets is made by `encoding-from-ranges.ts`.
 */
import { checkBits, clamp, type Grid, SCALE_MIN } from './grid.ts';
import { type Ranges, rangesFromRange } from './ranges.ts';
import { roundHalfEven } from './round.ts';
import type { QuantizerSpec, Range } from './spec.ts';

/** Scale and offset of one range in the reference's form. */
export interface ReferenceAffine {
  readonly scale: number;
  readonly offset: number;
  readonly qmin: number;
  readonly qmax: number;
}

/** Above this the reference does not let a scale grow. */
export const REFERENCE_SCALE_MAX = 1e6;

/**
 * The reference's scale and offset for one range, as float32 numbers.
 *
 * @throws RecipeError when `bits` is not 2 to 16.
 * @example
 * referenceAffine({ min: -7, max: 3.5 }, { bits: 4, symmetric: true }); // => { scale: 1, offset: 0, qmin: -8, qmax: 7 }
 */
export function referenceAffine(range: Range, spec: Pick<QuantizerSpec, 'bits' | 'symmetric'>): ReferenceAffine {
  const { scale, offset, qmin, qmax } = referenceGrid(rangesFromRange(range), spec);
  return { scale: scale[0] as number, offset: offset[0] as number, qmin, qmax };
}

/** The reference's grid, one scale and offset for each range. Throws as {@link referenceAffine}. */
export function referenceGrid(ranges: Ranges, { bits, symmetric }: Pick<QuantizerSpec, 'bits' | 'symmetric'>): Grid {
  checkBits(bits, 'referenceGrid');
  const { qmin, qmax } = referenceLevels(bits, symmetric);
  const scale = ranges.min.map((min, g) =>
    clamp(unclampedScale(min, ranges.max[g] as number, qmax, symmetric), SCALE_MIN, REFERENCE_SCALE_MAX),
  );
  const offset = symmetric
    ? new Float32Array(scale.length)
    : scale.map((s, g) => -roundHalfEven(Math.fround((ranges.min[g] as number) / s)));
  return { scale, offset, qmin, qmax };
}

/** The levels of the reference's grids: signed when symmetric, unsigned otherwise. */
export function referenceLevels(bits: number, symmetric: boolean): { readonly qmin: number; readonly qmax: number } {
  return symmetric ? { qmin: -(2 ** (bits - 1)), qmax: 2 ** (bits - 1) - 1 } : { qmin: 0, qmax: 2 ** bits - 1 };
}

/** The scale of a float32 range before it is clamped, as float32. */
export function unclampedScale(min: number, max: number, qmax: number, symmetric: boolean): number {
  const alpha = symmetric ? Math.max(Math.abs(min), Math.abs(max)) : Math.fround(max - min);
  return Math.fround(alpha / qmax);
}

/**
 * The ranges that a (learned) reference grid stands for: `[-offset * scale, min + scale * qmax]`; symmetric, that is with
 * signed levels: `±scale * qmax`.
 */
export function rangesFromReferenceGrid({ scale, offset, qmin, qmax }: Grid): Ranges {
  const span = scale.map((s) => s * qmax);
  if (qmin < 0) return { min: span.map((alpha) => -alpha), max: span };
  const min = scale.map((s, g) => -(offset[g] as number) * s);
  return { min, max: min.map((low, g) => low + (span[g] as number)) };
}
