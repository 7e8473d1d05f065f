/**
 * The results of a run as JSON lines: first what was measured and how, then each item. From these alone everything is counted, so that a
 * run can go on where it stopped, and parts of it that several machines did come together to what one would have got.
 */
import type { ItemRecord } from './evaluate-block.ts';
import { isMetric, type MetricName } from './metrics.ts';
import { type CountedTask, type Summary, summarize } from './summarize.ts';
import type { TaskGroup } from './task.ts';
import { TaskError } from './task-error.ts';

/** Which part of the blocks: those whose number leaves `index` when divided by `count`. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** What was measured and how: equal for all parts of one run but for the shard. */
export interface RunHeader {
  /** Of the program. */
  readonly mobilequant: string;
  /** Whose definitions the tasks follow. */
  readonly harness: string;
  readonly model: Readonly<Record<string, string>>;
  /** Tokens of the longest text. */
  readonly tokens: number;
  readonly fewshot: number;
  readonly seed: number;
  readonly limit?: number;
  /** Items that are scored together. */
  readonly block: number;
  /** SHA-256 of each file of data. */
  readonly data: Readonly<Record<string, string>>;
  /** With the number of items that the whole run has of each. */
  readonly tasks: readonly (CountedTask & { readonly items: number })[];
  readonly groups: readonly TaskGroup[];
  readonly shard?: Shard;
}

export interface RunRecords {
  readonly header: RunHeader;
  readonly records: readonly ItemRecord[];
}

/** The version of lm-evaluation-harness that the tasks follow. */
export const HARNESS = 'lm_eval 0.4.13';

/** One line for the header, or for an item. */
export const recordLine = (value: RunHeader | ItemRecord): string => `${JSON.stringify(value)}\n`;

/**
 * Reads what was written. A last line without its end, which a run that was killed leaves behind, is left out.
 *
 * @throws TaskError for a text that is no such file.
 */
export function parseRecords(text: string, file: string): RunRecords {
  const [header, ...records] = text
    .split('\n')
    .slice(0, -1)
    .map((line, i) => {
      try {
        return JSON.parse(line) as unknown;
      } catch (cause) {
        throw new TaskError(`${file}, line ${i + 1}`, 'a line of JSON', line.slice(0, 40), ADVICE, { cause });
      }
    });
  if (!isHeader(header)) throw new TaskError(file, 'what a run was', 'none', ADVICE);
  const metrics = new Map(header.tasks.map((task) => [task.name, task.metrics]));
  const wrong = records.findIndex((record) => !isRecord(record, metrics));
  if (wrong >= 0)
    throw new TaskError(`${file}, line ${wrong + 2}`, 'an item', JSON.stringify(records[wrong]).slice(0, 40), ADVICE);
  return { header, records: records as ItemRecord[] };
}

const ADVICE = 'Give a file that `evaluate --records` wrote.';

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function isHeader(value: unknown): value is RunHeader {
  if (!isObject(value) || !Array.isArray(value.tasks) || !Array.isArray(value.groups)) return false;
  const named = (entry: unknown): boolean =>
    isObject(entry) && typeof entry.name === 'string' && Array.isArray(entry.metrics) && entry.metrics.every(isMetric);
  return (
    typeof value.harness === 'string' &&
    value.tasks.every((task) => named(task) && Number.isInteger((task as { items: unknown }).items)) &&
    value.groups.every((group) => named(group) && Array.isArray((group as { tasks: unknown }).tasks))
  );
}

/** @param metrics of each task of the run */
function isRecord(value: unknown, metrics: ReadonlyMap<string, readonly MetricName[]>): boolean {
  if (!isObject(value) || typeof value.task !== 'string' || !isObject(value.values)) return false;
  const { values } = value;
  return (
    (metrics.get(value.task)?.every((name) => isItemValue(values[name])) ?? false) &&
    Number.isInteger(value.item) &&
    Array.isArray(value.logLikelihoods) &&
    typeof value.seconds === 'number'
  );
}

const isItemValue = (value: unknown): boolean =>
  Array.isArray(value) ? value.length === 2 && value.every(Number.isFinite) : Number.isFinite(value);

/** What tells a run from another: everything but the shard. */
export function runIdentity({ shard, ...header }: RunHeader): string {
  return JSON.stringify(header);
}

/**
 * Parts of one run, each by the name of its file, put together.
 *
 * @throws TaskError for parts of different runs, items that are there twice, or missing ones.
 */
export function mergeRecords(parts: ReadonlyMap<string, RunRecords>): RunRecords {
  const [[firstName, first] = []] = parts;
  if (!first) throw new TaskError('merge', 'at least one file', 'none', 'Give those of all shards.');
  const { shard, ...header } = first.header;
  const seen = new Map<string, string>();
  for (const [name, part] of parts) {
    if (runIdentity(part.header) !== runIdentity(first.header)) {
      const differing = Object.keys({ ...first.header, ...part.header }).filter(
        (key) => key !== 'shard' && JSON.stringify(pick(part.header, key)) !== JSON.stringify(pick(first.header, key)),
      );
      const expected = `the run of ${firstName}`;
      throw new TaskError(name, expected, `another ${differing.join(', ')}`, 'Merge parts of one run.');
    }
    for (const { task, item } of part.records) {
      const other = seen.get(`${task} ${item}`);
      if (other !== undefined)
        throw new TaskError(
          name,
          'items that no other file has',
          `${task} ${item}, as in ${other}`,
          'Give each file once.',
        );
      seen.set(`${task} ${item}`, name);
    }
  }
  for (const { name, items } of header.tasks) {
    const there = Array.from({ length: items }, (_, item) => seen.has(`${name} ${item}`));
    const missing = there.indexOf(false);
    if (missing < 0) continue;
    const count = `${there.filter((has) => has).length}, without ${missing}`;
    throw new TaskError(name, `${items} items`, count, 'Give the files of all shards, each run to its end.');
  }
  return { header, records: [...parts.values()].flatMap(({ records }) => records) };
}

const pick = (header: RunHeader, key: string): unknown => (header as unknown as Record<string, unknown>)[key];

/** What is told of a run: how it was made, its metrics, and how long it took. */
export type RunResult = Omit<RunHeader, 'tasks' | 'groups'> & Summary;

/** Counts the records of a run. But for `timing` the same whatever parts they came in. */
export function resultOf({ header, records }: RunRecords): RunResult {
  const { tasks, groups, ...told } = header;
  return { ...told, ...summarize(tasks, groups, records) };
}
