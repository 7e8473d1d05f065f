/**
 * A safetensors file on disk: the header is read and checked when it is opened, tensors only when they are asked for, and of
 * them only the bytes that are asked for.
 */
import type { DType, StoredArray } from './dtype.ts';
import { PREFIX_BYTES, parseHeader, parseHeaderLength, type SafetensorsHeader } from './safetensors.ts';
import { stampedFile } from './stamped-file.ts';
import { is16BitFloat, type TensorFile, tensorFile } from './tensor-file.ts';

/** A tensor in memory; float16 and bfloat16 are widened to float32, the rest is as stored. */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: StoredArray;
}

/** An opened safetensors file. */
export interface SafetensorsFile extends TensorFile {
  readonly header: SafetensorsHeader;
}

/** Opens a safetensors file. Throws a `FormatError` if its header is not in order. */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const source = await stampedFile(path);
  const { header, dataStart } = await source.use(async ({ read }) => {
    const prefix = await read(0, Math.min(PREFIX_BYTES, source.bytes));
    const length = parseHeaderLength(prefix, source.bytes, path);
    const dataStart = PREFIX_BYTES + length;
    return { header: parseHeader(await read(PREFIX_BYTES, length), source.bytes - dataStart, path), dataStart };
  });
  const places = [...header.tensors].map(([name, { dtype, shape, begin }]) => {
    return [name, { dtype, shape, begin: dataStart + begin }] as const;
  });
  return { ...tensorFile(source, new Map(places)), header };
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
