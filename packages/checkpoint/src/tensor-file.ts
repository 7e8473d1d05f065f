/**
 * What files of tensors have in common: a list of tensors that is known when the file is opened, and ways to read one, or some
 * rows of one. A format only has to say where each tensor lies.
 */
import { type DType, dtypeInfo, type StoredArray } from './dtype.ts';
import { FormatError } from './errors.ts';
import { fromBfloat16, fromFloat16 } from './float16.ts';
import { elementsOf } from './safetensors.ts';
import type { PlaceReader, StampedFile } from './stamped-file.ts';

const CHUNK_ELEMENTS = 1 << 22; // what is converted at once, so that reading needs little more than its result

/** What a file says about a tensor. */
export interface TensorInfo {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** An opened file of tensors. */
export interface TensorFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** A tensor's elements as the file stores them, row-major. */
  readStored(name: string): Promise<StoredArray>;
  /** A floating-point tensor in float32, row-major. Throws a `FormatError` for other types. */
  readFloat32(name: string): Promise<Float32Array>;
  /** Some rows of a floating-point matrix `[rows, columns]` in float32, one after another. */
  readRows(name: string, rows: ArrayLike<number>): Promise<Float32Array>;
}

/** Where a tensor lies: its first element's byte, and, unless it is row-major, the elements between neighbours of each axis. */
export interface TensorPlace extends TensorInfo {
  readonly begin: number;
  readonly strides?: readonly number[] | undefined;
}

/** The readers of a file whose tensors lie at known places, all of them within the file. */
export function tensorFile(source: StampedFile, tensors: ReadonlyMap<string, TensorPlace>): TensorFile {
  const file = source.path;
  const placeOf = (name: string): TensorPlace => {
    const place = tensors.get(name);
    if (place) return place;
    const [where, expected] = [`tensor '${name}'`, 'a tensor of that name'];
    throw new FormatError({ file, where, expected, received: 'none', cure: 'Check the name.' });
  };
  const readFloat32 = async (name: string): Promise<Float32Array> => {
    const { dtype, shape, begin, strides } = placeOf(name);
    requireFloat(file, name, dtype);
    const out = new Float32Array(strides ? spanOf(shape, strides) : elementsOf(shape));
    await source.use((reader) => readFloats(reader, begin, dtype, out));
    return strides ? gather(out, shape, strides) : out;
  };
  return {
    path: file,
    tensors,
    readStored: async (name) => {
      const { dtype, shape, begin, strides } = placeOf(name);
      const count = strides ? spanOf(shape, strides) : elementsOf(shape);
      const stored = await source.use((reader) => readElements(reader, begin, dtype, count));
      return strides ? gather(stored, shape, strides) : stored;
    },
    readFloat32,
    readRows: async (name, rows) => {
      const { dtype, shape, begin, strides } = placeOf(name);
      requireFloat(file, name, dtype);
      const columns = columnsOf(name, shape, rows);
      const out = new Float32Array(rows.length * columns);
      if (strides) {
        const whole = await readFloat32(name);
        for (let i = 0; i < rows.length; i++) {
          const start = (rows[i] as number) * columns;
          out.set(whole.subarray(start, start + columns), i * columns);
        }
        return out;
      }
      const rowBytes = columns * dtypeInfo(dtype).bytes;
      return source.use(async (reader) => {
        for (const { at, first, count } of contiguousRuns(rows)) {
          const part = out.subarray(at * columns, (at + count) * columns);
          await readFloats(reader, begin + first * rowBytes, dtype, part);
        }
        return out;
      });
    },
  };
}

/** Whether a type is one of those that are read as float32. */
const isReadableFloat = (dtype: DType): boolean => dtype === 'float32' || dtype === 'float64' || is16BitFloat(dtype);

/** Whether a type is stored in 16 bits and has no typed array of its own. */
export const is16BitFloat = (dtype: DType): boolean => dtype === 'float16' || dtype === 'bfloat16';

/** Elements from a strided tensor's first to its last, those between included. */
function spanOf(shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((last, size, axis) => last + (size - 1) * (strides[axis] as number), 0) + 1;
}

/** The elements of a strided tensor in row-major order. */
function gather<T extends StoredArray>(span: T, shape: readonly number[], strides: readonly number[]): T {
  const values = span as unknown as Float32Array; // whatever it holds: elements are only moved
  const out = new (span.constructor as new (size: number) => Float32Array)(elementsOf(shape));
  const inner = shape.at(-1) ?? 1;
  const innerStride = strides.at(-1) ?? 1;
  const index = new Array<number>(shape.length).fill(0);
  for (let to = 0, from = 0; to < out.length; ) {
    for (let i = 0; i < inner; i++) out[to++] = values[from + i * innerStride] as number;
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      from += strides[axis] as number;
      index[axis] = (index[axis] as number) + 1;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      from -= (shape[axis] as number) * (strides[axis] as number);
      index[axis] = 0;
    }
  }
  return out as unknown as T;
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

/** The columns of a matrix, all of whose rows that are asked for exist. Throws a `RangeError` otherwise. */
export function columnsOf(name: string, shape: readonly number[], rows: ArrayLike<number>): number {
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
export function* contiguousRuns(rows: ArrayLike<number>): Generator<{ at: number; first: number; count: number }> {
  for (let at = 0; at < rows.length; ) {
    const first = rows[at] as number;
    let count = 1;
    while (rows[at + count] === first + count) count++;
    yield { at, first, count };
    at += count;
  }
}

async function readFloats(reader: PlaceReader, position: number, dtype: DType, out: Float32Array): Promise<void> {
  if (dtype === 'float32') return reader.fill(position, out);
  const { bytes } = dtypeInfo(dtype);
  for (let start = 0; start < out.length; start += CHUNK_ELEMENTS) {
    const part = out.subarray(start, start + CHUNK_ELEMENTS);
    const stored = await readElements(reader, position + start * bytes, dtype, part.length);
    if (dtype === 'float16') fromFloat16(stored as Uint16Array, part);
    else if (dtype === 'bfloat16') fromBfloat16(stored as Uint16Array, part);
    else part.set(stored as Float64Array);
  }
}

async function readElements(reader: PlaceReader, position: number, dtype: DType, count: number): Promise<StoredArray> {
  const { bytes, array } = dtypeInfo(dtype);
  const stored = new array(new ArrayBuffer(count * bytes));
  await reader.fill(position, stored);
  return stored;
}
