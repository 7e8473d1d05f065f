/** A file that is read at random places, opened anew for each piece of work; that it has not changed in between is checked. */
import { type FileHandle, open } from 'node:fs/promises';
import type { StoredArray } from './dtype.ts';
import { FormatError } from './errors.ts';

/** Reads places of a file that is open. */
export interface PlaceReader {
  /** The bytes at a position. Throws a `FormatError` if the file ends before. */
  read(position: number, length: number): Promise<Uint8Array>;
  /** Fills an array with the bytes at a position. Throws a `FormatError` if the file ends before. */
  fill(position: number, out: StoredArray): Promise<void>;
}

/** A file as it was when it was looked at first. */
export interface StampedFile {
  readonly path: string;
  readonly bytes: number;
  /** Opens the file for a piece of work. Throws a `FormatError` if it has changed. */
  use<T>(work: (reader: PlaceReader) => Promise<T>): Promise<T>;
}

/** Looks at a file; no handle stays open. */
export async function stampedFile(path: string): Promise<StampedFile> {
  const { bytes, stamp } = await withHandle(path, stampOf);
  return {
    path,
    bytes,
    use: (work) =>
      withHandle(path, async (handle) => {
        if ((await stampOf(handle)).stamp !== stamp) {
          const [expected, received] = ['the file that was opened', 'a changed one'];
          throw new FormatError({ file: path, where: 'file', expected, received, cure: 'Open it again.' });
        }
        return work({
          read: async (position, length) => {
            const bytes = new Uint8Array(length);
            await fill(handle, path, position, bytes);
            return bytes;
          },
          fill: (position, out) => fill(handle, path, position, out),
        });
      }),
  };
}

async function withHandle<T>(path: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(path, 'r');
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

async function stampOf(handle: FileHandle): Promise<{ bytes: number; stamp: string }> {
  const { ino, size, mtimeMs } = await handle.stat();
  return { bytes: size, stamp: `${ino} ${size} ${mtimeMs}` };
}

/** A single read may return less than it was asked for, and cannot exceed 2 GB. */
async function fill(handle: FileHandle, file: string, position: number, out: StoredArray): Promise<void> {
  const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(bytes.length - done, 1 << 30);
    const { bytesRead } = await handle.read(bytes, done, length, position + done);
    if (bytesRead === 0) {
      const expected = `${bytes.length} bytes at ${position}`;
      throw new FormatError({ file, where: 'data', expected, received: `${done} bytes before the end` });
    }
    done += bytesRead;
  }
}
