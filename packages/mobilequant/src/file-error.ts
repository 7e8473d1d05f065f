/** Files that the user names: what the system says of those that cannot be read, in words. */
import { readFile } from 'node:fs/promises';

/** A file that is not there, or cannot be read. */
export class FileError extends Error {
  override readonly name = 'FileError';

  constructor(path: string, received: string, advice: string, options?: ErrorOptions) {
    super(`${path}: expected a file, got ${received}. ${advice}`, options);
  }
}

const RECEIVED: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'a directory',
  EACCES: 'no permission',
};

/**
 * What `read` makes of a file.
 *
 * @throws FileError where the system does not give it; else what `read` throws.
 */
export async function fromFile<T>(
  path: string,
  read: (path: string) => Promise<T>,
  advice = 'Check the path.',
): Promise<T> {
  return read(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.errno === undefined) throw cause; // a file that is not in order says so itself
    throw new FileError(path, RECEIVED[cause.code ?? ''] ?? String(cause.code), advice, { cause });
  });
}

/** A file's text. @throws FileError where there is none. */
export const readText = (path: string): Promise<string> => fromFile(path, (file) => readFile(file, 'utf8'));
