/** Parts of a work for many machines, as `--shard` says them. */
import type { Shard } from '@mobilequant/evaluator';
import { UsageError } from '../options.ts';

/** @throws UsageError for what is not I/N. */
export function shardFrom(given: string): Shard {
  const [, index = Number.NaN, count = Number.NaN] = /^(\d+)\/(\d+)$/.exec(given)?.map(Number) ?? [];
  if (index < count) return { index, count };
  throw new UsageError(`--shard: expected I/N with I from 0 to N - 1, got '${given}'.`);
}
