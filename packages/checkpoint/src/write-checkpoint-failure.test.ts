import * as files from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { temporaryDirectory } from '../test/temporary-directory.ts';
import { writeTinyCheckpoint } from '../test/tiny-checkpoint.ts';
import { openCheckpoint } from './checkpoint.ts';
import { writeCheckpoint } from './write-checkpoint.ts';

vi.mock('node:fs/promises', async (actual) => {
  const own = await actual<typeof files>();
  return { ...own, rename: vi.fn(own.rename) };
});

test('after a failure while files of the user are moved, everything is as it was', async () => {
  const root = await temporaryDirectory();
  const [source, to] = [join(root, 'from'), join(root, 'to')];
  await files.mkdir(source);
  await writeTinyCheckpoint(source);
  const from = await openCheckpoint(source);
  const write = (bits: number) =>
    writeCheckpoint(to, { from, weights: from.weights, dtype: 'float32', json: { 'quantization.json': { bits } } });
  await write(8);
  for (const name of ['a.txt', 'busy.txt']) await files.writeFile(join(to, name), name);

  const { rename } = await vi.importActual<typeof files>('node:fs/promises');
  vi.mocked(files.rename).mockImplementation(async (old, next) => {
    if (String(old).endsWith('busy.txt')) throw new Error('EBUSY');
    await rename(old, next);
  });
  await expect(write(4)).rejects.toThrow('EBUSY');
  expect((await files.readdir(to)).filter((name) => name.endsWith('.txt'))).toEqual(['a.txt', 'busy.txt']);
  expect(await files.readFile(join(to, 'quantization.json'), 'utf8')).toContain('8');
  expect((await files.readdir(root)).sort()).toEqual(['from', 'to']);
});
