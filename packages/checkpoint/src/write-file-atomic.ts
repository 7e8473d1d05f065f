/** Files that are there as a whole or not at all: written under another name beside their place, then renamed. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

/** Writes a file that replaces the one of that name only when it is complete. Folders on the way are made. */
export async function writeFileAtomic(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = await writeTemporary(path, (handle) => handle.writeFile(content));
  try {
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Writes under a temporary name beside `path`, and gives that name; after a failure nothing is left. */
export async function writeTemporary(path: string, write: (handle: FileHandle) => Promise<void>): Promise<string> {
  const temporary = temporaryName(path);
  await mkdir(dirname(temporary), { recursive: true });
  try {
    const handle = await open(temporary, 'wx');
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return temporary;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A hidden name beside `path` that nobody else uses. */
export function temporaryName(path: string): string {
  const full = resolve(path);
  return join(dirname(full), `.${basename(full)}.${randomBytes(6).toString('hex')}.partial`);
}
