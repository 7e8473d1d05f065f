/**
 * GGUF's ways to store numbers, as float32. A quantized row is cut into blocks, each with its own scale:
 *
 *     x = d * q           Q4_0, Q5_0, Q8_0: d is a float16
 *     x = d * q + m       Q4_1, Q5_1
 *     x = d * s * q - …   Q2_K … Q6_K: 256 numbers, in groups with integer scales `s` (and minimums) that share a float16
 *
 * Every product fits float32 or is rounded once, when it is stored: results equal ggml's bit by bit.
 */
import { float16Values, fromBfloat16, fromFloat16 } from './float16.ts';

/** A way to store numbers that is understood here. */
export type GgmlType =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'F64'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K';

/** What there is to know about a way to store numbers. */
export interface GgmlTypeInfo {
  readonly type: GgmlType;
  /** Its number in a GGUF header. */
  readonly code: number;
  /** Numbers in a block, and the bytes that it takes. */
  readonly block: number;
  readonly bytes: number;
  /** Writes the numbers of whole blocks. */
  readonly unpack: (bytes: Uint8Array, out: Float32Array) => void;
}

/** Writes the numbers of the block at byte `from` to `to` and on. */
type UnpackBlock = (from: number, to: number, source: Source, out: Float32Array) => void;

interface Source {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The values of float16 bits. */
  readonly half: Float32Array;
}

const blocksOf = (
  type: GgmlType,
  code: number,
  block: number,
  bytes: number,
  unpackBlock: UnpackBlock,
): GgmlTypeInfo => ({
  type,
  code,
  block,
  bytes,
  unpack(source, out) {
    const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
    const all = { bytes: source, view, half: float16Values() };
    for (let from = 0, to = 0; to < out.length; from += bytes, to += block) unpackBlock(from, to, all, out);
  },
});

/** A copy that begins a buffer, as typed arrays of wider numbers want it. */
const aligned = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer as ArrayBuffer;

// biome-ignore format: a table reads better aligned
const TABLE: readonly GgmlTypeInfo[] = [
  { type: 'F32',  code: 0,  block: 1, bytes: 4, unpack: (bytes, out) => out.set(new Float32Array(aligned(bytes))) },
  { type: 'F64',  code: 28, block: 1, bytes: 8, unpack: (bytes, out) => out.set(new Float64Array(aligned(bytes))) },
  { type: 'F16',  code: 1,  block: 1, bytes: 2, unpack: (bytes, out) => fromFloat16(new Uint16Array(aligned(bytes)), out) },
  { type: 'BF16', code: 30, block: 1, bytes: 2, unpack: (bytes, out) => fromBfloat16(new Uint16Array(aligned(bytes)), out) },
  blocksOf('Q4_0', 2,  32,  18,  unpackQ4_0),
  blocksOf('Q4_1', 3,  32,  20,  unpackQ4_1),
  blocksOf('Q5_0', 6,  32,  22,  unpackQ5_0),
  blocksOf('Q5_1', 7,  32,  24,  unpackQ5_1),
  blocksOf('Q8_0', 8,  32,  34,  unpackQ8_0),
  blocksOf('Q2_K', 10, 256, 84,  unpackQ2_K),
  blocksOf('Q3_K', 11, 256, 110, unpackQ3_K),
  blocksOf('Q4_K', 12, 256, 144, unpackQ4_K),
  blocksOf('Q5_K', 13, 256, 176, unpackQ5_K),
  blocksOf('Q6_K', 14, 256, 210, unpackQ6_K),
];

const byType: ReadonlyMap<string, GgmlTypeInfo> = new Map(TABLE.map((info) => [info.type, info]));
const byCode: ReadonlyMap<number, GgmlTypeInfo> = new Map(TABLE.map((info) => [info.code, info]));

/** All ways to store numbers that are understood. */
export const ggmlTypes: readonly GgmlType[] = TABLE.map(({ type }) => type);

