/** What is to be measured: models, texts, rows. A file of the repository, whose paths begin with names that the command line explains. */
import { readFile } from 'node:fs/promises';
import { selectTasks } from '@mobilequant/evaluator';
import { ROW_NAMES } from './rows.ts';

/**
 * A file: a path from the repository's root, or `$NAME/…` under a folder that was given as `--path NAME=DIR`; ids in a safetensors file
 * are `FILE:TENSOR`. `tiny-llama:SPLIT:CHARACTERS` is text that the example's generator writes.
 */
export type Source = string;

export interface TextEntry {
  /** How the text is called in the tables. */
  readonly name: string;
  readonly data: Source;
  /** Tokens of a window. */
  readonly tokens: number;
  /** At most; by default as many as the text has. */
  readonly windows?: number;
  /** Of a `.jsonl` file, every so many-th document only, from the first. */
  readonly every?: number;
}

/** The tasks of lm-evaluation-harness, as `evaluate --tasks` counts them. */
export interface TasksEntry {
  /** Below which their data lie, as `--data-dir`. */
  readonly data: Source;
  /** Which tasks, and how many items of each (of each subject for MMLU) from the first. */
  readonly limits: Readonly<Record<string, number>>;
  /** Names of rows; by default the model's. */
  readonly rows?: readonly string[];
  /** In which quantized models are measured; by default simulated. */
  readonly form?: 'simulated' | 'integer';
}

export interface CalibrationEntry {
  readonly data: Source;
  readonly samples: number;
  readonly tokens: number;
  /** What to learn from; by default the same file. */
  readonly learn?: Source;
  /** Further options of `quantize`: epochs, learn-samples, learn-tokens, seed. */
  readonly options?: Readonly<Record<string, string | number>>;
}

export interface ModelEntry {
  readonly name: string;
  /** What a reader should know. */
  readonly remarks?: string;
  /** A model directory. */
  readonly model: Source;
  readonly calibration: CalibrationEntry;
  readonly texts: readonly TextEntry[];
  /** Names of rows; by default all. */
  readonly rows?: readonly string[];
  /** Rows that need not be known so well: windows of each text at most, for those. */
  readonly fewer?: { readonly windows: number; readonly rows: readonly string[] };
  /** Rows that are measured in integers: as exported, run by ONNX Runtime. Their simulated form is compared with that. */
  readonly integer?: readonly string[];
  /** Windows of each text at most for that comparison; by default all. */
  readonly compared?: number;
  readonly tasks?: TasksEntry;
  /** A file beside the config: another implementation's numbers under these conditions. */
  readonly reference?: string;
}

export interface Config {
  readonly models: readonly ModelEntry[];
}

/** A config that does not say what it should, or a path that nobody explained. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(where: string, expected: string, received: string, advice: string) {
    super(`${where}: expected ${expected}, got ${received}. ${advice}`);
  }
}

/**
 * Reads a config.
 *
 * @throws ConfigError for one without models, with a row that there is not, a task without items, or two models of one name.
 * @throws TaskError for a task that there is not.
 */
export async function readConfig(path: string): Promise<Config> {
  return checkConfig(JSON.parse(await readFile(path, 'utf8')) as Config, path);
}

export function checkConfig(config: Config, where: string): Config {
  if (!Array.isArray(config.models) || config.models.length === 0)
    throw new ConfigError(where, 'models', 'none', 'List at least one in "models".');
  for (const { name, rows = [], integer = [], fewer, texts, tasks } of config.models) {
    checkRows([...rows, ...integer, ...(fewer?.rows ?? []), ...(tasks?.rows ?? [])], `${where}, ${name}`);
    if (tasks) checkTasks(tasks, `${where}, ${name}`);
    if (!texts?.length) throw new ConfigError(`${where}, ${name}`, 'texts', 'none', 'List at least one in "texts".');
  }
  const names = config.models.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new ConfigError(where, 'a name for each model', `'${twice}' twice`, 'Rename one.');
  return config;
}

function checkTasks({ limits }: TasksEntry, where: string): void {
  selectTasks(Object.keys(limits));
  const wrong = Object.entries(limits).find(([, limit]) => !(Number.isInteger(limit) && limit > 0));
  if (!wrong && Object.keys(limits).length > 0) return;
  const received = wrong ? wrong.join(' ') : 'none';
  throw new ConfigError(where, 'tasks with a number of items each', received, 'Give "limits", as { "wikitext": 10 }.');
}

/** @throws ConfigError for a name that is none of the rows'. */
export function checkRows(names: readonly string[], where: string): void {
  const unknown = names.find((name) => !ROW_NAMES.includes(name));
  if (unknown !== undefined)
    throw new ConfigError(where, `rows among ${ROW_NAMES.join(', ')}`, `'${unknown}'`, 'Rows are data of rows.ts.');
}

/**
 * Where a source lies, with the folders that were given by name.
 *
 * @throws ConfigError for a name that was not.
 */
export function pathOf(source: Source, folders: Readonly<Record<string, string>>): string {
  return source.replace(/^\$(\w+)/, (_, name: string) => {
    const folder = folders[name];
    if (folder === undefined)
      throw new ConfigError(source, `--path ${name}=DIR`, 'no such path', 'Give it, or choose models by --model.');
    return folder;
  });
}
