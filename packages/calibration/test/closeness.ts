/**
 * How close is close: the rules by which our numbers are compared with the reference's.
 *
 * The reference says of every tensor how much it moves by itself when all weights are multiplied by 1 ± 6e-8 (its noise).
 * Fake quantization has steps, so that noise is either rounding, or a value that fell on the other side of a step.
 * Each rule gives back a complaint, or nothing.
 */

type Numbers = ArrayLike<number>;

/** What the reference says of a tensor: its size, and how much two of its own runs differ. */
export interface Noise {
  readonly rms: number;
  readonly max: number;
  readonly rmsDifference: number;
}

export const SILENT: Noise = { rms: 0, max: 0, rmsDifference: 0 };

/** Twice the steps that the reference's own runs may take apart, and some: two runs do not show the largest difference. */
const MARGIN = 5;
const ROUNDING = 1e-5;

export type Complaint = string | undefined;

/** Every element within the noise and float32's rounding: tensors that no quantizer has touched. */
export function elementwise(got: Numbers, want: Numbers, noise: Noise = SILENT): Complaint {
  if (got.length !== want.length) return `${got.length} elements instead of ${want.length}`;
  const bound = MARGIN * noise.max + ROUNDING * largest(want);
  const off = largest(differences(got, want));
  return off <= bound ? undefined : `off by ${off}, allowed ${bound}`;
}

/**
 * The same, or one rounding fell on the other side and went through the layers behind it: then half the elements still agree
 * and the error is four hundredths of the tensor (quantization itself is off by a tenth).
 */
export function elementwiseButFlips(got: Numbers, want: Numbers, noise: Noise = SILENT): Complaint {
  const complaint = elementwise(got, want, noise);
  if (!complaint || got.length !== want.length) return complaint;
  const bound = MARGIN * noise.max + ROUNDING * largest(want);
  const errors = differences(got, want);
  const share = errors.filter((e) => e > bound).length / errors.length;
  const relative = rms(errors) / rms(want);
  return share <= 0.5 && relative <= 0.04
    ? undefined
    : `${complaint}; ${(100 * share).toFixed(1)} % of the elements off, rms error ${relative}`;
}

/** Offsets, which are whole numbers: one whose fraction is a half may go either way. */
export function offsets(got: Numbers, want: Numbers, noise: Noise = SILENT): Complaint {
  return elementwise(got, want, { ...noise, max: Math.max(noise.max, 1 / MARGIN) });
}

/** A loss before any rounding can have flipped: relative to its own size, with the noise of its step. */
export function loss(got: number, want: number, noise: number): Complaint {
  const bound = MARGIN * noise + 2 * ROUNDING * Math.abs(want);
  return Math.abs(got - want) <= bound ? undefined : `${got} instead of ${want}, allowed ${bound}`;
}

/**
 * The step from which a run is no longer the same run: a flipped rounding that each further step makes more of. Either the reference's
 * own two have parted there, or ours parts from them, by as little as one rounding does when it happens.
 */
export function partedAt(got: readonly number[], want: readonly number[], noise: readonly number[]): number {
  const step = want.findIndex((target, i) => {
    const spread = (noise[i] as number) / target;
    const own = i > 0 && loss(got[i] as number, target, noise[i] as number) !== undefined;
    return spread > 1e-4 || (own && Math.abs((got[i] as number) / target - 1) <= 0.03);
  });
  return step < 0 ? Number.POSITIVE_INFINITY : step;
}

/**
 * Losses of a run: equal until it parts. Then the reference's own reruns stay within 25 % on the whole, and a tenth of their steps goes
 * anywhere: a 16-bit scale that one run has made a little smaller clips what passes, and the next step takes it back.
 */
export function losses(
  got: readonly number[],
  want: readonly number[],
  noise: readonly number[],
  parted: number,
): Complaint {
  if (got.length !== want.length) return `${got.length} steps instead of ${want.length}`;
  const early = got.flatMap((value, step) => {
    const complaint = step < parted && loss(value, want[step] as number, noise[step] as number);
    return complaint ? [`step ${step}: ${complaint}`] : [];
  });
  if (early.length > 0) return early.join('; ');
  let apart = 0;
  const later = got.map((value, step) => {
    apart = Math.max(apart, Math.min((MARGIN * (noise[step] as number)) / (want[step] as number), 0.5));
    return { step, error: Math.abs(value / (want[step] as number) - 1), allowed: Math.max(apart, 0.5) };
  });
  const wild = later.filter(({ step, error, allowed }) => step >= parted && !(error <= allowed));
  const middle = later.map(({ error }) => error).sort((x, y) => x - y)[Math.floor(later.length / 2)] as number;
  if (wild.length > Math.ceil(got.length / 10))
    return wild.map(({ step, error }) => `step ${step}: off by ${error}`).join('; ');
  return middle <= 0.25 ? undefined : `off by ${middle} on the whole`;
}

