/**
 * A model on tasks, block by block. What each block came to is written down at once, so that a run that was stopped goes on from there.
 */
import { appendFile, readFile } from 'node:fs/promises';
import { writeFileAtomic } from '@mobilequant/checkpoint/node';
import {
  type Block,
  evaluateBlock,
  type ItemRecord,
  parseRecords,
  type RunHeader,
  type RunRecords,
  recordLine,
  runIdentity,
  type Scorer,
  TaskError,
  type TextCoder,
} from '@mobilequant/evaluator';

export interface TaskRun {
  readonly header: RunHeader;
  /** Of the whole run; those of the header's shard are worked on. */
  readonly blocks: readonly Block[];
  readonly scorer: Scorer;
  readonly coder: TextCoder;
}

export interface TaskRunOptions {
  /** File that records are kept in, and that a run goes on from. */
  readonly records?: string | undefined;
  /** Called before each block, and at the end. Throws to stop. */
  readonly onItems?: (task: string, done: number, total: number) => void;
}

/**
 * Scores the blocks that are not there yet.
 *
 * @throws TaskError when the file of records is that of another run.
 */
export async function evaluateTasks(
  { header, blocks, scorer, coder }: TaskRun,
  { records: file, onItems }: TaskRunOptions = {},
): Promise<RunRecords> {
  const { index, count } = header.shard ?? { index: 0, count: 1 };
  const own = blocks.filter((_, i) => i % count === index);
  const kept = file === undefined ? [] : await readKept(file, header, own);
  const there = new Set(kept.map(keyOf));
  const records = [...kept];
  const total = own.reduce((sum, { items }) => sum + items.length, 0);
  for (const block of own) {
    if (there.has(keyOf({ task: block.task.name, item: block.first }))) continue;
    onItems?.(block.task.name, records.length, total);
    const found = await evaluateBlock(block, scorer, coder);
    records.push(...found);
    if (file !== undefined) await appendFile(file, found.map(recordLine).join(''));
  }
  onItems?.(own.at(-1)?.task.name ?? '', records.length, total);
  return { header, records };
}

const keyOf = ({ task, item }: Pick<ItemRecord, 'task' | 'item'>): string => `${task} ${item}`;

/** Records of whole blocks that the file has; it holds these alone afterwards. */
async function readKept(file: string, header: RunHeader, blocks: readonly Block[]): Promise<ItemRecord[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return '';
  });
  const whole: ItemRecord[] = [];
  if (text.includes('\n')) {
    const { header: other, records } = parseRecords(text, file);
    if (runIdentity(other) !== runIdentity(header) || JSON.stringify(other.shard) !== JSON.stringify(header.shard))
      throw new TaskError(file, 'records of this run', 'those of another', 'Name another file, or remove this one.');
    const byKey = new Map(records.map((record) => [keyOf(record), record]));
    for (const { task, first, items } of blocks) {
      const own = items.flatMap((_, i) => byKey.get(keyOf({ task: task.name, item: first + i })) ?? []);
      if (own.length === items.length) whole.push(...own);
    }
  }
  await writeFileAtomic(file, [header, ...whole].map(recordLine).join(''));
  return whole;
}
