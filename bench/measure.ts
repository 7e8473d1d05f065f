/** Timing: minimum of several rounds, the contestants interleaved, since a loaded machine slows whoever runs. */

export interface Contestant {
  readonly name: string;
  readonly run: () => Promise<unknown> | unknown;
}

/** Milliseconds of each contestant, the best of `rounds` after `warmUp` rounds. */
export async function race(
  contestants: readonly Contestant[],
  rounds = 11,
  warmUp = 3,
): Promise<Record<string, number>> {
  const best = Object.fromEntries(contestants.map(({ name }) => [name, Number.POSITIVE_INFINITY]));
  for (let round = -warmUp; round < rounds; round++) {
    for (const { name, run } of contestants) {
      const start = performance.now();
      await run();
      const time = performance.now() - start;
      if (round >= 0) best[name] = Math.min(best[name] as number, time);
    }
  }
  return best;
}

/** Seeded numbers in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Bell-shaped numbers around zero. */
export function bell(size: number, spread: number, next: () => number): Float32Array {
  return Float32Array.from({ length: size }, () => (next() + next() + next() - 1.5) * spread);
}

export interface Goal {
  readonly what: string;
  readonly ratio: number;
  readonly goal: string;
  readonly met: boolean;
}

export const atMost = (what: string, ratio: number, limit: number): Goal => ({
  what,
  ratio,
  goal: `≤ ${limit}`,
  met: ratio <= limit,
});
export const atLeast = (what: string, ratio: number, limit: number): Goal => ({
  what,
  ratio,
  goal: `≥ ${limit}`,
  met: ratio >= limit,
});

export function printGoals(goals: readonly Goal[]): void {
  console.log('\n| what | ratio | goal | met |\n|---|---|---|---|');
  for (const { what, ratio, goal, met } of goals)
    console.log(`| ${what} | ${ratio.toFixed(2)} | ${goal} | ${met ? 'yes' : 'NO'} |`);
}
