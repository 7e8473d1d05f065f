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
 * first: an interrupted export leaves what was there. In the end the files are renamed one after another, external data first; meanwhile no model is
 * there rather than one with another's weights. Weights that several graphs of a folder have are written once. Weights and encodings of a graph that is replaced go with it; other files stay.
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
        const { graph, ...name } = 'graph' in content ? content : { graph: content };
        written.set(path, (await writeModel(graph, to, { externalData: true, shared: own, ...name })).bytes);
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
  const isData = (path: string) => /[._]data$/.test(path);
  if (paths.some(isData))
    for (const path of paths) if (path.endsWith('.onnx')) await rm(join(to, path), { force: true });
  for (const path of [...paths.filter(isData), ...paths.filter((path) => !isData(path))]) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await rename(join(from, path), join(to, path));
  }
  await removeLeftOvers(to, paths);
}

/**
 * What lies beside a graph under its name belongs to it: where this export wrote none, it is that of the graph before. Weights stay where
 * another graph of the folder may read them.
 */
async function removeLeftOvers(to: string, written: readonly string[]): Promise<void> {
  for (const graph of written.filter((path) => path.endsWith('.onnx'))) {
    const beside = await readdir(dirname(join(to, graph)));
    const others = beside.filter((name) => name.endsWith('.onnx') && !written.includes(join(dirname(graph), name)));
    const weights = others.length === 0 ? [`${graph}.data`, `${graph}_data`] : [];
    for (const path of [...weights, graph.replace(/onnx$/, 'encodings')])
      if (!written.includes(path)) await rm(join(to, path), { force: true });
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
