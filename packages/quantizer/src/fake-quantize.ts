/**
 * Fake quantization: what a tensor is worth after going through integers and back, and its gradient.
 *
 *     x̂ = (clamp(round(x / scale) + offset, qmin, qmax) - offset) * scale
 *
 * The gradient is straight through `round` alone; the clamp keeps its own (a level on the bound passes):
 *
 *                 d x̂/d x    d x̂/d scale             d x̂/d offset
 *     inside      1          round(x/s) - x/s        0
 *     outside     0          bound - offset          -scale
 *
 * `round(x/s) - x/s` is taken before the sum: summing the two apart, as autograd does, leaves mostly noise at 16 bits.
 */
import type { Encoding } from './encoding.ts';
import { ShapeError } from './errors.ts';
import { clamp, type Grid, levelOf, realOf, toGrid } from './grid.ts';
import { runLength } from './groups.ts';
import { roundHalfEven } from './round.ts';

/** Gradients of a loss in what {@link fakeQuantize} was given. */
export interface FakeQuantizeGradient {
  /** Like `x`. */
  readonly x: Float32Array;
  /** `[groups]` */
  readonly scale: Float32Array;
  /** `[groups]` */
  readonly offset: Float32Array;
}

/**
 * Rounds `x` (row-major, any shape) to the nearest reals of a grid or an encoding. NaN stays NaN.
 *
 * @throws ShapeError when the elements cannot be shared equally among the scales.
 */
export function fakeQuantize(x: ArrayLike<number>, by: Grid | Encoding): Float32Array<ArrayBuffer> {
  const { scale, offset, qmin, qmax } = toGrid(by);
  const length = runLength(x.length, scale.length, 'fakeQuantize');
  const y = new Float32Array(x.length);
  for (let g = 0, i = 0; g < scale.length; g++) {
    const s = scale[g] as number;
    const o = offset[g] as number;
    for (const end = i + length; i < end; i++) {
      y[i] = realOf(clamp(levelOf(x[i] as number, s, o), qmin, qmax), s, o);
    }
  }
  return y;
}

/**
 * The gradient of {@link fakeQuantize}: from the loss's gradient in the result (`gradY`, like `x`) to that in x, scale, offset.
 *
 * @throws ShapeError when sizes do not fit.
 */
export function fakeQuantizeGradient(
  x: ArrayLike<number>,
  gradY: ArrayLike<number>,
  by: Grid | Encoding,
): FakeQuantizeGradient {
  const { scale, offset, qmin, qmax } = toGrid(by);
  const length = runLength(x.length, scale.length, 'fakeQuantizeGradient');
  if (gradY.length !== x.length) {
    throw new ShapeError({
      where: 'fakeQuantizeGradient',
      expected: `a gradient of ${x.length} elements, as x`,
      received: `${gradY.length} elements`,
    });
  }
  const grad = {
    x: new Float32Array(x.length),
    scale: new Float32Array(scale.length),
    offset: new Float32Array(scale.length),
  };
  for (let g = 0, i = 0; g < scale.length; g++) {
    const s = scale[g] as number;
    const o = offset[g] as number;
    let gradScale = 0;
    let gradOffset = 0;
    for (const end = i + length; i < end; i++) {
      const dy = gradY[i] as number;
      const value = Math.fround(x[i] as number);
      const rounded = roundHalfEven(Math.fround(value / s));
      const level = Math.fround(rounded + o);
      const bounded = clamp(level, qmin, qmax);
      if (bounded === level) {
        grad.x[i] = dy;
        gradScale += dy * (rounded - value / s);
      } else {
        gradScale += dy * (bounded - o);
        gradOffset -= dy * s;
      }
    }
    grad.scale[g] = gradScale;
    grad.offset[g] = gradOffset;
  }
  return grad;
}
