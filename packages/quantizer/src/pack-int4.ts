/**
 * Four-bit integers, two in a byte, the first in the low nibble: the layout of ONNX's INT4 and UINT4.
 */
import { ShapeError } from './errors.ts';

/**
 * Packs levels of at most 4 bits, signed (`Int8Array`, -8 … 7) or unsigned (`Uint8Array`, 0 … 15). An odd one out leaves the
 * last high nibble 0.
 *
 * @throws RangeError when a level needs more than 4 bits.
 * @example
 * packInt4(Int8Array.of(1, -1, 7)); // => [0xf1, 0x07]
 */
export function packInt4(levels: Uint8Array | Int8Array): Uint8Array<ArrayBuffer> {
  const [min, max] = levels instanceof Int8Array ? [-8, 7] : [0, 15];
  const packed = new Uint8Array(Math.ceil(levels.length / 2));
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i] as number;
    if (level < min || level > max) {
      throw new RangeError(
        `packInt4: expected levels from ${min} to ${max}, got ${level} at ${i}. Quantize to 4 bits first.`,
      );
    }
    packed[i >> 1] = (packed[i >> 1] as number) | ((level & 15) << (4 * (i & 1)));
  }
  return packed;
}

/**
 * The first `count` levels of a packed array, signed or unsigned.
 *
 * @throws ShapeError when `packed` does not hold exactly `count` levels.
 * @example
 * unpackInt4(Uint8Array.of(0xf1, 0x07), 3, { signed: true }); // => [1, -1, 7]
 */
export function unpackInt4(
  packed: Uint8Array,
  count: number,
  options: { readonly signed: true },
): Int8Array<ArrayBuffer>;
export function unpackInt4(
  packed: Uint8Array,
  count: number,
  options?: { readonly signed?: false },
): Uint8Array<ArrayBuffer>;
export function unpackInt4(
  packed: Uint8Array,
  count: number,
  { signed = false }: { readonly signed?: boolean } = {},
): Uint8Array<ArrayBuffer> | Int8Array<ArrayBuffer> {
  if (packed.length !== Math.ceil(count / 2)) {
    throw new ShapeError({
      where: 'unpackInt4',
      expected: `${Math.ceil(count / 2)} bytes for ${count} levels`,
      received: `${packed.length} bytes`,
    });
  }
  const levels = signed ? new Int8Array(count) : new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const nibble = ((packed[i >> 1] as number) >> (4 * (i & 1))) & 15;
    levels[i] = signed && nibble > 7 ? nibble - 16 : nibble;
  }
  return levels;
}
