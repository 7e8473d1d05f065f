/**
 * Rounding as PyTorch, ONNX and the NPU do it: to nearest, halves to the even neighbour.
 *
 * `Math.round` is exact but sends halves up; a half is recognised because `r - x` is then exactly 0.5.
 */

/**
 * The nearest integer, halves to even. Exact for every double; keeps infinities, NaN and the sign of zero.
 *
 * @example
 * [0.5, 1.5, -2.5].map(roundHalfEven); // => [0, 2, -2]
 */
export function roundHalfEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}
