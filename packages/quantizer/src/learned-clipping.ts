/**
 * Learned weight clipping (LWC): two factors a group decide how much of a weight's range is kept.
 *
 *     max' = sigmoid(up) * max(W)      min' = sigmoid(low) * min(W)
 *
 * Factors start at 4 (98.2 % kept). When learning ends, the weight is clipped and stored; its own range then is the learned one.
 * The reference stores `clip(W, clippedRanges(…))`. For a symmetric quantizer that is not what was trained; the exact form is
 * `clip(W, symmetricRanges(clippedRanges(…)))`.
 */
import { fakeQuantize, fakeQuantizeGradient } from './fake-quantize.ts';
import { clamp } from './grid.ts';
import { runLength } from './groups.ts';
import { addToExtremes, rangesGradient } from './range-gradient.ts';
import { type Ranges, rangesOfGroups } from './ranges.ts';
import { referenceGrid } from './reference-grid.ts';
import type { QuantizerSpec } from './spec.ts';

/** The logits of the kept share of each group's maximum and minimum. */
export interface ClippingFactors {
  /** `[groups]`, the paper's γ. */
  readonly up: Float32Array;
  /** `[groups]`, the paper's β. */
  readonly low: Float32Array;
}

/** Gradients of a loss in what {@link fakeQuantizeClipped} was given. */
export interface ClippingGradient extends ClippingFactors {
  /** Like the weight. */
  readonly x: Float32Array;
}

/** The ranges that remain of `ranges` under `factors`. */
export function clippedRanges(ranges: Ranges, { up, low }: ClippingFactors): Ranges {
  return {
    min: ranges.min.map((min, g) => sigmoid(low[g] as number) * min),
    max: ranges.max.map((max, g) => sigmoid(up[g] as number) * max),
  };
}

/** Clamps each group of `x` to its range. */
export function clip(x: ArrayLike<number>, { min, max }: Ranges): Float32Array<ArrayBuffer> {
  const length = runLength(x.length, min.length, 'clip');
  return Float32Array.from(x, (value, i) => {
    const g = Math.floor(i / length);
    return clamp(value, min[g] as number, max[g] as number);
  });
}

/** Fake-quantizes a weight on the reference grid of its clipped ranges; the factors' length is the number of groups. */
export function fakeQuantizeClipped(
  x: ArrayLike<number>,
  spec: Pick<QuantizerSpec, 'bits' | 'symmetric'>,
  factors: ClippingFactors,
): Float32Array<ArrayBuffer> {
  return fakeQuantize(x, referenceGrid(clippedRanges(rangesOfGroups(x, factors.up.length), factors), spec));
}

/** The gradient of {@link fakeQuantizeClipped} in the weight and the factors; it flows through the weight's extremes too. */
export function fakeQuantizeClippedGradient(
  x: ArrayLike<number>,
  gradY: ArrayLike<number>,
  spec: Pick<QuantizerSpec, 'bits' | 'symmetric'>,
  factors: ClippingFactors,
): ClippingGradient {
  const extremes = rangesOfGroups(x, factors.up.length);
  const clipped = clippedRanges(extremes, factors);
  const grad = fakeQuantizeGradient(x, gradY, referenceGrid(clipped, spec));
  const gradClipped = rangesGradient(clipped, spec, grad.scale);
  addToExtremes(grad.x, x, extremes, clippedRanges(gradClipped, factors));
  return {
    x: grad.x,
    up: gradClipped.max.map(
      (gradMax, g) => gradMax * (extremes.max[g] as number) * sigmoidSlope(factors.up[g] as number),
    ),
    low: gradClipped.min.map(
      (gradMin, g) => gradMin * (extremes.min[g] as number) * sigmoidSlope(factors.low[g] as number),
    ),
  };
}

/** In float32, as PyTorch. */
function sigmoid(x: number): number {
  return Math.fround(1 / Math.fround(1 + Math.fround(Math.exp(-x))));
}

function sigmoidSlope(x: number): number {
  return sigmoid(x) * (1 - sigmoid(x));
}
