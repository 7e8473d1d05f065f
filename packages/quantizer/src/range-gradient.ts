/**
 * From the gradient in a scale to the gradient in the elements that made it.
 *
 * Where the range is taken from the tensor itself (dynamic quantization, learned clipping), the scale depends on the extremes of
 * each group. The offset is a constant: its rounding has gradient zero in the reference (method, section 10.7).
 */
import { SCALE_MIN } from './grid.ts';
import { runLength } from './groups.ts';
import type { Ranges } from './ranges.ts';
import { REFERENCE_SCALE_MAX, referenceLevels, unclampedScale } from './reference-grid.ts';
import type { QuantizerSpec } from './spec.ts';

/**
 * The gradient in each `[min, max]`, given that in the scale `[groups]` of the reference grid. A clamped scale passes nothing; a
 * symmetric one passes to the larger end, half to each when they are equal.
 */
export function rangesGradient(
  ranges: Ranges,
  { bits, symmetric }: Pick<QuantizerSpec, 'bits' | 'symmetric'>,
  gradScale: Float32Array,
): Ranges {
  const { qmax } = referenceLevels(bits, symmetric);
  const grad = { min: new Float32Array(gradScale.length), max: new Float32Array(gradScale.length) };
  for (let g = 0; g < gradScale.length; g++) {
    const min = ranges.min[g] as number;
    const max = ranges.max[g] as number;
    const scale = unclampedScale(min, max, qmax, symmetric);
    if (scale < SCALE_MIN || scale > REFERENCE_SCALE_MAX) continue;
    const gradAlpha = (gradScale[g] as number) / qmax;
    if (symmetric) {
      const shareOfMin = Math.abs(min) === Math.abs(max) ? 0.5 : Number(Math.abs(min) > Math.abs(max));
      grad.min[g] = gradAlpha * shareOfMin * Math.sign(min);
      grad.max[g] = gradAlpha * (1 - shareOfMin) * Math.sign(max);
    } else {
      grad.min[g] = -gradAlpha;
      grad.max[g] = gradAlpha;
    }
  }
  return grad;
}

/** Adds to `gradX` the gradient in each group's extremes, shared equally among the elements equal to an extreme. */
export function addToExtremes(gradX: Float32Array, x: ArrayLike<number>, extremes: Ranges, gradExtremes: Ranges): void {
  const groups = extremes.min.length;
  const length = runLength(x.length, groups, 'addToExtremes');
  for (let g = 0; g < groups; g++) {
    for (const end of ['min', 'max'] as const) {
      const extreme = extremes[end][g] as number;
      const equal: number[] = [];
      for (let i = g * length; i < (g + 1) * length; i++) {
        if (Math.fround(x[i] as number) === extreme) equal.push(i);
      }
      const share = (gradExtremes[end][g] as number) / equal.length;
      for (const i of equal) gradX[i] = (gradX[i] as number) + share;
    }
  }
}
