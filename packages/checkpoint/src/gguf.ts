/**
 * The head of a GGUF file, as plain data.
 *
 *     "GGUF"  version: u32  tensors: u64  entries: u64
 *     entries: { key: text, type: u32, value }                                   text: u64 length, UTF-8
 *     tensors: { name: text, axes: u32, sizes: u64[axes], type: u32, offset: u64 }
 *     data, from the next multiple of general.alignment on
 *
 * A header is a claim by whoever made the file. Every length and count is held against the bytes that are left before
 * anything of its size is made, and tensors must follow each other as ggml lays them out: nothing shared, nothing hidden.
 * (`@huggingface/gguf` is not used for it: it fills what is missing at the end of a file with zeros and reads on, cuts texts
 * at the end of a chunk, drops byte order marks, lets repeated keys win, and checks no offset: all of this would have to be
 * checked before, which is reading the header.)
 */
import { FormatError } from './errors.ts';
import { type GgmlType, ggmlTypeFromCode, ggmlTypes } from './gguf-blocks.ts';

/** A metadata value. Integers that a number cannot hold are bigints. */
export type GgufValue = number | bigint | boolean | string | GgufArray;

/** A list in the metadata. */
export type GgufArray =
  | readonly string[]
  | readonly boolean[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array;

/** What a GGUF file says about a tensor. */
export interface GgufTensor {
  readonly type: GgmlType;
  /** Outermost first, as everywhere here; the file has them the other way round. */
  readonly shape: readonly number[];
  /** Where it begins, in bytes from the start of the file. */
  readonly begin: number;
  readonly bytes: number;
}

/** What a GGUF file says about itself. */
export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** The longest header that is read; those of real models have up to some 20 MB, nearly all of it vocabulary. */
export const MAX_GGUF_HEADER_BYTES: number = 64 << 20;

const MAX_ENTRIES = 1 << 16; // of metadata, and of tensors; real models have at most some thousands
const MAX_AXES = 4; // as ggml
const MIN_ENTRY_BYTES = 8 + 4 + 1;
const MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8;

/**
 * A checked header from the first bytes of a file, or nothing when more of them are needed. Throws a `FormatError` for any
 * contradiction, and for versions, types and layouts that are not understood.
 */
export function parseGgufHeader(bytes: Uint8Array, fileBytes: number, file: string): GgufHeader | undefined {
  try {
    return parse(new Cursor(bytes, fileBytes, file));
  } catch (error) {
    if (error === MORE) return undefined;
    throw error;
  }
}

function parse(cursor: Cursor): GgufHeader {
  const version = parseVersion(cursor);
  const tensorCount = cursor.count('tensor', ' count', MIN_TENSOR_BYTES, MAX_ENTRIES);
  const entryCount = cursor.count('metadata', ' count', MIN_ENTRY_BYTES, MAX_ENTRIES);

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i++) {
    const key = cursor.name(`metadata key ${i}`);
    if (metadata.has(key)) cursor.fail(`metadata '${key}'`, 'each key once', 'it twice');
    metadata.set(key, parseValue(cursor, `metadata '${key}'`));
  }

  const claims = new Map<string, Claim>();
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.name(`tensor name ${i}`);
    if (claims.has(name)) cursor.fail(`tensor '${name}'`, 'each name once', 'it twice');
    claims.set(name, parseClaim(cursor, `tensor '${name}'`));
  }
  return { version, metadata, tensors: place(claims, alignmentOf(metadata, cursor), cursor) };
}

function parseVersion(cursor: Cursor): number {
  const magic = cursor.u32('magic');
  if (magic !== 0x46554747) cursor.fail('magic', "'GGUF'", `0x${magic.toString(16).padStart(8, '0')}`);
  const version = cursor.u32('version');
  if (version === 2 || version === 3) return version;
  const cure = 'Convert the model with a current llama.cpp.';
  const swapped = version !== 0 && (version & 0xffff) === 0;
  return cursor.fail('version', '2 or 3, little endian', swapped ? 'a big-endian file' : `${version}`, cure);
}

/** A tensor as the header describes it, not yet held against the file. */
interface Claim {
  readonly type: GgmlType;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly offset: number;
}

