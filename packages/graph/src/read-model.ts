/**
 * Reads a model file, and what lies outside it only when it is asked for, tensor by tensor.
 *
 * Where a tensor lies is said by the file, which may come from anywhere: a location must stay inside the model's folder,
 * and the range inside the file that was there when the model was read.
 */
import { constants, type FileHandle, open, readFile, realpath } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { FormatError, GraphError } from './errors.ts';
import type { Graph } from './graph.ts';
import { type DecodeOptions, decodeModel, type ExternalReference } from './serde.ts';

/** A file, as far as it can be told from another of the same name. */
interface Identity {
  readonly path: string;
  readonly size: number;
  readonly modified: number;
  readonly inode: number;
}

/**
 * The graph in an ONNX file. Initializers in external data files are functions that read their range.
 *
 * @throws FormatError when the file is no model that `decodeModel` reads, or refers to data that are not in its folder.
 */
export async function readModel(path: string): Promise<Graph> {
  const folder = await realpath(dirname(path));
  const files = new Map<string, Identity>();
  const references: [string, ExternalReference][] = [];
  const graph = decode(path, await readFile(path), (reference, { name }) => {
    references.push([name, reference]);
    return () => readRange(files.get(reference.location) as Identity, reference, name);
  });
  for (const [name, { location, offset, length }] of references) {
    const where = `${path}: initializer '${name}'`;
    const file = files.get(location) ?? (await identify(folder, location, where));
    files.set(location, file);
    if (offset + length > file.size) {
      throw new FormatError({
        where,
        expected: `bytes ${offset} … ${offset + length} of '${location}'`,
        received: `a file of ${file.size} bytes`,
        advice: 'The data file is truncated, or belongs to another model.',
      });
    }
  }
  return graph;
}

/** As `decodeModel`, with the path in errors. */
function decode(path: string, bytes: Uint8Array, external: NonNullable<DecodeOptions['external']>): Graph {
  try {
    return decodeModel(bytes, { external });
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new FormatError(
      { where: `${path}: ${cause.where}`, expected: cause.expected, received: cause.received },
      { cause },
    );
  }
}

/** The file of a location, if it is one inside the folder. */
async function identify(folder: string, location: string, where: string): Promise<Identity> {
  const expected = 'an external data file inside the folder of the model';
  const received = JSON.stringify(location);
  const parts = location.split('/');
  const odd = ['\\', ':', '\0'].some((character) => location.includes(character)); // other systems' separators, and ends of names
  if (odd || parts.includes('') || parts.includes('..')) throw new FormatError({ where, expected, received });
  let path: string;
  try {
    path = await realpath(join(folder, ...parts));
  } catch (cause) {
    throw new FormatError(
      { where, expected: `the data file ${received} beside the model`, received: 'none that can be read' },
      { cause },
    );
  }
  const root = folder.endsWith(sep) ? folder : folder + sep;
  if (!path.startsWith(root)) throw new FormatError({ where, expected, received: `${received}, a link out of it` });
  return withFile(path, async (handle) => {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new FormatError({ where, expected, received: `${received}, which is no file` });
    return { path, size: stats.size, modified: stats.mtimeMs, inode: stats.ino };
  });
}

async function readRange(
  file: Identity,
  { location, offset, length }: ExternalReference,
  name: string,
): Promise<Uint8Array> {
  return withFile(file.path, async (handle) => {
    const stats = await handle.stat();
    const where = `initializer '${name}'`;
    if (stats.size !== file.size || stats.mtimeMs !== file.modified || stats.ino !== file.inode) {
      throw new GraphError({
        where,
        expected: `'${location}' as it was when the model was read`,
        received: 'a changed file',
        advice: 'Read the model again.',
      });
    }
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const { bytesRead } = await handle.read(bytes, at, Math.min(length - at, 2 ** 30), offset + at);
      if (bytesRead === 0)
        throw new GraphError({ where, expected: `${length} bytes in '${location}'`, received: `${at}` });
      at += bytesRead;
    }
    return bytes;
  });
}

async function withFile<T>(path: string, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  // A pipe in place of the file must not make `open` wait.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    return await use(handle);
  } finally {
    await handle.close();
  }
}
