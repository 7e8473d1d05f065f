/** JSON files, with errors that name them. */
import { readFile, stat } from 'node:fs/promises';
import { FormatError } from './errors.ts';
import { type JsonObject, parseJsonObject } from './json.ts';

const MAX_BYTES = 1 << 28; // the largest tokenizers have some 2^25

/** The object in a JSON file. Throws a `FormatError` for invalid JSON, repeated keys, and anything but an object. */
export async function readJson(path: string): Promise<JsonObject> {
  const { size } = await stat(path);
  if (size > MAX_BYTES) {
    throw new FormatError({ file: path, where: 'file', expected: `at most ${MAX_BYTES} bytes`, received: `${size}` });
  }
  return parseJsonObject((await readFile(path, 'utf8')).replace(/^\uFEFF/, ''), path, 'file');
}

/** The object in a JSON file, or nothing when there is neither such a file nor such a folder. */
export async function readJsonIfThere(path: string): Promise<JsonObject | undefined> {
  try {
    return await readJson(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
