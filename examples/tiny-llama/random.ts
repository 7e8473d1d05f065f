/**
 * Seeded random numbers: the same seed gives the same text, batches and weights on every machine.
 * The source is Mulberry32, a counter and two rounds of integer mixing.
 */

/** A stream of random choices. Every call moves the stream on by one or more steps. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, count). */
  below(count: number): number;
  /** Uniform integer in [low, high], both included. */
  between(low: number, high: number): number;
  /** True with the given probability. */
  chance(probability: number): boolean;
  /** One of the list, the first ones more often than the last: natural words are not uniform either. */
  pick<T>(list: readonly T[]): T;
  /** `count` different ones of the list, in random order. */
  sample<T>(list: readonly T[], count: number): T[];
  /** Standard normal. */
  normal(): number;
}

/** Starts a stream. Throws a RangeError for a seed that is not an integer. */
export function createRandom(seed: number): Random {
  if (!Number.isInteger(seed)) throw new RangeError(`createRandom: expected an integer seed, got ${seed}.`);
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (count: number): number => Math.floor(next() * count);
  const at = <T>(list: readonly T[], index: number): T => {
    if (index >= list.length)
      throw new RangeError('Random: expected a list with enough entries to choose from, got too few.');
    return list[index] as T;
  };
  return {
    next,
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: (probability) => next() < probability,
    pick: (list) => at(list, Math.floor(list.length * next() ** 1.4)),
    sample: (list, count) => {
      const left = [...list];
      return Array.from({ length: count }, () => {
        const index = below(left.length);
        const chosen = at(left, index);
        left.splice(index, 1);
        return chosen;
      });
    },
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  };
}
