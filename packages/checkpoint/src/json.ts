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

const MAX_DEPTH = 200; // nothing that describes a model comes near

/** The object that a text holds. Throws a `FormatError` for invalid JSON, repeated keys, absurd depth, and anything but an object. */
export function parseJsonObject(text: string, file: string, where: string): JsonObject {
  const fail = (received: string, cause?: unknown): never => {
    throw new FormatError({ file, where, expected: 'a JSON object', received }, { cause });
  };
  if (isTooDeep(text)) fail(`one of more than ${MAX_DEPTH} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail(text.trim() === '' ? 'nothing' : `invalid JSON: ${excerpt(text)}`, error);
  }
  const repeated = repeatedKey(text);
  if (repeated !== undefined) return fail(`the key ${excerpt(JSON.stringify(repeated))} twice in one object`);
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

/** Where the brackets and texts of a JSON text stand; of one that is not valid, as far as texts end. */
function* tokens(text: string): Generator<{ readonly kind: string; readonly begin: number; readonly end: number }> {
  const next = /["{}[\]]/g;
  for (let found = next.exec(text); found; found = next.exec(text)) {
    const begin = found.index;
    if (found[0] === '"') {
      const end = endOfText(text, begin);
      if (end < 0) return;
      next.lastIndex = end;
    }
    yield { kind: found[0], begin, end: next.lastIndex };
  }
}

/** The place after the quotation mark that ends a text: the first one without an odd number of backslashes before it. */
function endOfText(text: string, begin: number): number {
  for (let at = text.indexOf('"', begin + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
  return -1;
}

function isTooDeep(text: string): boolean {
  let depth = 0;
  for (const { kind } of tokens(text)) {
    if (kind === '{' || kind === '[') depth++;
    else if (kind !== '"') depth--;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}

/** The first key that stands twice in one object of a valid JSON text: a text before a colon is a key. */
function repeatedKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  const colon = /\s*:/y;
  for (const { kind, begin, end } of tokens(text)) {
    colon.lastIndex = end;
    if (kind === '{') open.push(new Set());
    else if (kind === '}') open.pop();
    else if (kind === '"' && colon.test(text)) {
      const name = JSON.parse(text.slice(begin, end)) as string;
      const keys = open.at(-1) as Set<string>;
      if (keys.has(name)) return name;
      keys.add(name);
    }
  }
  return undefined;
}