/** Error of a whole tensor relative to its size. */
export const relativeError = (got: Numbers, want: Numbers): number =>
  rms(differences(got, want)) / Math.max(rms(want), 1e-12);

/**
 * The gradients of a job in which a rounding fell on the other side before the first step: nearly all tensors are a little off then,
 * a few by much.
 */
export function flippedGradients(errors: readonly number[]): Complaint {
  const sorted = errors.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] as number;
  const [middle, high] = [at(0.5), at(0.9)];
  return middle <= 0.05 && high <= 0.3 ? undefined : `median error ${middle}, nine tenths within ${high}`;
}

/**
 * A gradient against the reference's in float64: the error of the whole tensor. What float32 costs the reference itself is allowed
 * too: in float32 the gradient of a 16-bit scale is mostly what is left when two large sums cancel.
 *
 * @param single the reference's gradient in float32
 * @param flipped the reference's own runs differ by a flipped rounding before the first step
 */
export function gradient(
  got: Numbers,
  want: Numbers,
  { single, noise, flipped }: { single: Numbers; noise: Noise; flipped: boolean },
): Complaint {
  if (got.length !== want.length) return `${got.length} elements instead of ${want.length}`;
  const size = rms(want);
  if (largest(want) < 1e-12) {
    const bound = MARGIN * noise.max + 1e-7; // exactly zero but for rounding
    return largest(got) <= bound ? undefined : `${largest(got)} instead of 0, allowed ${bound}`;
  }
  const own = Math.max(noise.rmsDifference, rms(differences(single, want))) / size;
  const bound = 1e-3 + (flipped ? MARGIN * MARGIN : MARGIN) * own;
  const error = rms(differences(got, want)) / size;
  return error <= bound ? undefined : `relative error ${error}, allowed ${bound}`;
}

/**
 * A parameter after one step of Adam, which is ±lr whatever the gradient's size: where the reference's gradient has a certain sign,
 * within a tenth of the step and what float32 can hold of it.
 *
 * @param gradients the reference's in float64 and in float32
 */
export function firstStep(
  got: Numbers,
  want: Numbers,
  [double, single]: readonly [Numbers, Numbers],
  { noise, rate, flipped }: { noise: Noise; rate: number; flipped: boolean },
): Complaint {
  const uncertain = 10 * Math.max(noise.max, largest(differences(single, double))) + 1e-7;
  const certain = flipped ? Math.max(uncertain, 0.5 * largest(double)) : uncertain;
  const errors = differences(got, want).filter((_, i) => Math.abs(double[i] as number) > certain);
  const off = largest(errors);
  const bound = 0.1 * rate + 1e-6 * largest(want);
  return off <= bound ? undefined : `off by ${off} after one step of ${rate}`;
}

/** A tensor that depends on steps taken: on the whole as close as the reference's own runs, or within `slack`. */
export function onTheWhole(got: Numbers, want: Numbers, { noise, slack }: { noise: Noise; slack: number }): Complaint {
  if (got.length !== want.length) return `${got.length} elements instead of ${want.length}`;
  const bound = MARGIN * noise.rmsDifference + slack + 1e-6 * rms(want);
  const error = rms(differences(got, want));
  return error <= bound ? undefined : `rms error ${error}, allowed ${bound}`;
}

/** The error that quantization leaves in an output, ours and the reference's: within a fifth, and what the noise adds to either. */
export function sameError(got: Numbers, want: Numbers, float: Numbers, noise: Noise): Complaint {
  const [ours, theirs] = [rms(differences(got, float)) ** 2, rms(differences(want, float)) ** 2];
  const bound = 0.2 + (0.5 * noise.rmsDifference) / Math.sqrt(theirs);
  const apart = Math.abs(ours / theirs - 1);
  return apart <= bound ? undefined : `mean squared error ${ours} instead of ${theirs}, allowed ${100 * bound} % apart`;
}

export const differences = (a: Numbers, b: Numbers): Float64Array =>
  Float64Array.from(a, (v, i) => Math.abs(v - (b[i] as number)));
export const rms = (a: Numbers): number => Math.sqrt(Array.from(a).reduce((sum, v) => sum + v * v, 0) / a.length);

/** The largest size; NaN when there is one, which no bound allows. */
export const largest = (a: Numbers): number =>
  Array.from(a).reduce((m, v) => (Number.isNaN(v) ? v : Math.max(m, Math.abs(v))), 0);
