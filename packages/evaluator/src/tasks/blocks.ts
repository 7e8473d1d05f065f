/**
 * The work of a run in pieces that are the same whoever does them: some consecutive items of one task, with the solved items before each.
 * A piece is scored at once, kept at once, and belongs to one shard as a whole.
 */
import { pythonRandom } from './python-random.ts';
import type { Task } from './task.ts';
import { TaskError } from './task-error.ts';
import type { Item } from './template.ts';

/** A task with its data, prepared. */
export interface LoadedTask {
  readonly task: Task;
  readonly items: readonly Item[];
  /** What solved items are taken from. */
  readonly pool: readonly Item[];
}

export interface Block {
  readonly task: Task;
  /** The number of its first item. */
  readonly first: number;
  readonly items: readonly Item[];
  /** For each item. */
  readonly shots: readonly (readonly Item[])[];
}

export interface BlockOptions {
  /** Items of each task, from the first. Default: all. */
  readonly limit?: number | undefined;
  /** Solved items before each. Default 0. */
  readonly fewshot?: number;
  /** Of the solved items that are drawn at random. Default 1234, the harness's. */
  readonly seed?: number;
  /** Items of a block. Default 16; with 1 each item is timed alone, and nothing is shared between items. */
  readonly size?: number;
}

/**
 * All blocks, in order.
 *
 * @throws TaskError where there are fewer solved items than asked for, RangeError for a limit or a size below 1.
 */
export function blocksOf(
  tasks: readonly LoadedTask[],
  { limit = Infinity, fewshot = 0, seed = 1234, size = 16 }: BlockOptions = {},
): Block[] {
  for (const [option, value] of Object.entries({ limit, size }))
    if (!(value >= 1)) throw new RangeError(`blocksOf, ${option}: expected 1 or more, got ${value}.`);
  return tasks.flatMap((loaded) => {
    const { task } = loaded;
    const items = loaded.items.slice(0, limit);
    const shots = shotsOf(loaded, items, { fewshot, seed });
    const own = task.kind === 'text' ? 1 : size; // documents are long, and share nothing
    return Array.from({ length: Math.ceil(items.length / own) }, (_, i) => {
      const [first, end] = [i * own, (i + 1) * own];
      return { task, first, items: items.slice(first, end), shots: shots.slice(first, end) };
    });
  });
}

/** Solved items for each item; one generator draws for all of them in turn, as in the harness. */
function shotsOf(
  { task, pool }: LoadedTask,
  items: readonly Item[],
  { fewshot, seed }: { readonly fewshot: number; readonly seed: number },
): (readonly Item[])[] {
  if (fewshot === 0 || task.kind === 'text') return items.map(() => []);
  const order = task.shots?.order ?? 'random';
  const drawn = order === 'random-others' ? fewshot + 1 : fewshot;
  if (pool.length < drawn) {
    const expected = `at least ${drawn} solved items`;
    throw new TaskError(task.name, expected, String(pool.length), 'Ask for fewer, or give more data.');
  }
  if (order === 'first') return items.map(() => pool.slice(0, fewshot));
  const { sample } = pythonRandom(seed);
  const someOf = (from: readonly Item[], count: number) => sample(from.length, count).map((i) => from[i] as Item);
  if (order === 'random') return items.map(() => someOf(pool, fewshot));
  return items.map((item) => {
    const others = (from: readonly Item[]) => from.filter((other) => JSON.stringify(other) !== JSON.stringify(item));
    const found = others(someOf(pool, drawn));
    return found.length < fewshot ? someOf(others(pool), fewshot) : found.slice(0, fewshot);
  });
}
