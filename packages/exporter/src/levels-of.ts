/** The integers that a constant stores, 4-bit ones taken apart. */
import { dataOf, elementCount, type Initializer, typedArrayOf } from '@mobilequant/graph';
import { unpackInt4 } from '@mobilequant/quantizer';
import { ExportError } from './errors.ts';

type Levels = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array;

/**
 * Reads them, flat. Types of 4 bits come as bytes, the others as they are stored.
 *
 * @throws ExportError for a constant that is no integers, or larger ones than a quantizer has.
 */
export async function levelsOf(constant: Initializer): Promise<Levels> {
  const { name, type, shape } = constant;
  const bytes = await dataOf(constant);
  if (type === 'int4') return unpackInt4(bytes, elementCount(shape), { signed: true });
  if (type === 'uint4') return unpackInt4(bytes, elementCount(shape));
  if (type === 'int8' || type === 'uint8' || type === 'int16' || type === 'uint16' || type === 'int32')
    return typedArrayOf(type, bytes) as Levels;
  throw new ExportError(name, 'integers of 4 to 32 bits', type, 'Quantize it.');
}
