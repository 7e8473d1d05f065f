/**
 * The grid that ONNX and QNN demand: unsigned levels 0 … 2^bits - 1, with an integer zero point among them.
 *
 *     asymmetric   range widened to contain 0   scale = (max - min) / (2^bits - 1)          zeroPoint = round(-min / scale)
 *     symmetric    ±max(|min|, |max|)           scale = max(|min|, |max|) / (2^(bits-1)-1)  zeroPoint = 2^(bits-1)
 *
 * Zero is exact on every such grid: padding, masks and the ReLU side of an activation cost nothing. Widening loses resolution,
 * so it is reported. For ranges that contain 0 the reals are the reference's (`reference-grid.ts`).
 */
import type { Encoding } from './encoding.ts';
import { NonFiniteError, ShapeError } from './errors.ts';
import { checkBits, clamp, SCALE_MIN } from './grid.ts';
import { type Ranges, rangesFromRange } from './ranges.ts';
import { unclampedScale } from './reference-grid.ts';
import { roundHalfEven } from './round.ts';
import type { QuantizerSpec, Range } from './spec.ts';

/** Scale and zero point of one range in the device's form. */
export interface Affine {
  readonly scale: number;
  readonly zeroPoint: number;
  readonly qmax: number;
  /** Whether the range excluded 0 and had to be widened. */
  readonly widened: boolean;
}

/** An encoding, and the groups whose range excluded 0 and was widened. */
export interface EncodingFromRanges {
  readonly encoding: Encoding;
  /** Indices of groups, ascending; empty when no range was changed. */
  readonly widened: readonly number[];
}

/**
 * The finest unsigned grid of `bits` bits that covers a range and 0.
 *
 * @throws RecipeError when `bits` is not 2 to 16.
 * @throws NonFiniteError when the range is not finite, or wider than float32 holds.
 * @throws RangeError when min is above max.
 * @example
 * affineFromRange({ min: -1, max: 14 }, { bits: 4, symmetric: false }); // => { scale: 1, zeroPoint: 1, qmax: 15, widened: false }
 */
export function affineFromRange(
  range: Range,
  { bits, symmetric }: Pick<QuantizerSpec, 'bits' | 'symmetric'>,
  { site }: { readonly site?: string } = {},
): Affine {
  checkBits(bits, site ?? 'affineFromRange');
  checkRange(range, site ?? 'affineFromRange');
  const qmax = 2 ** bits - 1;
  const min = Math.fround(Math.min(range.min, 0));
  const max = Math.fround(Math.max(range.max, 0));
  if (symmetric) {
    const scale = usableScale(unclampedScale(min, max, 2 ** (bits - 1) - 1, true), range, site ?? 'affineFromRange');
    return { scale, zeroPoint: 2 ** (bits - 1), qmax, widened: false };
  }
  const scale = usableScale(unclampedScale(min, max, qmax, false), range, site ?? 'affineFromRange');
  const zeroPoint = clamp(roundHalfEven(Math.fround(Math.abs(min) / scale)), 0, qmax);
  return { scale, zeroPoint, qmax, widened: range.min > 0 || range.max < 0 };
}

/** The step of a grid, at least the smallest. @throws NonFiniteError where float32 does not hold it. */
function usableScale(scale: number, { min, max }: Range, where: string): number {
  if (Number.isFinite(scale)) return Math.max(scale, SCALE_MIN);
  throw new NonFiniteError({
    where,
    expected: 'a range that float32 holds',
    received: `[${min}, ${max}]`,
    advice: 'Look for an overflow before it.',
  });
}

/** The encoding of a site with one range. Throws as {@link affineFromRange}. */
export function encodingFromRange(
  range: Range,
  spec: QuantizerSpec,
  options?: { readonly site?: string },
): EncodingFromRanges {
  return encodingFromRanges(rangesFromRange(range), spec, options);
}

/**
 * The encoding of a site whose groups have `ranges`. A known range in `spec.range` is not looked at: whether a learned range may
 * replace it is the caller's rule.
 *
 * @throws ShapeError when a per-tensor spec gets more than one range; otherwise as {@link affineFromRange}.
 */
export function encodingFromRanges(
  ranges: Ranges,
  spec: QuantizerSpec,
  options?: { readonly site?: string },
): EncodingFromRanges {
  const groups = ranges.min.length;
  if (ranges.max.length !== groups || groups === 0 || (spec.granularity.kind === 'tensor' && groups !== 1)) {
    throw new ShapeError({
      where: options?.site ?? 'encodingFromRanges',
      expected: spec.granularity.kind === 'tensor' ? 'one range' : 'as many minima as maxima, and at least one',
      received: `${groups} minima and ${ranges.max.length} maxima`,
    });
  }
  const scale = new Float32Array(groups);
  const zeroPoint = new Int32Array(groups);
  const widened: number[] = [];
  for (let g = 0; g < groups; g++) {
    const affine = affineFromRange({ min: ranges.min[g] as number, max: ranges.max[g] as number }, spec, options);
    scale[g] = affine.scale;
    zeroPoint[g] = affine.zeroPoint;
    if (affine.widened) widened.push(g);
  }
  return { encoding: { spec, scale, zeroPoint }, widened };
}

/** The ranges that an encoding represents: from the real of level 0 to the real of level 2^bits - 1. */
export function rangesFromEncoding({ spec, scale, zeroPoint }: Encoding): Ranges {
  const qmax = 2 ** spec.bits - 1;
  return {
    min: scale.map((s, g) => -(zeroPoint[g] as number) * s + 0),
    max: scale.map((s, g) => (qmax - (zeroPoint[g] as number)) * s),
  };
}

function checkRange({ min, max }: Range, where: string): void {
  if (!Number.isFinite(min) || !Number.isFinite(max)) {
    throw new NonFiniteError({
      where,
      expected: 'a finite range',
      received: `[${min}, ${max}]`,
      advice: 'Calibrate on data that reaches this site.',
    });
  }
  if (min > max) {
    throw new RangeError(`${where}: expected a range with min ≤ max, got [${min}, ${max}]. Swap the two.`);
  }
}
