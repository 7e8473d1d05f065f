import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../test/temporary-directory.ts';
import { writeFileAtomic } from './write-file-atomic.ts';

test('texts and bytes are written, folders made, and what was there is replaced', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'deep', 'er', 'file');
  await writeFileAtomic(path, 'ä');
  expect(await readFile(path, 'utf8')).toBe('ä');
  await writeFileAtomic(path, Uint8Array.of(1, 2));
  expect([...(await readFile(path))]).toEqual([1, 2]);
  expect(await readdir(join(directory, 'deep', 'er'))).toEqual(['file']);
});

test('a failure leaves nothing behind', async () => {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, 'taken', 'full'), { recursive: true });
  await expect(writeFileAtomic(join(directory, 'taken'), 'x')).rejects.toThrow();
  expect(await readdir(directory)).toEqual(['taken']);
});
