/** The element types of safetensors: their names there and here, their size, and the typed array that holds them as stored. */

/** An element type. */
export type DType =
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'float64'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'bool'
  | 'float8_e4m3'
  | 'float8_e5m2'
  | 'float8_e8m0';

/** Elements as a file stores them: float16, bfloat16 and float8 by their bits. */
export type StoredArray =
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint32Array
  | Uint16Array
  | Uint8Array;

/** What there is to know about an element type. */
export interface DTypeInfo {
  readonly dtype: DType;
  /** Its name in a safetensors header. */
  readonly tag: string;
  readonly bytes: number;
  /** The typed array of its stored form. */
  readonly array: new (
    buffer: ArrayBuffer,
  ) => StoredArray;
}

// biome-ignore format: a table reads better aligned
const TABLE: readonly DTypeInfo[] = [
  { dtype: 'float32',     tag: 'F32',     bytes: 4, array: Float32Array },
  { dtype: 'float16',     tag: 'F16',     bytes: 2, array: Uint16Array },
  { dtype: 'bfloat16',    tag: 'BF16',    bytes: 2, array: Uint16Array },
  { dtype: 'float64',     tag: 'F64',     bytes: 8, array: Float64Array },
  { dtype: 'int64',       tag: 'I64',     bytes: 8, array: BigInt64Array },
  { dtype: 'int32',       tag: 'I32',     bytes: 4, array: Int32Array },
  { dtype: 'int16',       tag: 'I16',     bytes: 2, array: Int16Array },
  { dtype: 'int8',        tag: 'I8',      bytes: 1, array: Int8Array },
  { dtype: 'uint64',      tag: 'U64',     bytes: 8, array: BigUint64Array },
  { dtype: 'uint32',      tag: 'U32',     bytes: 4, array: Uint32Array },
  { dtype: 'uint16',      tag: 'U16',     bytes: 2, array: Uint16Array },
  { dtype: 'uint8',       tag: 'U8',      bytes: 1, array: Uint8Array },
  { dtype: 'bool',        tag: 'BOOL',    bytes: 1, array: Uint8Array },
  { dtype: 'float8_e4m3', tag: 'F8_E4M3', bytes: 1, array: Uint8Array },
  { dtype: 'float8_e5m2', tag: 'F8_E5M2', bytes: 1, array: Uint8Array },
  { dtype: 'float8_e8m0', tag: 'F8_E8M0', bytes: 1, array: Uint8Array },
];

const byName: ReadonlyMap<string, DTypeInfo> = new Map(TABLE.map((info) => [info.dtype, info]));
const byTag: ReadonlyMap<string, DTypeInfo> = new Map(TABLE.map((info) => [info.tag, info]));

/** All element types, by their names in a safetensors header. */
export const dtypeTags: readonly string[] = TABLE.map((info) => info.tag);

/** The facts of an element type. */
export const dtypeInfo = (dtype: DType): DTypeInfo => byName.get(dtype) as DTypeInfo;

/** The element type of a safetensors name, if there is one. */
export const dtypeFromTag = (tag: string): DTypeInfo | undefined => byTag.get(tag);