function parseClaim(cursor: Cursor, where: string): Claim {
  const axes = cursor.u32(`${where} axes`);
  if (axes < 1 || axes > MAX_AXES) cursor.fail(`${where} axes`, `1 to ${MAX_AXES}`, `${axes}`);
  const shape: number[] = [];
  let elements = 1;
  for (let axis = 0; axis < axes; axis++) {
    const size = cursor.u64(`${where} size`);
    if (size < 1) cursor.fail(`${where} size`, 'whole numbers from 1', `${size}`);
    elements *= size;
    if (!Number.isSafeInteger(elements * 8)) cursor.fail(`${where} size`, 'a size that can be counted', `${size}`);
    shape.unshift(size);
  }
  const code = cursor.u32(`${where} type`);
  const info = ggmlTypeFromCode(code);
  if (!info) {
    const cure = 'Get the model in one of these formats.';
    return cursor.fail(`${where} type`, `one of ${ggmlTypes.join(', ')}`, FOREIGN_TYPES[code] ?? `${code}`, cure);
  }
  const columns = shape.at(-1) as number;
  if (columns % info.block !== 0) {
    cursor.fail(`${where} size`, `rows of whole blocks of ${info.block} (${info.type})`, `${columns} columns`);
  }
  const offset = cursor.u64(`${where} offset`);
  return { type: info.type, shape, bytes: (elements / info.block) * info.bytes, offset };
}

/** Tensors lie one after another, each on a multiple of the alignment, all of them within the file. */
function place(claims: ReadonlyMap<string, Claim>, alignment: number, cursor: Cursor): Map<string, GgufTensor> {
  const dataStart = align(cursor.position, alignment);
  const tensors = new Map<string, GgufTensor>();
  let next = 0;
  for (const [name, { type, shape, bytes, offset }] of claims) {
    if (offset !== next) cursor.fail(`tensor '${name}' offset`, `${next}, behind the tensor before`, `${offset}`);
    const begin = dataStart + offset;
    if (begin + bytes > cursor.fileBytes) {
      cursor.fail(`tensor '${name}'`, `its end within ${cursor.fileBytes} bytes`, `${begin + bytes}`);
    }
    tensors.set(name, { type, shape, begin, bytes });
    next = align(offset + bytes, alignment);
  }
  return tensors;
}

const align = (position: number, alignment: number): number => Math.ceil(position / alignment) * alignment;

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, cursor: Cursor): number {
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment === 'number' && Number.isInteger(Math.log2(alignment)) && alignment >= 1) return alignment;
  return cursor.fail("metadata 'general.alignment'", 'a power of 2', describe(alignment));
}

/** A metadata value in a few words, for messages. */
export function describe(value: GgufValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'object') return `a list of ${value.length}`;
  if (typeof value !== 'string') return `${value}`;
  return value.length > 40 ? `'${value.slice(0, 40)}…'` : `'${value}'`;
}

/** The kinds of values: bytes of an element, how one is read, and how a list of them is made from bytes. */
interface Kind {
  readonly bytes: number;
  readonly read: (cursor: Cursor, where: string) => GgufValue;
  readonly list: (cursor: Cursor, count: number, where: string) => GgufArray;
}

type TypedArray = Exclude<GgufArray, readonly string[] | readonly boolean[]>;

function numbers(array: new (buffer: ArrayBuffer) => TypedArray, bytes: number): Kind {
  const list = (cursor: Cursor, count: number, where: string): TypedArray =>
    new array(cursor.take(count * bytes, where).slice().buffer as ArrayBuffer);
  const read = (cursor: Cursor, where: string): GgufValue => {
    const value = list(cursor, 1, where)[0] as number | bigint;
    return typeof value === 'bigint' && BigInt(Number(value)) === value && Number.isSafeInteger(Number(value))
      ? Number(value)
      : value;
  };
  return { bytes, read, list };
}

const BOOL: Kind = {
  bytes: 1,
  read: (cursor, where) => booleanOf(cursor, cursor.take(1, where)[0] as number, where),
  list: (cursor, count, where) => Array.from(cursor.take(count, where), (byte) => booleanOf(cursor, byte, where)),
};

const TEXT: Kind = {
  bytes: 8,
  read: (cursor, where) => cursor.text(where),
  list: (cursor, count, where) => {
    const texts: string[] = [];
    while (texts.length < count) texts.push(cursor.text(where));
    return texts;
  },
};

