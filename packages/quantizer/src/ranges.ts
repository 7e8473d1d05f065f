/**
 * Smallest and largest value of each group of a tensor.
 */
import { NonFiniteError, ShapeError } from './errors.ts';
import { groupCount, runLength } from './groups.ts';
import type { Granularity, Range } from './spec.ts';

/** One range for each group, as two arrays, because there can be millions. */
export interface Ranges {
  /** `[groups]` */
  readonly min: Float32Array;
  /** `[groups]` */
  readonly max: Float32Array;
}

/**
 * The range of each group of `data` (row-major, of `shape`), rounded to float32.
 *
 * @throws ShapeError when sizes do not fit.
 * @throws NonFiniteError when a value is NaN or infinite; it names `site`.
 * @example
 * rangesOf([1, -2, 3, 4], [2, 2], { kind: 'channel' }).max; // => [1, 4]
 */
export function rangesOf(
  data: ArrayLike<number>,
  shape: readonly number[],
  granularity: Granularity,
  { site }: { readonly site?: string } = {},
): Ranges {
  const size = shape.reduce((product, n) => product * n, 1);
  if (size !== data.length || size === 0) {
    throw new ShapeError({
      where: site ?? 'rangesOf',
      expected: size === 0 ? 'at least one element' : `${size} elements of shape [${shape.join(', ')}]`,
      received: `${data.length} elements`,
    });
  }
  return rangesOfGroups(data, groupCount(shape, granularity, site), site);
}

/** The range of each of `groups` equal runs of `data`. Throws as {@link rangesOf}. */
export function rangesOfGroups(data: ArrayLike<number>, groups: number, site?: string): Ranges {
  const length = runLength(data.length, groups, site ?? 'rangesOf');
  const min = new Float32Array(groups);
  const max = new Float32Array(groups);
  for (let g = 0, i = 0; g < groups; g++) {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (const end = i + length; i < end; i++) {
      const value = data[i] as number;
      if (!Number.isFinite(value)) throw nonFinite(value, i, site);
      if (value < low) low = value;
      if (value > high) high = value;
    }
    min[g] = low;
    max[g] = high;
  }
  return { min, max };
}

/** One range as {@link Ranges} of one group. */
export function rangesFromRange({ min, max }: Range): Ranges {
  return { min: Float32Array.of(min), max: Float32Array.of(max) };
}

/** `±max(|min|, |max|)` of each group: what a symmetric quantizer covers. */
export function symmetricRanges(ranges: Ranges): Ranges {
  const max = ranges.max.map((high, g) => Math.max(Math.abs(ranges.min[g] as number), Math.abs(high)));
  return { min: max.map((alpha) => -alpha), max };
}

function nonFinite(value: number, index: number, site?: string): NonFiniteError {
  return new NonFiniteError({
    where: site ?? 'rangesOf',
    expected: 'finite values',
    received: `${value} at element ${index}`,
    advice: 'Look for an overflow before this site.',
  });
}
