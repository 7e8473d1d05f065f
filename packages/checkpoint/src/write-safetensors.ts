/**
 * Safetensors files, written one tensor at a time: shapes and types are known first, so the header is complete before any data
 * is asked for, and no more than one tensor is in memory. Everything goes under temporary names that are exchanged at the end.
 */
import { type FileHandle, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { dtypeInfo, type StoredArray } from './dtype.ts';
import { OverflowError } from './errors.ts';
import { toBfloat16, toFloat16 } from './float16.ts';
import { elementsOf, encodeHeader, type TensorSpec, tensorBytes } from './safetensors.ts';
import { writeFileAtomic, writeTemporary } from './write-file-atomic.ts';

const CHUNK_ELEMENTS = 1 << 22; // what is converted and written at once

/** A tensor whose data is made when its turn comes. */
export interface TensorSource extends TensorSpec {
  /** The elements, row-major: as stored, or in float32 for any floating-point type of 16 or 32 bits. */
  readonly data: () => Promise<StoredArray> | StoredArray;
}

/** How a file is written. */
export interface WriteSafetensorsOptions {
  /** Beyond this many bytes of data, several files with an index are written; a tensor is never divided. */
  readonly maxShardBytes?: number;
}

/** What was written. */
export interface WrittenFiles {
  /** The names of the files, in the folder of the path that was given; the index last, if there is one. */
  readonly files: readonly string[];
  /** Bytes of tensor data. */
  readonly bytes: number;
}

/**
 * Writes tensors to a file `x.safetensors`, or to `x-00001-of-0000N.safetensors`, … with `x.safetensors.index.json`.
 * Names are written as they are. Throws an `OverflowError` when a 16-bit type cannot hold a finite value; whatever fails,
 * what was there before stays.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  metadata: Readonly<Record<string, string>> = {},
  { maxShardBytes = Number.POSITIVE_INFINITY }: WriteSafetensorsOptions = {},
): Promise<WrittenFiles> {
  const all = [...tensors];
  encodeHeader(all); // finds repeated names across shards
  const shards = inShards(all, maxShardBytes);
  const names = shards.map((_, index) => shardName(basename(path), index, shards.length));
  const bytes = all.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);

  const pending: (readonly [temporary: string, final: string])[] = [];
  try {
    for (const [index, shard] of shards.entries()) {
      const final = join(dirname(path), names[index] as string);
      pending.push([await writeTemporary(final, (handle) => writeShard(handle, shard, metadata)), final]);
    }
    for (const [temporary, final] of pending) await rename(temporary, final);
  } catch (error) {
    for (const [temporary] of pending) await rm(temporary, { force: true });
    throw error;
  }
  if (shards.length === 1) return { files: names, bytes };

  const index = `${basename(path)}.index.json`;
  const weightMap = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]])));
  await writeFileAtomic(join(dirname(path), index), toJson({ metadata: { total_size: bytes }, weight_map: weightMap }));
  await rm(path, { force: true }); // a single file of that name would be read instead
  return { files: [...names, index], bytes };
}

const toJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** `model.safetensors` -> `model-00001-of-00003.safetensors`. */
function shardName(file: string, index: number, count: number): string {
  if (count === 1) return file;
  const digits = (value: number) => String(value).padStart(5, '0');
  return file.replace(/(\.safetensors)?$/, `-${digits(index + 1)}-of-${digits(count)}.safetensors`);
}

/** Fills shards in order, each up to the limit or with one tensor that exceeds it. */
function inShards(tensors: readonly TensorSource[], limit: number): TensorSource[][] {
  const shards: TensorSource[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor.dtype, tensor.shape);
    if (size + bytes > limit && shards.at(-1)?.length) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)?.push(tensor);
    size += bytes;
  }
  return shards;
}

async function writeShard(
  handle: FileHandle,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  // Wide types first, as the format's own writer does: then every tensor lies on a multiple of its element size.
  const sorted = tensors.toSorted((a, b) => dtypeInfo(b.dtype).bytes - dtypeInfo(a.dtype).bytes);
  await writeAll(handle, encodeHeader(sorted, metadata).bytes);
  for (const tensor of sorted) {
    const data = await tensor.data();
    checkData(tensor, data);
    for (let start = 0; start < data.length; start += CHUNK_ELEMENTS) {
      await writeAll(handle, stored(tensor, data.subarray(start, start + CHUNK_ELEMENTS)));
    }
  }
}

function checkData({ name, dtype, shape }: TensorSource, data: StoredArray): void {
  const { array } = dtypeInfo(dtype);
  const converts = data instanceof Float32Array && (dtype === 'float16' || dtype === 'bfloat16');
  if (!(data instanceof array || converts) || data.length !== elementsOf(shape)) {
    throw new RangeError(
      `tensor '${name}': expected ${array.name} of ${elementsOf(shape)} elements for ${dtype} [${shape.join(', ')}], ` +
        `got ${data.constructor.name} of ${data.length}.`,
    );
  }
}

/** The elements in their stored form. */
function stored({ name, dtype }: TensorSource, data: StoredArray): StoredArray {
  if (!(data instanceof Float32Array) || dtype === 'float32') return data;
  const { bits, overflows, firstOverflow } = dtype === 'float16' ? toFloat16(data) : toBfloat16(data);
  if (firstOverflow !== undefined)
    throw new OverflowError({ tensor: name, dtype, count: overflows, value: firstOverflow });
  return bits;
}

async function writeAll(handle: FileHandle, data: StoredArray): Promise<void> {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}
