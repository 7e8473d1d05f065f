/**
 * The head of a safetensors file, read and written as plain data.
 *
 *     8 bytes  length of the header, little endian
 *     header   JSON: { name: { dtype, shape, data_offsets: [begin, end] }, __metadata__?: { key: text } }
 *     data     the tensors, row-major, little endian, without holes
 *
 * A header is a claim by whoever made the file: everything in it is checked before a byte of data is believed.
 */
import { type DType, dtypeFromTag, dtypeInfo, dtypeTags } from './dtype.ts';
import { FormatError } from './errors.ts';
import { isJsonObject, type JsonValue, kindOf, parseJsonObject } from './json.ts';

/** Where a tensor lies, in bytes from the start of the data. */
export interface TensorEntry {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** What a safetensors file says about itself. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A tensor that is to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** The bytes before a header that say how long it is. */
export const PREFIX_BYTES = 8;

const MAX_HEADER_BYTES = 100_000_000; // as the format's own implementation

/** The header's length from a file's first bytes. Throws a `FormatError` if it is absurd. */
export function parseHeaderLength(prefix: Uint8Array, fileBytes: number, file: string): number {
  if (prefix.length < PREFIX_BYTES || fileBytes < PREFIX_BYTES) {
    const expected = 'a safetensors file of at least 8 bytes';
    throw new FormatError({ file, where: 'header length', expected, received: `${fileBytes} bytes` });
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true);
  const limit = Math.min(MAX_HEADER_BYTES, fileBytes - PREFIX_BYTES);
  if (length > BigInt(limit)) {
    const received = `${length} in a file of ${fileBytes} bytes`;
    throw new FormatError({ file, where: 'header length', expected: `at most ${limit} bytes`, received });
  }
  return Number(length);
}

/** A checked header, from its bytes and the number of data bytes that follow it. Throws a `FormatError` for any contradiction. */
export function parseHeader(bytes: Uint8Array, dataBytes: number, file: string): SafetensorsHeader {
  const { __metadata__: metadata = {}, ...claims } = parseJsonObject(decodeUtf8(bytes, file), file, 'header');
  const tensors = new Map(
    Object.entries(claims).map(([name, claim]) => [name, parseEntry(name, claim, dataBytes, file)]),
  );
  checkCoverage(tensors, dataBytes, file);
  return { tensors, metadata: parseMetadata(metadata, file) };
}

/** The start of a file, length and header, for tensors that follow each other in the given order, and where each will lie. */
export function encodeHeader(
  specs: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>> = {},
): { readonly bytes: Uint8Array; readonly tensors: ReadonlyMap<string, TensorEntry> } {
  const tensors = new Map<string, TensorEntry>();
  let end = 0;
  for (const { name, dtype, shape } of specs) {
    if (name === '__metadata__' || tensors.has(name)) {
      throw new RangeError(
        `safetensors: expected tensors with different names, got '${name}' ${tensors.has(name) ? 'twice' : 'as one'}.`,
      );
    }
    const begin = end;
    end += tensorBytes(dtype, shape);
    tensors.set(name, { dtype, shape, begin, end });
  }
  const entries = [...tensors].map(([name, { dtype, shape, begin, end }]) => [
    name,
    { dtype: dtypeInfo(dtype).tag, shape, data_offsets: [begin, end] },
  ]);
  const head = Object.keys(metadata).length ? [['__metadata__', metadata]] : [];
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries([...head, ...entries])));
  const padded = Math.ceil(json.length / 8) * 8; // data begins on a multiple of 8
  const bytes = new Uint8Array(PREFIX_BYTES + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, PREFIX_BYTES);
  return { bytes, tensors };
}

/** Elements of a shape. */
export const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** Bytes of a tensor. */
export const tensorBytes = (dtype: DType, shape: readonly number[]): number =>
  elementsOf(shape) * dtypeInfo(dtype).bytes;

function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(
      { file, where: 'header', expected: 'a JSON object', received: 'bytes that are not UTF-8' },
      { cause },
    );
  }
}

function parseMetadata(value: JsonValue, file: string): Record<string, string> {
  const fail = (where: string, expected: string, received: JsonValue): never => {
    throw new FormatError({ file, where, expected, received: kindOf(received) });
  };
  if (!isJsonObject(value)) return fail('__metadata__', 'an object of texts', value);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') fail(`__metadata__ '${key}'`, 'a text', text);
  }
  return value as Record<string, string>;
}

function parseEntry(name: string, claim: JsonValue, dataBytes: number, file: string): TensorEntry {
  const fail = (what: string, expected: string, received: string): never => {
    throw new FormatError({ file, where: `tensor '${name}'${what}`, expected, received });
  };
  if (!isJsonObject(claim)) return fail('', 'an object with dtype, shape and data_offsets', kindOf(claim));

  const info = typeof claim.dtype === 'string' ? dtypeFromTag(claim.dtype) : undefined;
  if (!info) return fail(' dtype', `one of ${dtypeTags.join(', ')}`, kindOf(claim.dtype));

  const { shape, data_offsets: offsets } = claim;
  if (!isSizes(shape)) return fail(' shape', 'a list of whole numbers from 0', shown(shape));
  if (!isSizes(offsets) || offsets.length !== 2) {
    return fail(' data_offsets', 'two whole numbers from 0', shown(offsets));
  }

  const [begin, end] = offsets as [number, number];
  if (end < begin) return fail(' data_offsets', 'begin ≤ end', shown(offsets));
  if (end > dataBytes) return fail(' data_offsets', `ranges within ${dataBytes} bytes of data`, shown(offsets));

  // The running product is checked, not the result: a zero size must not hide an overflow before it.
  let elements = 1;
  for (const size of shape) {
    elements *= size;
    if (!Number.isSafeInteger(elements * info.bytes)) return fail(' shape', 'a size that can be counted', shown(shape));
  }
  const bytes = elements * info.bytes;
  if (bytes !== end - begin) {
    return fail(' data_offsets', `${bytes} bytes for ${info.tag} ${shown(shape)}`, `${end - begin} bytes`);
  }
  return { dtype: info.dtype, shape, begin, end };
}

/** A list of numbers, or what stands in its place, in few words. */
const shown = (value: JsonValue | undefined): string =>
  Array.isArray(value) && value.length <= 16 ? `[${value.map(kindOf).join(',')}]` : kindOf(value);

const isSizes = (value: JsonValue | undefined): value is readonly number[] =>
  Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0 && !Object.is(item, -0));

/** Every byte of data belongs to exactly one tensor: nothing shared, nothing hidden. */
function checkCoverage(tensors: ReadonlyMap<string, TensorEntry>, dataBytes: number, file: string): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  let before = 'the start of the data';
  for (const [name, { begin, end }] of sorted) {
    if (begin !== covered) {
      const received =
        begin < covered
          ? `an overlap with ${before} of ${covered - begin} bytes`
          : `a hole of ${begin - covered} bytes`;
      throw new FormatError({
        file,
        where: `tensor '${name}' data_offsets`,
        expected: `a begin at ${covered}, after ${before}`,
        received,
      });
    }
    covered = end;
    before = `tensor '${name}'`;
  }
  if (covered !== dataBytes) {
    throw new FormatError({
      file,
      where: 'data',
      expected: `${covered} bytes, all that the header names`,
      received: `${dataBytes} bytes`,
    });
  }
}
