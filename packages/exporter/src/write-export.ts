/**
 * Exported files in a directory, all or none.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type SharedWeights, writeModel } from '@mobilequant/graph/node';
import { ExportError } from './errors.ts';
import type { ExportFiles } from './export-target.ts';

/**
 * Writes files into a directory, which is made if it is not there. Everything is written under a temporary name beside it
 * first: an interrupted export leaves what was there. In the end the files are renamed one after another, external data first. Weights that
 * several graphs of a folder have are written once.
 *
 * @returns bytes of each file that was written, external data included.
 * @throws ExportError for a path that leads out of the directory.
 */
export async function writeExport(directory: string, files: ExportFiles): Promise<Map<string, number>> {
  for (const path of files.keys()) checkPath(path);
  const target = resolve(directory);
  const temporary = `${target}.${randomUUID().slice(0, 8)}.tmp`;
  try {
    const written = new Map<string, number>();
    const shared = new Map<string, SharedWeights>(); // by folder
    for (const [path, content] of files) {
      const to = join(temporary, path);
      await mkdir(dirname(to), { recursive: true });
      if (typeof content === 'string' || content instanceof Uint8Array) {
        await writeFile(to, content);
        written.set(path, Buffer.byteLength(content));
      } else {
        const own = shared.get(dirname(to)) ?? new Map();
        shared.set(dirname(to), own);
        written.set(path, (await writeModel(content, to, { externalData: true, shared: own })).bytes);
      }
    }
    await moveInto(temporary, target);
    return written;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Weights first, so that no model is there without its own. */
async function moveInto(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  const entries = await readdir(from, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(from.length + 1));
  const isData = (path: string) => path.endsWith('.data');
  for (const path of [...paths.filter(isData), ...paths.filter((path) => !isData(path))]) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await rename(join(from, path), join(to, path));
  }
}

function checkPath(path: string): void {
  const parts = path.split('/');
  if (path !== '' && !path.includes('\\') && parts.every((part) => part !== '' && part !== '.' && part !== '..'))
    return;
  throw new ExportError(
    path,
    'a path inside the exported directory',
    JSON.stringify(path),
    'Name files with / between parts.',
  );
}
