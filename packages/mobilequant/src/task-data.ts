/**
 * The items of tasks, from files below one directory:
 *
 *     .jsonl        one item a line
 *     .json         an array of items
 *     .raw, .txt    WikiText as it is: each article is an item, in the field `page`
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { articlesOf, type Item, type LoadedTask, type Task, TaskError } from '@mobilequant/evaluator';

export interface TaskData {
  readonly tasks: readonly LoadedTask[];
  /** SHA-256 of each file that was read, by its path below the directory. */
  readonly hashes: Readonly<Record<string, string>>;
}

/**
 * Reads what tasks need, each file once.
 *
 * @param shots whether solved items are needed too
 * @throws TaskError for files that are missing or hold no items.
 */
export async function readTaskData(directory: string, tasks: readonly Task[], shots: boolean): Promise<TaskData> {
  const files = new Map<string, readonly Item[]>();
  const hashes: Record<string, string> = {};
  const itemsIn = async (task: Task, names: readonly string[]): Promise<readonly Item[]> => {
    const name = names.find((candidate) => existsSync(join(directory, candidate)));
    if (name === undefined)
      throw new TaskError(task.name, `${names.join(' or ')} in ${directory}`, 'none', 'Put the data there.');
    let items = files.get(name);
    if (!items) {
      const bytes = await readFile(join(directory, name));
      hashes[name] = createHash('sha256').update(bytes).digest('hex');
      files.set(name, (items = parseItems(textOf(bytes, name), name)));
    }
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
