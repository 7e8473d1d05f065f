/** Small rows of numbers that several steps need. */

/** Normal numbers from uniform ones in [0, 1) (Box and Muller). */
export const normalFrom = (uniform: () => number) => (): number =>
  Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());

export const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));

/** `count` of the numbers 0 … total - 1, at even distances. */
export const evenPlaces = (total: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * total) / count));
