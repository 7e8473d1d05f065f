/** JSON files, with errors that name them. */
import { readFile } from 'node:fs/promises';
import { type JsonObject, parseJsonObject } from './json.ts';

/** The object in a JSON file. Throws a `FormatError` for invalid JSON, repeated keys, and anything but an object. */
export const readJson = async (path: string): Promise<JsonObject> =>
  parseJsonObject((await readFile(path, 'utf8')).replace(/^\uFEFF/, ''), path, 'file');

/** The object in a JSON file, or nothing when there is no such file. */
export async function readJsonIfThere(path: string): Promise<JsonObject | undefined> {
  try {
    return await readJson(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
