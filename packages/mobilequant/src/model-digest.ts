/** What tells one model directory from another: names and sizes of its files, and the contents of the small ones. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

const SMALL = 2 ** 24; // config, tokenizer, and how it was quantized

/** SHA-256 over the files of a directory, subdirectories aside; by default all that are not hidden. */
export async function modelDigest(
  directory: string,
  belongs: (name: string) => boolean = (name) => !name.startsWith('.'),
): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(directory, { withFileTypes: true });
  const names = entries.filter((entry) => !entry.isDirectory() && belongs(entry.name)).map(({ name }) => name);
  for (const name of names.sort()) {
    const path = join(directory, name);
    const { size } = await stat(path);
    hash.update(`${name} ${size}\n`);
    if (size <= SMALL) hash.update(await readFile(path));
  }
  return hash.digest('hex');
}
