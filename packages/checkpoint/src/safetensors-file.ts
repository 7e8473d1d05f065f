/**
 * A safetensors file on disk: the header is read and checked when it is opened, tensors only when they are asked for, and of
 * them only the bytes that are asked for. No handle stays open between reads; that the file has not changed in between is checked.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { type DType, dtypeInfo, type StoredArray } from './dtype.ts';
import { FormatError } from './errors.ts';
import { fromBfloat16, fromFloat16 } from './float16.ts';
import {
  elementsOf,
  PREFIX_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors.ts';

const CHUNK_ELEMENTS = 1 << 22; // what is converted at once, so that reading needs little more than its result

/** A tensor in memory; float16 and bfloat16 are widened to float32, the rest is as stored. */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: StoredArray;
}

/** An opened safetensors file. */
export interface SafetensorsFile {
  readonly path: string;
  readonly header: SafetensorsHeader;
  /** A tensor's elements as the file stores them. */
  readStored(name: string): Promise<StoredArray>;
  /** A floating-point tensor in float32, row-major. Throws a `FormatError` for other types. */
  readFloat32(name: string): Promise<Float32Array>;
  /** Some rows of a floating-point matrix `[rows, columns]` in float32, one after another. */
  readRows(name: string, rows: ArrayLike<number>): Promise<Float32Array>;
}

/** Opens a safetensors file. Throws a `FormatError` if its header is not in order. */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const { header, dataStart, stamp } = await readHead(path);

  const entryOf = (name: string): TensorEntry => {
    const entry = header.tensors.get(name);
    if (!entry)
      throw new FormatError({
        file: path,
        where: `tensor '${name}'`,
        expected: 'a tensor of that name',
        received: 'none',
        cure: 'Check the name.',
      });
    return entry;
  };
  const withFile = async <T>(work: (handle: FileHandle) => Promise<T>): Promise<T> => {
    const handle = await open(path, 'r');
    try {
      if ((await stampOf(handle)) !== stamp) {
        throw new FormatError({
          file: path,
          where: 'file',
          expected: 'the file that was opened',
          received: 'a changed one',
          cure: 'Open it again.',
        });
      }
      return await work(handle);
    } finally {
      await handle.close();
    }
  };

  return {
    path,
    header,
    readStored: async (name) => {
      const { dtype, shape, begin } = entryOf(name);
      return withFile((handle) => readElements(handle, path, dataStart + begin, dtype, elementsOf(shape)));
    },
    readFloat32: async (name) => {
      const { dtype, shape, begin } = entryOf(name);
      requireFloat(path, name, dtype);
      const out = new Float32Array(elementsOf(shape));
      return withFile(async (handle) => {
        await readFloats(handle, path, dataStart + begin, dtype, out);
        return out;
      });
    },
    readRows: async (name, rows) => {
      const { dtype, shape, begin } = entryOf(name);
      requireFloat(path, name, dtype);
      const columns = columnsOf(name, shape, rows);
      const out = new Float32Array(rows.length * columns);
      const rowBytes = columns * dtypeInfo(dtype).bytes;
      return withFile(async (handle) => {
        for (const { at, first, count } of contiguousRuns(rows)) {
          const part = out.subarray(at * columns, (at + count) * columns);
          await readFloats(handle, path, dataStart + begin + first * rowBytes, dtype, part);
        }
        return out;
      });
    },
  };
}

/** Every tensor of a file in memory, and its metadata. */
export async function readSafetensors(
  path: string,
): Promise<{ readonly tensors: ReadonlyMap<string, Tensor>; readonly metadata: Readonly<Record<string, string>> }> {
  const file = await openSafetensors(path);
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape }] of file.header.tensors) {
    const data = is16BitFloat(dtype) ? await file.readFloat32(name) : await file.readStored(name);
    tensors.set(name, { dtype, shape, data });
  }
  return { tensors, metadata: file.header.metadata };
}

/** Whether a type is one of those that are read as float32. */
export const isReadableFloat = (dtype: DType): boolean =>
  dtype === 'float32' || dtype === 'float64' || is16BitFloat(dtype);

const is16BitFloat = (dtype: DType): boolean => dtype === 'float16' || dtype === 'bfloat16';

async function readHead(path: string): Promise<{ header: SafetensorsHeader; dataStart: number; stamp: string }> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const prefix = await readBytes(handle, path, 0, Math.min(PREFIX_BYTES, size));
    const length = parseHeaderLength(prefix, size, path);
    const dataStart = PREFIX_BYTES + length;
    const header = parseHeader(await readBytes(handle, path, PREFIX_BYTES, length), size - dataStart, path);
    return { header, dataStart, stamp: await stampOf(handle) };
  } finally {
    await handle.close();
  }
}

async function stampOf(handle: FileHandle): Promise<string> {
  const { ino, size, mtimeMs } = await handle.stat();
  return `${ino} ${size} ${mtimeMs}`;
}

function requireFloat(file: string, name: string, dtype: DType): void {
  if (isReadableFloat(dtype)) return;
  throw new FormatError({
    file,
    where: `tensor '${name}'`,
    expected: 'a floating-point tensor of 16 to 64 bits',
    received: dtype,
    cure: 'Read it as it is stored.',
  });
}

function columnsOf(name: string, shape: readonly number[], rows: ArrayLike<number>): number {
  const [count, columns] = shape;
  if (shape.length !== 2 || count === undefined || columns === undefined) {
    throw new RangeError(`readRows: expected a matrix, got '${name}' of shape [${shape.join(', ')}].`);
  }
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    if (!(Number.isInteger(row) && row >= 0 && row < count)) {
      throw new RangeError(`readRows: expected rows of '${name}' from 0 to ${count - 1}, got ${row}.`);
    }
  }
  return columns;
}

/** Splits a list of rows into runs that follow each other in the file: rows `first …` go to places `at …`. */
function* contiguousRuns(rows: ArrayLike<number>): Generator<{ at: number; first: number; count: number }> {
  for (let at = 0; at < rows.length; ) {
    const first = rows[at] as number;
    let count = 1;
    while (rows[at + count] === first + count) count++;
    yield { at, first, count };
    at += count;
  }
}

async function readFloats(
  handle: FileHandle,
  file: string,
  position: number,
  dtype: DType,
  out: Float32Array,
): Promise<void> {
  if (dtype === 'float32') return fill(handle, file, position, out);
  const { bytes } = dtypeInfo(dtype);
  for (let start = 0; start < out.length; start += CHUNK_ELEMENTS) {
    const part = out.subarray(start, start + CHUNK_ELEMENTS);
    const stored = await readElements(handle, file, position + start * bytes, dtype, part.length);
    if (dtype === 'float16') fromFloat16(stored as Uint16Array, part);
    else if (dtype === 'bfloat16') fromBfloat16(stored as Uint16Array, part);
    else part.set(stored as Float64Array);
  }
}

async function readElements(
  handle: FileHandle,
  file: string,
  position: number,
  dtype: DType,
  count: number,
): Promise<StoredArray> {
  const { bytes, array } = dtypeInfo(dtype);
  const stored = new array(new ArrayBuffer(count * bytes));
  await fill(handle, file, position, stored);
  return stored;
}

async function readBytes(handle: FileHandle, file: string, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await fill(handle, file, position, bytes);
  return bytes;
}

/** Fills an array with the bytes at a position; a single read may return less, and cannot exceed 2 GB. */
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
