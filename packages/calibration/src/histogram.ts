/**
 * Histograms of float32 values whose bins are the numbers themselves: values that share their top 16 bits (sign, exponent, 7 bits of
 * mantissa) are counted together.
 *
 * So nothing needs to be known of a range beforehand, tiny and huge values are resolved alike (a bin is at most 2^-7 of its value wide),
 * counting a value is one increment, and histograms of parts add up to the histogram of the whole.
 */
import { NonFiniteError, type Range } from '@mobilequant/quantizer';

const BINS = 2 ** 16;
const MIDDLE = 2 ** 15;
const EXPONENT = 0x7f80; // of infinity and NaN

/** What was counted; only bins that hold something are kept. `min` and `max` are exact. */
export interface Histogram extends Range {
  /** How many values were counted. */
  readonly total: number;
  /** `[bins]`, ascending: numbers of bins in the order of their values. Bin 2^15 begins at 0. */
  readonly bins: Uint16Array;
  /** `[bins]`, how many values each holds. */
  readonly counts: Float64Array;
}

const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

/** Where bin `bin` begins and the one before it ends, infinite behind the last finite number. */
export function binEdge(bin: number): number {
  word[0] = Math.abs(bin - MIDDLE) << 16;
  return bin < MIDDLE ? -(real[0] as number) : (real[0] as number);
}

// Scratch of `histogramOf`, which is never interrupted: counters by the values' own top bits, all 0 between calls, and what is found.
const table = new Uint32Array(BINS);
const bins = new Uint16Array(BINS);
const counts = new Float64Array(BINS);

/**
 * Counts values.
 *
 * @param range their exact extremes, if they are known.
 * @throws NonFiniteError when a value is NaN or infinite; it names `site`.
 * @example
 * histogramOf(Float32Array.of(1, -3, 1.001, 0)).counts; // => [1, 1, 2]
 */
export function histogramOf(
  values: Float32Array,
  { range = rangeOfValues(values), site = 'histogramOf' }: { readonly range?: Range; readonly site?: string } = {},
): Histogram {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) (table[(bits[i] as number) >>> 16] as number)++;

  let size = 0;
  let finite = true;
  for (let bin = 0; bin < BINS; bin++) {
    const own = bin < MIDDLE ? BINS - 1 - bin : bin - MIDDLE; // negative numbers descend as their bits ascend
    const count = table[own] as number;
    if (count === 0) continue;
    if ((own & EXPONENT) === EXPONENT) finite = false;
    bins[size] = bin;
    counts[size++] = count;
    table[own] = 0;
  }
  if (!finite) {
    const index = values.findIndex((value) => !Number.isFinite(value));
    throw new NonFiniteError({ where: site, expected: 'finite values', received: `${values[index]} at ${index}` });
  }
  return {
    min: range.min,
    max: range.max,
    total: values.length,
    bins: bins.slice(0, size),
    counts: counts.slice(0, size),
  };
}

const sums = new Float64Array(BINS); // by the values' own top bits, all 0 between calls

/**
 * Counts values, each as much as its weight; `total` is that of the weights.
 *
 * @throws NonFiniteError when a value is NaN or infinite, or the sum of the weights; it names `site`. RangeError for other numbers of both.
 * @example
 * weightedHistogramOf(Float32Array.of(1, -3, 1), Float32Array.of(1, 2, 3)).counts; // => [2, 4]
 */
export function weightedHistogramOf(values: Float32Array, weights: Float32Array, site?: string): Histogram {
  if (values.length !== weights.length)
    throw new RangeError(
      `${site ?? 'weightedHistogramOf'}: expected a weight for each of ${values.length} values, got ${weights.length}.`,
    );
  const { bins, ...plain } = histogramOf(values, site === undefined ? {} : { site });
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let total = 0;
  for (let i = 0; i < bits.length; i++) {
    const own = (bits[i] as number) >>> 16;
    sums[own] = (sums[own] as number) + (weights[i] as number);
    total += weights[i] as number;
  }
  const counts = Float64Array.from(bins, (bin) => {
    const own = bin < MIDDLE ? BINS - 1 - bin : bin - MIDDLE;
    const sum = sums[own] as number;
    sums[own] = 0;
    return sum;
  });
  if (!Number.isFinite(total))
    throw new NonFiniteError({
      where: site ?? 'weightedHistogramOf',
      expected: 'finite weights',
      received: `a sum of ${total}`,
      advice: 'Where they are gradients, look for an overflow behind the site.',
    });
  return { ...plain, bins, counts, total };
}

function rangeOfValues(values: Float32Array): Range {
  let [min, max] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}

/** What the two counted together. */
export function mergeHistograms(a: Histogram, b: Histogram): Histogram {
  const size = a.bins.length + b.bins.length;
  const bins = new Uint16Array(size);
  const counts = new Float64Array(size);
  let n = 0;
  for (let i = 0, j = 0; i < a.bins.length || j < b.bins.length; n++) {
    const [left, right] = [a.bins[i] ?? BINS, b.bins[j] ?? BINS];
    bins[n] = Math.min(left, right);
    counts[n] = (left <= right ? (a.counts[i++] as number) : 0) + (right <= left ? (b.counts[j++] as number) : 0);
  }
  return {
    min: Math.min(a.min, b.min),
    max: Math.max(a.max, b.max),
    total: a.total + b.total,
    bins: bins.slice(0, n),
    counts: counts.slice(0, n),
  };
}