const KINDS: readonly (Kind | undefined)[] = [
  numbers(Uint8Array, 1),
  numbers(Int8Array, 1),
  numbers(Uint16Array, 2),
  numbers(Int16Array, 2),
  numbers(Uint32Array, 4),
  numbers(Int32Array, 4),
  numbers(Float32Array, 4),
  BOOL,
  TEXT,
  undefined, // a list
  numbers(BigUint64Array, 8),
  numbers(BigInt64Array, 8),
  numbers(Float64Array, 8),
];

const LIST = 9;

function parseValue(cursor: Cursor, where: string): GgufValue {
  const code = cursor.u32(`${where} type`);
  const isList = code === LIST;
  const elementCode = isList ? cursor.u32(`${where} element type`) : code;
  const kind = KINDS[elementCode];
  if (!kind) {
    const received = elementCode === LIST ? 'a list of lists' : `type ${elementCode}`;
    return cursor.fail(where, 'a number, a text, true or false, or a list of them', received);
  }
  if (!isList) return kind.read(cursor, where);
  return kind.list(cursor, cursor.count(where, ' length', kind.bytes, Number.POSITIVE_INFINITY), where);
}

function booleanOf(cursor: Cursor, byte: number, where: string): boolean {
  if (byte > 1) cursor.fail(where, 'true (1) or false (0)', `${byte}`);
  return byte === 1;
}

const MORE = Symbol('more bytes are needed');

/** Reads one thing after another, never beyond the bytes that are there. */
class Cursor {
  position = 0;
  readonly fileBytes: number;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly file: string;

  constructor(bytes: Uint8Array, fileBytes: number, file: string) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.fileBytes = fileBytes;
    this.file = file;
  }

  fail(where: string, expected: string, received: string, cure?: string): never {
    throw new FormatError({ file: this.file, where, expected, received, ...(cure && { cure }) });
  }

  /** Moves on by some bytes, and says where they begin. */
  private advance(length: number, where: string): number {
    const start = this.position;
    const end = start + length;
    if (end > this.fileBytes) this.fail(where, `${length} bytes at ${start}`, `a file of ${this.fileBytes}`);
    if (end > MAX_GGUF_HEADER_BYTES) this.fail(where, `a header of at most ${MAX_GGUF_HEADER_BYTES} bytes`, `${end}`);
    if (end > this.bytes.length) throw MORE;
    this.position = end;
    return start;
  }

  take(length: number, where: string): Uint8Array {
    const start = this.advance(length, where);
    return this.bytes.subarray(start, start + length);
  }

  u32(where: string): number {
    return this.view.getUint32(this.advance(4, where), true);
  }

  u64(where: string, what = ''): number {
    const at = this.advance(8, where);
    const high = this.view.getUint32(at + 4, true); // in halves: a bigint for each text of a vocabulary takes longer
    if (high >= 2 ** 21) this.fail(where + what, 'a number below 2^53', `${this.view.getBigUint64(at, true)}`);
    return high * 2 ** 32 + this.view.getUint32(at, true);
  }

  /** A number of things that take at least some bytes each: no more than can follow. */
  count(where: string, what: string, bytesEach: number, limit: number): number {
    const count = this.u64(where, what);
    const left = Math.min(this.fileBytes, MAX_GGUF_HEADER_BYTES) - this.position;
    const most = Math.min(limit, Math.floor(left / bytesEach));
    if (count > most) this.fail(where + what, `at most ${most}`, `${count}`);
    return count;
  }

  /** A text; bytes that are not UTF-8 are replaced, as a vocabulary may hold some. */
  text(where: string): string {
    const bytes = this.textBytes(where);
    return bytes.length === 0 ? '' : lenient.decode(bytes);
  }

  /** A text that something is called by. */
  name(where: string): string {
    const bytes = this.textBytes(where);
    if (bytes.length === 0) this.fail(where, 'a name', 'nothing');
    try {
      return strict.decode(bytes);
    } catch {
      return this.fail(where, 'a name', 'bytes that are not UTF-8');
    }
  }

  private textBytes(where: string): Uint8Array {
    return this.take(this.count(where, ' length', 1, Number.POSITIVE_INFINITY), where);
  }
}

const lenient = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

/** What other numbers of types stand for, for messages. */
const FOREIGN_TYPES: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
  40: 'NVFP4',
  41: 'Q1_0',
};
