/**
 * JSON from files that are not trusted. `JSON.parse` lets a repeated key win silently; two readers of one file could then
 * see different tensors, so a repeated key is an error here.
 */
import { FormatError } from './errors.ts';

/** Any JSON value. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** A JSON object. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** The object that a text holds. Throws a `FormatError` for invalid JSON, repeated keys, and anything but an object. */
export function parseJsonObject(text: string, file: string, where: string): JsonObject {
  const fail = (received: string, cause?: unknown): never => {
    throw new FormatError({ file, where, expected: 'a JSON object', received }, { cause });
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail(text.trim() === '' ? 'nothing' : `invalid JSON: ${excerpt(text)}`, error);
  }
  const repeated = repeatedKey(text);
  if (repeated !== undefined) return fail(`the key ${JSON.stringify(repeated)} twice in one object`);
  return isJsonObject(value) ? value : fail(kindOf(value));
}

/** Whether a value is an object with keys. */
export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value in a few words, for messages. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (isJsonObject(value)) return 'an object';
  return excerpt(JSON.stringify(value) ?? String(value));
}

/** The beginning of a text, printable. */
function excerpt(text: string): string {
  const start = text.slice(0, 40).replaceAll(/[^\x20-\x7e]/g, '?');
  return text.length > 40 ? `${start}…` : start;
}

/** The first key that stands twice in one object of a valid JSON text: a string before a colon is a key. */
function repeatedKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (const [token, key] of text.matchAll(/("(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (token === '{') open.push(new Set());
    else if (token === '}') open.pop();
    else if (key !== undefined) {
      const name = JSON.parse(key) as string;
      const keys = open.at(-1) as Set<string>;
      if (keys.has(name)) return name;
      keys.add(name);
    }
  }
  return undefined;
}
