/** Where results may go; found out before hours of work, not after. */
import { access, constants, readdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';

/**
 * Checks that a directory can be written, and is new, empty, or one of ours.
 *
 * @param isOurs by the names of what is in it.
 * @param ours what that is called.
 * @throws QuantizedDirectoryError
 */
export async function checkOutput(
  directory: string,
  isOurs: (entries: readonly string[]) => boolean,
  ours: string,
): Promise<void> {
  const fail = (expected: string, received: string): never => {
    throw new QuantizedDirectoryError(directory, expected, received, 'Choose another.');
  };
  const entries = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    return fail('a directory to write to', error.code === 'ENOTDIR' ? 'a file' : (error.code ?? error.message));
  });
  if (entries?.length && !isOurs(entries)) {
    const received = entries.slice(0, 5).join(', ') + (entries.length > 5 ? ', …' : '');
    fail(`a new or empty directory, or one with ${ours}`, received);
  }
  // It is written beside its place and then renamed, so the folder above must be writable too.
  for (const folder of [directory, dirname(resolve(directory))]) {
    const denied = await deniedAt(folder);
    if (denied) fail('a place that can be written to', `no permission for ${denied}`);
  }
}

/** The folder, or the nearest one above it that exists, where it cannot be written to. */
async function deniedAt(folder: string): Promise<string | undefined> {
  try {
    await access(folder, constants.W_OK);
    return undefined;
  } catch (error) {
    const above = dirname(resolve(folder));
    return (error as NodeJS.ErrnoException).code === 'ENOENT' && above !== folder ? deniedAt(above) : folder;
  }
}
