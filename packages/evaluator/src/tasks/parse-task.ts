/** Tasks of one's own, from JSON: the fields of `ChoiceTask` and `ContinuationTask` but for functions. */
import type { MetricName } from './metrics.ts';
import type { Task } from './task.ts';
import { TaskError } from './task-error.ts';
import { described } from './template.ts';

const METRICS: Readonly<Record<string, readonly MetricName[]>> = {
  choice: ['acc', 'acc_norm', 'acc_bytes', 'exact_match'],
  continuation: ['perplexity', 'acc'],
  text: ['word_perplexity', 'byte_perplexity', 'bits_per_byte', 'token_perplexity'],
};

type Check = readonly [expected: string, holds: (value: unknown) => boolean];

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.length > 0 && value.every(isText);
const hasOnlyTexts = (value: unknown, names?: readonly string[]): boolean =>
  isRecord(value) && Object.values(value).every(isText) && (names ?? []).every((name) => name in value);
const ORDERS: readonly unknown[] = ['first', 'random', 'random-others'];
const isShots = (value: unknown): boolean => isRecord(value) && isTexts(value.files) && ORDERS.includes(value.order);

const TEXT: Check = ['a text', isText];
const COMMON: Readonly<Record<string, Check>> = {
  name: ['a name of letters, digits and _', (value) => typeof value === 'string' && /^\w+$/.test(value)],
  version: ['a number', Number.isFinite],
  files: ['a list of file names', isTexts],
};
const PROMPT = { prompt: TEXT };
const REQUIRED: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  choice: {
    ...PROMPT,
    choices: ['a field or a list of answers', (value) => isText(value) || isTexts(value)],
    gold: ['a field, or { find, in }', (value) => isText(value) || hasOnlyTexts(value, ['find', 'in'])],
  },
  continuation: { ...PROMPT, continuation: TEXT },
  text: { text: TEXT, counted: TEXT },
};
const isHub = (value: unknown): boolean =>
  hasOnlyTexts(value, ['dataset']) && Object.keys(value as object).every((name) => /^(dataset|config)$/.test(name));
const OPTIONAL: Readonly<Record<string, Check>> = {
  hub: ['{ dataset, config }', isHub],
  where: ['fields and their values', (value) => hasOnlyTexts(value)],
  description: TEXT,
  shots: [`{ files, order }, with order one of ${ORDERS.join(', ')}`, isShots],
};

/**
 * A task from the contents of a JSON file. Where it does not say which solved items stand before an item, they are other ones of its own.
 *
 * @throws TaskError for fields that are missing, unknown or not what they should be.
 */
export function parseTask(json: unknown, where = 'task'): Task {
  if (!isRecord(json)) throw new TaskError(where, 'an object', described(json), 'Begin with {.');
  const kind = String(json.kind);
  const required = Object.hasOwn(REQUIRED, kind) ? REQUIRED[kind] : undefined;
  if (!required)
    throw new TaskError(`${where}: kind`, Object.keys(REQUIRED).join(', '), described(json.kind), 'Choose one.');
  const metrics = METRICS[kind] as readonly string[];
  const isMetrics = (value: unknown): boolean =>
    isTexts(value) && (value as string[]).every((name) => metrics.includes(name));
  const needed: Readonly<Record<string, Check>> = {
    ...COMMON,
    ...required,
    metrics: [`some of ${metrics.join(', ')}`, isMetrics],
  };
  const { description, shots, ...others } = OPTIONAL;
  const allowed = kind === 'text' ? others : OPTIONAL;
  for (const [name, [expected, holds]] of Object.entries({ ...needed, ...allowed })) {
    if (!(name in json) && !(name in needed)) continue;
    if (!holds(json[name]))
      throw new TaskError(`${where}: ${name}`, expected, described(json[name]), 'Correct the task.');
  }
  const unknown = Object.keys(json).find((name) => name !== 'kind' && !(name in needed) && !(name in allowed));
  if (unknown !== undefined) {
    const known = Object.keys({ ...needed, ...allowed }).join(', ');
    throw new TaskError(where, `fields among ${known}`, unknown, 'Correct the name.');
  }
  const task = json as unknown as Task; // every field was looked at
  return task.kind === 'text' ? task : { shots: { files: task.files, order: 'random-others' }, ...task };
}