/** The facts of a way to store numbers. */
export const ggmlTypeInfo = (type: GgmlType): GgmlTypeInfo => byType.get(type) as GgmlTypeInfo;

/** The way to store numbers that a GGUF header calls by a number, if it is understood. */
export const ggmlTypeFromCode = (code: number): GgmlTypeInfo | undefined => byCode.get(code);

/** The numbers in whole blocks, in float32. Writes as many as `out` holds: a multiple of the block. */
export function dequantize(type: GgmlType, bytes: Uint8Array, out: Float32Array): void {
  const { block, bytes: size, unpack } = ggmlTypeInfo(type);
  const count = out.length / block;
  if (!Number.isInteger(count) || bytes.length !== count * size) {
    throw new RangeError(
      `dequantize: expected blocks of ${size} bytes for ${block} numbers, got ${bytes.length} for ${out.length}.`,
    );
  }
  unpack(bytes, out);
}

const halfAt = ({ view, half }: Source, at: number): number => half[view.getUint16(at, true)] as number;

// The low halves of 16 bytes are the first 16 numbers of a block, the high halves the others.

/** d: float16, 16 bytes */
function unpackQ4_0(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from);
  for (let i = 0; i < 16; i++) {
    const pair = bytes[from + 2 + i] as number;
    out[to + i] = d * ((pair & 15) - 8);
    out[to + 16 + i] = d * ((pair >> 4) - 8);
  }
}

/** d, m: float16, 16 bytes */
function unpackQ4_1(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from);
  const m = halfAt(source, from + 2);
  for (let i = 0; i < 16; i++) {
    const pair = bytes[from + 4 + i] as number;
    out[to + i] = d * (pair & 15) + m;
    out[to + 16 + i] = d * (pair >> 4) + m;
  }
}

/** d: float16, 32 fifth bits, 16 bytes */
function unpackQ5_0(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes, view } = source;
  const d = halfAt(source, from);
  const high = view.getUint32(from + 2, true);
  for (let i = 0; i < 16; i++) {
    const pair = bytes[from + 6 + i] as number;
    out[to + i] = d * (((pair & 15) | (((high >>> i) & 1) << 4)) - 16);
    out[to + 16 + i] = d * (((pair >> 4) | (((high >>> (16 + i)) & 1) << 4)) - 16);
  }
}

/** d, m: float16, 32 fifth bits, 16 bytes */
function unpackQ5_1(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes, view } = source;
  const d = halfAt(source, from);
  const m = halfAt(source, from + 2);
  const high = view.getUint32(from + 4, true);
  for (let i = 0; i < 16; i++) {
    const pair = bytes[from + 8 + i] as number;
    out[to + i] = d * ((pair & 15) | (((high >>> i) & 1) << 4)) + m;
    out[to + 16 + i] = d * ((pair >> 4) | (((high >>> (16 + i)) & 1) << 4)) + m;
  }
}

/** d: float16, 32 signed bytes */
function unpackQ8_0(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from);
  for (let i = 0; i < 32; i++) out[to + i] = d * signed(bytes[from + 2 + i] as number);
}

const signed = (byte: number): number => (byte << 24) >> 24;

// K-quants: 32 bytes hold what they have for 32 numbers in their lowest bits, for the next 32 in the bits above, and so on.

/** 16 scales and minimums of 4 bits, 64 bytes of 2-bit numbers, d, dmin: float16 */
function unpackQ2_K(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from + 80);
  const dmin = halfAt(source, from + 82);
  for (let group = 0; group < 16; group++) {
    const both = bytes[from + group] as number;
    const scale = d * (both & 15);
    const min = dmin * (both >> 4);
    const packed = from + 16 + (group >> 3) * 32 + (group & 1) * 16;
    const shift = ((group >> 1) & 3) * 2;
    for (let i = 0; i < 16; i++) {
      out[to + group * 16 + i] = scale * (((bytes[packed + i] as number) >> shift) & 3) - min;
    }
  }
}

