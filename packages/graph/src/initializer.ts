/**
 * Builds initializers from numbers, and reads numbers from their bytes.
 */
import { byteLength, type Elements, elementCount, formatType, isStorageOf, typedArrayOf } from './element-type.ts';
import { GraphError } from './errors.ts';
import { float16BitsToFloat32, float32ToFloat16Bits } from './float16.ts';
import type { ElementType, Initializer } from './graph.ts';

/**
 * A constant tensor. A plain array holds values; a typed array is taken as it is stored, without a copy (float16 as the bits in a
 * Uint16Array, 4-bit types as packed bytes in a Uint8Array).
 *
 * @throws GraphError when the values do not fit the type or the shape.
 * @example
 * initializer('axes', 'int64', [2], [0, 1]);
 * initializer('w', 'float32', [576, 1536], weights); // a Float32Array
 */
export function initializer(
  name: string,
  type: ElementType,
  shape: readonly number[],
  values: Elements | readonly number[],
): Initializer {
  const where = `initializer '${name}'`;
  const elements = isPlain(values) ? stored(type, values, where) : values;
  if (!isStorageOf(type, elements))
    throw new GraphError({ where, expected: `the typed array of ${type}`, received: elements.constructor.name });
  if (isPlain(values) && values.length !== elementCount(shape)) {
    throw new GraphError({
      where,
      expected: `${elementCount(shape)} values for ${formatType({ type, shape })}`,
      received: `${values.length}`,
    });
  }
  const data = new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength);
  const expected = byteLength(type, shape);
  if (data.length !== expected)
    throw new GraphError({
      where,
      expected: `${expected} bytes for ${formatType({ type, shape })}`,
      received: `${data.length}`,
    });
  return { name, type, shape, data };
}

/**
 * The numbers that bytes of a type and shape stand for; int64 only as exactly as a number can.
 *
 * @throws GraphError for another number of bytes.
 * @example
 * valuesOf({ type: 'int4', shape: [3] }, Uint8Array.of(0xf1, 0x07)); // => [1, -1, 7]
 */
export function valuesOf(
  { type, shape }: { readonly type: ElementType; readonly shape: readonly number[] },
  bytes: Uint8Array,
): number[] {
  const expected = byteLength(type, shape);
  if (bytes.byteLength !== expected)
    throw new GraphError({
      where: 'valuesOf',
      expected: `${expected} bytes for ${formatType({ type, shape })}`,
      received: `${bytes.byteLength}`,
    });
  const elements = typedArrayOf(type, bytes);
  if (type === 'float16') return Array.from(float16BitsToFloat32(elements as Uint16Array));
  if (type !== 'int4' && type !== 'uint4')
    return Array.from<number | bigint, number>(elements as ArrayLike<number>, Number);
  return Array.from({ length: elementCount(shape) }, (_, i) => {
    const level = ((bytes[i >> 1] as number) >> (4 * (i & 1))) & 15;
    return type === 'int4' && level > 7 ? level - 16 : level;
  });
}

const isPlain = (values: Elements | readonly number[]): values is readonly number[] => Array.isArray(values);

function stored(type: ElementType, values: readonly number[], where: string): Elements {
  const elements = convert(type, values);
  const isFloat = type === 'float32' || type === 'float16' || type === 'float64';
  if (isFloat) return elements;
  const bytes = new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength);
  const kept = valuesOf({ type, shape: [values.length] }, bytes);
  const lost = values.findIndex((value, i) => value !== kept[i]);
  if (lost >= 0)
    throw new GraphError({ where, expected: `values that ${type} holds`, received: `${values[lost]} at ${lost}` });
  return elements;
}

function convert(type: ElementType, values: readonly number[]): Elements {
  switch (type) {
    case 'float32':
      return Float32Array.from(values);
    case 'float64':
      return Float64Array.from(values);
    case 'float16':
      return float32ToFloat16Bits(values);
    case 'int64':
      return BigInt64Array.from(values, (value) => BigInt(Number.isFinite(value) ? Math.trunc(value) : 0));
    case 'int32':
      return Int32Array.from(values);
    case 'int16':
      return Int16Array.from(values);
    case 'uint16':
      return Uint16Array.from(values);
    case 'int8':
      return Int8Array.from(values);
    case 'uint8':
      return Uint8Array.from(values);
    case 'bool':
      return Uint8Array.from(values, (value) => (value === 0 ? 0 : 1));
    case 'int4':
    case 'uint4': {
      const packed = new Uint8Array(Math.ceil(values.length / 2));
      for (const [i, value] of values.entries())
        packed[i >> 1] = (packed[i >> 1] as number) | ((value & 15) << (4 * (i & 1)));
      return packed;
    }
  }
}
