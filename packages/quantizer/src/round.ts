/**
 * Rounding as PyTorch, ONNX and the NPU do it: to nearest, halves to the even neighbour.
 *
 * `floor(x + 0.5)` is several times faster than `Math.round`, and too large by one in three cases that the distance to x gives
 * away: at a half it is 0.5; where `x + 0.5` was itself rounded up (just below 0.5, and odd numbers above 2^52) it is more.
 */

/**
 * The nearest integer, halves to even. Exact for every double; infinities and NaN stay, a zero is never negative.
 *
 * @example
 * [0.5, 1.5, -2.5].map(roundHalfEven); // => [0, 2, -2]
 */
export function roundHalfEven(x: number): number {
  const r = Math.floor(x + 0.5);
  const distance = r - x;
  return distance >= 0.5 && (distance > 0.5 || r % 2 !== 0) ? r - 1 : r;
}