/** 32 bytes of third bits, 64 of the lower two, 16 scales of 6 bits, d: float16. A third bit that is *not* set takes 4 away. */
function unpackQ3_K(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from + 108);
  const scales = from + 96;
  for (let group = 0; group < 16; group++) {
    const low = (bytes[scales + (group & 7)] as number) >> (group < 8 ? 0 : 4);
    const high = (bytes[scales + 8 + (group & 3)] as number) >> ((group >> 2) * 2);
    const scale = d * (((low & 15) | ((high & 3) << 4)) - 32);
    const column = (group & 1) * 16;
    const packed = from + 32 + (group >> 3) * 32 + column;
    const shift = ((group >> 1) & 3) * 2;
    for (let i = 0; i < 16; i++) {
      const third = ((bytes[from + column + i] as number) >> (group >> 1)) & 1;
      out[to + group * 16 + i] = scale * ((((bytes[packed + i] as number) >> shift) & 3) - 4 * (1 - third));
    }
  }
}

/** d, dmin: float16, 8 scales and minimums of 6 bits in 12 bytes, 128 bytes of 4-bit numbers */
function unpackQ4_K(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from);
  const dmin = halfAt(source, from + 2);
  for (let group = 0; group < 8; group++) {
    const scale = d * scaleOf(bytes, from + 4, group);
    const min = dmin * minOf(bytes, from + 4, group);
    const packed = from + 16 + (group >> 1) * 32;
    const shift = (group & 1) * 4;
    for (let i = 0; i < 32; i++) {
      out[to + group * 32 + i] = scale * (((bytes[packed + i] as number) >> shift) & 15) - min;
    }
  }
}

/** As Q4_K, with 32 bytes of fifth bits before the others */
function unpackQ5_K(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from);
  const dmin = halfAt(source, from + 2);
  for (let group = 0; group < 8; group++) {
    const scale = d * scaleOf(bytes, from + 4, group);
    const min = dmin * minOf(bytes, from + 4, group);
    const packed = from + 48 + (group >> 1) * 32;
    const shift = (group & 1) * 4;
    for (let i = 0; i < 32; i++) {
      const fifth = ((bytes[from + 16 + i] as number) >> group) & 1;
      const q = (((bytes[packed + i] as number) >> shift) & 15) | (fifth << 4);
      out[to + group * 32 + i] = scale * q - min;
    }
  }
}

/** Of 8 scales and 8 minimums, four each have bytes of their own; the others share bytes, and take the first ones' upper two bits. */
function scaleOf(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return (bytes[at + group] as number) & 63;
  return ((bytes[at + group + 4] as number) & 15) | (((bytes[at + group - 4] as number) >> 6) << 4);
}

function minOf(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return (bytes[at + group + 4] as number) & 63;
  return ((bytes[at + group + 4] as number) >> 4) | (((bytes[at + group] as number) >> 6) << 4);
}

/** 128 bytes of lower four bits, 64 of upper two, 16 signed scales, d: float16 */
function unpackQ6_K(from: number, to: number, source: Source, out: Float32Array): void {
  const { bytes } = source;
  const d = halfAt(source, from + 208);
  for (let group = 0; group < 16; group++) {
    const scale = d * signed(bytes[from + 192 + group] as number);
    const column = (group & 1) * 16;
    const quarter = (group >> 1) & 3; // of the 128 numbers that a half of the block holds
    const low = from + (group >> 3) * 64 + (quarter & 1) * 32 + column;
    const high = from + 128 + (group >> 3) * 32 + column;
    const lowShift = (quarter >> 1) * 4;
    const highShift = quarter * 2;
    for (let i = 0; i < 16; i++) {
      const q =
        (((bytes[low + i] as number) >> lowShift) & 15) | ((((bytes[high + i] as number) >> highShift) & 3) << 4);
      out[to + group * 16 + i] = scale * (q - 32);
    }
  }
}
