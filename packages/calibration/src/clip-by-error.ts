/**
 * How much of each group of a weight to keep: the part of its range whose grid makes the smallest error Σ h_j (w_j - ŵ_j)², rounded to
 * nearest. A finer grid for many is worth the clipping of a few.
 */
import {
  encodingFromRanges,
  gridFromEncoding,
  type QuantizerSpec,
  type Ranges,
  rangesOf,
  roundHalfEven,
} from '@mobilequant/quantizer';
import type { Value } from '@mobilequant/tracer';

/** Parts of the range that are tried; at few bits less than half of it may be best. */
const FACTORS = Array.from({ length: 33 }, (_, i) => 1 - i / 50);

/**
 * The ranges to keep, one for each group; both ends are drawn in by one factor.
 *
 * @param weight `[out, in]`
 * @param importance h, `[in]`
 */
export function clipByError(
  weight: Value,
  spec: QuantizerSpec,
  importance: Float64Array,
  site?: string,
): { min: Float32Array; max: Float32Array } {
  const w = weight.data as Float32Array;
  const whole = rangesOf(w, weight.shape, spec.granularity, site === undefined ? {} : { site });
  const best = { min: whole.min.slice(), max: whole.max.slice() };
  const least = new Float64Array(whole.min.length).fill(Infinity);
  for (const factor of FACTORS) {
    const tried = part(whole, factor);
    const { scale, offset, qmax } = gridFromEncoding(encodingFromRanges(tried, spec).encoding);
    for (let g = 0; g < scale.length; g++) {
      const error = errorOf(g, scale[g] as number, offset[g] as number, qmax, least[g] as number);
      if (error >= (least[g] as number)) continue;
      least[g] = error;
      best.min[g] = tried.min[g] as number;
      best.max[g] = tried.max[g] as number;
    }
  }
  return best;

  /** The error of a group, or any number that is not below `limit`. */
  function errorOf(group: number, scale: number, offset: number, qmax: number, limit: number): number {
    const length = w.length / least.length;
    const columns = importance.length;
    let sum = 0;
    for (let i = group * length, j = i % columns, end = i + length; i < end && sum < limit; i++) {
      const x = w[i] as number;
      const level = Math.min(Math.max(roundHalfEven(x / scale) + offset, 0), qmax);
      sum += (importance[j] as number) * (x - (level - offset) * scale) ** 2;
      if (++j === columns) j = 0;
    }
    return sum;
  }
}

const part = ({ min, max }: Ranges, factor: number): Ranges => ({
  min: min.map((x) => x * factor),
  max: max.map((x) => x * factor),
});
