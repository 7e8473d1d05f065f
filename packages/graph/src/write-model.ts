/**
 * Writes a model file, and large weights beside it, one at a time: never all in memory, never half a model on disk.
 */
import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { byteLength } from './element-type.ts';
import type { Graph, Initializer } from './graph.ts';
import { dataOf, type EncodeOptions, type ExternalReference, encodeModel } from './serde.ts';

/** `auto`: external data for models whose weights pass 128 MiB. */
export type ExternalDataChoice = boolean | 'auto';

export interface WriteModelOptions extends Omit<EncodeOptions, 'external'> {
  /** Whether large weights go to a file beside the model, `<model's name>.data`. Default `auto`. */
  readonly externalData?: ExternalDataChoice;
  /** What that file's name has behind the model's. Default `.data`. */
  readonly dataSuffix?: string;
  /** Bytes from which an initializer is large. Default 1024. */
  readonly threshold?: number;
  /** Large weights that lie beside the model already, by their digest: they are referred to, not written again. New ones are added. */
  readonly shared?: SharedWeights;
}

/** SHA-256 of a tensor's bytes → where they lie, for models of one folder. */
export type SharedWeights = Map<string, ExternalReference>;

export interface WrittenModel {
  readonly path: string;
  /** The file of large weights, if there is one. */
  readonly dataPath?: string;
  /** Of both files together. */
  readonly bytes: number;
}

const AUTO_LIMIT = 2 ** 27;
const ALIGNMENT = 4096; // a page, so that ONNX Runtime can map the file instead of reading it
const CHUNK = 2 ** 28; // a single write stays far from 2 GiB

/**
 * Writes a graph as an ONNX file. Data that functions make are made, written and forgotten one after the other. Both files are written
 * under temporary names first; an existing model is replaced only when all is there.
 *
 * @throws GraphError as `encodeModel`.
 */
export async function writeModel(
  graph: Graph,
  path: string,
  { externalData = 'auto', dataSuffix = '.data', threshold = 1024, shared, ...options }: WriteModelOptions = {},
): Promise<WrittenModel> {
  const sizes = [...graph.initializers.values()].map(({ type, shape }) => byteLength(type, shape));
  const isExternal = externalData === 'auto' ? sizes.reduce((sum, size) => sum + size, 0) > AUTO_LIMIT : externalData;
  const large = [...graph.initializers.values()].filter(
    (_, i) => isExternal && (sizes[i] as number) >= Math.max(threshold, 1),
  );

  const location = basename(path) + dataSuffix;
  const dataPath = join(dirname(path), location);
  const suffix = `.${randomUUID().slice(0, 8)}.tmp`;
  const external = new Map<string, ExternalReference>();
  try {
    let bytes = 0;
    if (large.length > 0)
      bytes += await writeNew(dataPath + suffix, (handle) => writeTensors(handle, large, location, external, shared));
    const hasData = [...external.values()].some((reference) => reference.location === location);
    const model = await encodeModel(graph, { ...options, external });
    bytes += await writeNew(path + suffix, (handle) => writeAt(handle, model, 0));
    if (hasData) {
      await rm(path, { force: true }); // between the renames no model is better than one with another's weights
      await rename(dataPath + suffix, dataPath);
    }
    await rename(path + suffix, path);
    return { path, bytes, ...(hasData && { dataPath }) };
  } finally {
    await Promise.all([rm(dataPath + suffix, { force: true }), rm(path + suffix, { force: true })]);
  }
}

/** Writes tensors one behind the other, each at the start of a page, but for those that lie somewhere already; notes where each lies. */
async function writeTensors(
  handle: FileHandle,
  tensors: readonly Initializer[],
  location: string,
  places: Map<string, ExternalReference>,
  shared: SharedWeights | undefined,
): Promise<number> {
  let end = 0;
  for (const tensor of tensors) {
    const data = await dataOf(tensor);
    const digest = shared && createHash('sha256').update(data).digest('hex');
    const known = digest !== undefined ? shared?.get(digest) : undefined;
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    const place = known ?? { location, offset, length: byteLength(tensor.type, tensor.shape) };
    if (!known) end = await writeAt(handle, data, offset);
    if (digest !== undefined) shared?.set(digest, place);
    places.set(tensor.name, place);
  }
  return end;
}

/** Gives back where the bytes end. */
async function writeAt(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<number> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, Math.min(bytes.length - at, CHUNK), offset + at);
    at += bytesWritten;
  }
  return offset + bytes.length;
}

async function writeNew(path: string, write: (handle: FileHandle) => Promise<number>): Promise<number> {
  const handle = await open(path, 'wx');
  try {
    const bytes = await write(handle);
    await handle.sync();
    return bytes;
  } finally {
    await handle.close();
  }
}
