/**
 * What the element types are made of: one table, and the questions it answers.
 */
import { GraphError } from './errors.ts';
import type { ElementType, TensorType } from './graph.ts';

/** The typed array that stores a type: float16 as bits, bool as 0 and 1, 4-bit types two in a byte. */
export type Elements =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Int32Array
  | BigInt64Array;

interface ElementFacts {
  /** ONNX's `TensorProto.DataType`. */
  readonly code: number;
  readonly bits: number;
  readonly array: new (buffer: ArrayBufferLike, byteOffset: number, length: number) => Elements;
}

// biome-ignore format: a table
const FACTS: Readonly<Record<ElementType, ElementFacts>> = {
  float32: { code: 1,  bits: 32, array: Float32Array },
  uint8:   { code: 2,  bits: 8,  array: Uint8Array },
  int8:    { code: 3,  bits: 8,  array: Int8Array },
  uint16:  { code: 4,  bits: 16, array: Uint16Array },
  int16:   { code: 5,  bits: 16, array: Int16Array },
  int32:   { code: 6,  bits: 32, array: Int32Array },
  int64:   { code: 7,  bits: 64, array: BigInt64Array },
  bool:    { code: 9,  bits: 8,  array: Uint8Array },
  float16: { code: 10, bits: 16, array: Uint16Array },
  float64: { code: 11, bits: 64, array: Float64Array },
  uint4:   { code: 21, bits: 4,  array: Uint8Array },
  int4:    { code: 22, bits: 4,  array: Uint8Array },
};

/** Every element type. */
export const ELEMENT_TYPES: readonly ElementType[] = Object.keys(FACTS) as ElementType[];

/** ONNX's number for a type, as in the attribute `to` of Cast. */
export function elementCode(type: ElementType): number {
  return FACTS[type].code;
}

/** The type that has ONNX's number `code`; undefined for a type that is not supported. */
export function elementTypeOfCode(code: number): ElementType | undefined {
  return ELEMENT_TYPES.find((type) => FACTS[type].code === code);
}

/** Bytes an element takes: 0.5 for 4-bit types. */
export function elementSize(type: ElementType): number {
  return FACTS[type].bits / 8;
}

/** Number of elements of a shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1);
}

/**
 * Bytes that a tensor takes. 4-bit types are rounded up to whole bytes.
 *
 * @throws GraphError when a dimension is no whole number ≥ 0, or the size is past exact integers.
 * @example
 * byteLength('int4', [3, 5]); // => 8
 */
export function byteLength(type: ElementType, shape: readonly number[]): number {
  const bytes = Math.ceil(elementCount(shape) * elementSize(type));
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(bytes)) {
    throw new GraphError({
      where: 'byteLength',
      expected: 'whole dimensions of a possible size',
      received: `[${shape.join(', ')}]`,
    });
  }
  return bytes;
}

/** The elements that little-endian bytes hold, without a copy where the alignment allows it. */
export function typedArrayOf(type: ElementType, bytes: Uint8Array): Elements {
  const { array, bits } = FACTS[type];
  const size = Math.max(bits / 8, 1);
  if (bytes.byteLength % size !== 0) {
    throw new GraphError({
      where: 'typedArrayOf',
      expected: `a multiple of ${size} bytes for ${type}`,
      received: `${bytes.byteLength}`,
    });
  }
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes);
  return new array(aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
}

/** Whether a typed array is the one that stores a type. */
export function isStorageOf(type: ElementType, elements: Elements): boolean {
  return elements instanceof FACTS[type].array;
}

/** A type as text: `float32[4, tokens]`. */
export function formatType({ type, shape }: TensorType): string {
  return `${type}[${shape.map((size) => (size === '' ? '?' : size)).join(', ')}]`;
}
