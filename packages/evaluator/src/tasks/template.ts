/**
 * Prompts as data: text in which `{question}`, `{choices.text}` or `{choices.0}` stand for what an item has in these fields. Braces around
 * anything else stay.
 */
import { TaskError } from './task-error.ts';

/** One row of a data set. */
export type Item = Readonly<Record<string, unknown>>;

const FIELD = /\{([A-Za-z_]\w*(?:\.\w+)*)\}/g;

/**
 * The text with an item's fields in it.
 *
 * @throws TaskError for a field that is missing or no text.
 * @example
 * fill('Question: {question}\nA. {choices.0}', { question: 'Why?', choices: ['Because.'] }); // => 'Question: Why?\nA. Because.'
 */
export const fill = (template: string, item: Item): string =>
  template.replace(FIELD, (_, path: string) => {
    const value = valueAt(item, path);
    if (typeof value === 'string' || typeof value === 'number') return String(value);
    throw new TaskError(`{${path}}`, 'a text or a number', described(value), 'Compare the template with the items.');
  });

/**
 * What an item has at a path; undefined where it ends before.
 *
 * @example
 * valueAt({ choices: { label: ['A', 'B'] } }, 'choices.label.1'); // => 'B'
 */
export const valueAt = (item: Item, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>(
      (value, key) =>
        typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Item)[key] : undefined,
      item,
    );

/** The texts that an item has at a path. */
export function textsAt(item: Item, path: string): readonly string[] {
  const value = valueAt(item, path);
  if (Array.isArray(value) && value.length > 0 && value.every((text) => typeof text === 'string')) return value;
  throw new TaskError(path, 'a list of texts', described(value), 'Compare the task with the items.');
}

/** A value in an error: short. */
export const described = (value: unknown): string =>
  value === undefined ? 'nothing' : (JSON.stringify(value) ?? String(value)).slice(0, 60);
