/**
 * The items of tasks, from files below one directory:
 *
 *     .jsonl        one item a line
 *     .json         an array of items
 *     .raw, .txt    WikiText as it is: each article is an item, in the field `page`
 *     .parquet      a row an item, in one file or in parts as the hub has them, in place of a file of another kind
 *
 * What is not there can be fetched from the hub, and is kept.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { fetchSplit, type HubOptions } from '@mobilequant/checkpoint/node';
import { articlesOf, type Item, type LoadedTask, type Task, TaskError } from '@mobilequant/evaluator';
import { readParquet } from './read-parquet.ts';

export interface TaskData {
  readonly tasks: readonly LoadedTask[];
  /** SHA-256 of each file that was read, by its path below the directory. */
  readonly hashes: Readonly<Record<string, string>>;
}

export interface TaskDataOptions {
  /** Fetch what is missing of tasks that say where the hub has it, this way. Default: nothing is fetched. */
  readonly hub?: HubOptions;
}

/**
 * Reads what tasks need, each file once.
 *
 * @param shots whether solved items are needed too
 * @throws TaskError for files that are missing or hold no items, CheckpointError for what cannot be fetched.
 */
export async function readTaskData(
  directory: string,
  tasks: readonly Task[],
  shots: boolean,
  { hub }: TaskDataOptions = {},
): Promise<TaskData> {
  const files = new Map<string, readonly Item[]>();
  const hashes: Record<string, string> = {};
  const read = async (name: string): Promise<readonly Item[]> => {
    const known = files.get(name);
    if (known) return known;
    const bytes = await readFile(join(directory, name));
    hashes[name] = createHash('sha256').update(bytes).digest('hex');
    const items = extname(name) === '.parquet' ? await readParquet(bytes, name) : parseItems(textOf(bytes, name), name);
    files.set(name, items);
    return items;
  };
  const itemsIn = async (task: Task, names: readonly string[]): Promise<readonly Item[]> => {
    const found = (await filesOf(directory, names)) ?? (hub && (await fetched(directory, task, names, hub)));
    if (!found) {
      const advice = task.hub ? 'Put the data there, or fetch it from the hub (--hub).' : 'Put the data there.';
      throw new TaskError(task.name, `${names.join(' or ')} in ${directory}`, 'none', advice);
    }
    const items: Item[] = [];
    for (const file of found) items.push(...(await read(file)));
    const name = found.join(', ');
    const wanted = Object.entries(task.where ?? {});
    const own = items.filter((item) => wanted.every(([field, value]) => item[field] === value));
    if (own.length > 0) return own.map(task.prepare ?? ((item) => item));
    const which = wanted.map(([field, value]) => ` whose ${field} is ${value}`).join(',');
    throw new TaskError(name, `items${which}`, 'none', 'Give the data of this task.');
  };
  const loaded: LoadedTask[] = [];
  for (const task of tasks) {
    const items = await itemsIn(task, task.files);
    const apart = task.kind !== 'text' && task.shots;
    loaded.push({ task, items, pool: shots && apart ? await itemsIn(task, apart.files) : items });
  }
  return { tasks: loaded, hashes };
}

/** The first of some files that is there, or what stands for it in Parquet: all parts of it. */
async function filesOf(directory: string, names: readonly string[]): Promise<readonly string[] | undefined> {
  for (const name of names) {
    if (existsSync(join(directory, name))) return [name];
    const stem = stemOf(name);
    if (existsSync(join(directory, `${stem}.parquet`))) return [`${stem}.parquet`];
    const parts = await partsOf(directory, stem);
    if (parts.length > 0) return parts;
  }
  return undefined;
}

async function partsOf(directory: string, stem: string): Promise<string[]> {
  const beside = await readdir(join(directory, dirname(stem))).catch(() => []);
  const numbered = beside.flatMap((file) => {
    const [, own, number, count] = PART.exec(file) ?? [];
    return own === basename(stem) ? [{ file, number: Number(number), count: Number(count) }] : [];
  });
  const parts = numbered.sort((a, b) => a.number - b.number);
  const { count = 0 } = parts[0] ?? {};
  if (parts.length !== count || parts.some(({ number }, i) => number !== i))
    throw new TaskError(
      `${stem}-….parquet in ${directory}`,
      `parts 0 to ${count - 1} of ${count}`,
      parts.map(({ number }) => number).join(', '),
      'Fetch them again.',
    );
  return parts.map(({ file }) => join(dirname(stem), file));
}

const PART = /^(.+)-(\d{5})-of-(\d{5})\.parquet$/;

const stemOf = (name: string): string => name.slice(0, name.length - extname(name).length);

/** What the hub has of a task: of the first of the files, whose name is that of the split. */
async function fetched(
  directory: string,
  { hub }: Task,
  [name]: readonly string[],
  options: HubOptions,
): Promise<readonly string[] | undefined> {
  if (!hub || name === undefined) return undefined;
  const stem = stemOf(name);
  await fetchSplit({ ...hub, split: basename(stem) }, join(directory, stem), options);
  return partsOf(directory, stem);
}

function textOf(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new TaskError(name, 'a text in UTF-8', 'other bytes', 'Convert it.', { cause });
  }
}

function parseItems(text: string, name: string): readonly Item[] {
  const extension = extname(name);
  if (extension === '.raw' || extension === '.txt') return articlesOf(text);
  const parsed = extension === '.json' ? [parseJson(text, name)].flat() : parseLines(text, name);
  const wrong = parsed.findIndex((item) => typeof item !== 'object' || item === null || Array.isArray(item));
  if (wrong < 0) return parsed as readonly Item[];
  const received = JSON.stringify(parsed[wrong]).slice(0, 40);
  throw new TaskError(`${name}, item ${wrong}`, 'an object', received, 'Give one object an item.');
}

const parseLines = (text: string, name: string): unknown[] =>
  text.split('\n').flatMap((line, i) => (line.trim() === '' ? [] : [parseJson(line, `${name}, line ${i + 1}`)]));

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TaskError(where, 'JSON', text.slice(0, 40), 'Correct it.', { cause });
  }
}
