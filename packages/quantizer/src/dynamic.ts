/**
 * Dynamic fake quantization: the range is that of the tensor itself, and the gradient flows through it.
 */
import { fakeQuantize, fakeQuantizeGradient } from './fake-quantize.ts';
import { addToExtremes, rangesGradient } from './range-gradient.ts';
import { rangesOf } from './ranges.ts';
import { referenceGrid } from './reference-grid.ts';
import type { QuantizerSpec } from './spec.ts';

/** Fake-quantizes `x` of `shape` on the reference grid of its own ranges. Throws as `rangesOf` and `referenceGrid`. */
export function fakeQuantizeDynamic(
  x: ArrayLike<number>,
  shape: readonly number[],
  spec: QuantizerSpec,
): Float32Array<ArrayBuffer> {
  return fakeQuantize(x, referenceGrid(rangesOf(x, shape, spec.granularity), spec));
}

/** The gradient of {@link fakeQuantizeDynamic} in `x`, from the gradient `gradY` in its result. */
export function fakeQuantizeDynamicGradient(
  x: ArrayLike<number>,
  gradY: ArrayLike<number>,
  shape: readonly number[],
  spec: QuantizerSpec,
): Float32Array {
  const ranges = rangesOf(x, shape, spec.granularity);
  const grad = fakeQuantizeGradient(x, gradY, referenceGrid(ranges, spec));
  addToExtremes(grad.x, x, ranges, rangesGradient(ranges, spec, grad.scale));
  return grad.x;
}
