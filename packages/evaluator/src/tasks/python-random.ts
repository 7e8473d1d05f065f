/**
 * The numbers of Python's `random.Random(seed)`: the Mersenne Twister (Matsumoto and Nishimura, 1998) and what Python makes of it. The
 * harness draws its examples and its bootstrap samples with them.
 */

export interface PythonRandom {
  /** `random()`: a number in [0, 1) of 53 bits. */
  random(): number;
  /** `sample(range(n), k)`: k different numbers below n. Throws RangeError for more than there are. */
  sample(n: number, k: number): number[];
}

const [SIZE, MIDDLE] = [624, 397];

/** @param seed a whole number below 2^32 */
export function pythonRandom(seed: number): PythonRandom {
  const state = seeded(seed);
  let next = SIZE;

  const word = (): number => {
    if (next === SIZE) {
      twist(state);
      next = 0;
    }
    let y = state[next++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  const below = (n: number): number => {
    const shift = Math.clz32(n); // as many bits as n has
    let drawn: number;
    do drawn = word() >>> shift;
    while (drawn >= n);
    return drawn;
  };

  return {
    random: () => ((word() >>> 5) * 2 ** 26 + (word() >>> 6)) / 2 ** 53,
    sample(n, k) {
      if (k > n) throw new RangeError(`sample: expected at most ${n} of ${n}, got ${k}.`);
      const listed = 21 + (k > 5 ? 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 0); // from here on a list costs more than a set
      if (n > listed) {
        const drawn = new Set<number>();
        while (drawn.size < k) drawn.add(below(n));
        return [...drawn];
      }
      const pool = Array.from({ length: n }, (_, i) => i);
      return Array.from({ length: k }, (_, i) => {
        const at = below(n - i);
        const chosen = pool[at] as number;
        pool[at] = pool[n - i - 1] as number;
        return chosen;
      });
    },
  };
}

/** The generator's `init_by_array` with one word. */
function seeded(seed: number): Uint32Array {
  const state = new Uint32Array(SIZE);
  state[0] = 19650218;
  const mixed = (i: number): number => (state[i - 1] as number) ^ ((state[i - 1] as number) >>> 30);
  for (let i = 1; i < SIZE; i++) state[i] = Math.imul(1812433253, mixed(i)) + i;
  let i = 1;
  const step = () => {
    if (++i < SIZE) return;
    state[0] = state[SIZE - 1] as number;
    i = 1;
  };
  for (let k = 0; k < SIZE; k++, step()) state[i] = ((state[i] as number) ^ Math.imul(mixed(i), 1664525)) + seed;
  for (let k = 1; k < SIZE; k++, step()) state[i] = ((state[i] as number) ^ Math.imul(mixed(i), 1566083941)) - i;
  state[0] = 0x80000000;
  return state;
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < SIZE; i++) {
    const y = ((state[i] as number) & 0x80000000) | ((state[(i + 1) % SIZE] as number) & 0x7fffffff);
    state[i] = (state[(i + MIDDLE) % SIZE] as number) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
}
