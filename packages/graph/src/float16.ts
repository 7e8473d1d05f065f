/**
 * float32 ↔ float16, as bits. Rounds to nearest, ties to even; float16 has 10 bits of fraction, and exponents -14 … 15.
 */

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/**
 * The bits of the nearest float16 of each number. Past 65504 becomes infinity.
 *
 * @example
 * float32ToFloat16Bits([1, -2, 65520]); // => [0x3c00, 0xc000, 0x7c00]
 */
export function float32ToFloat16Bits(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = toBits(values[i] as number);
  return bits;
}

/** The numbers that float16 bits stand for. */
export function float16BitsToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(bits, fromBits);
}

function toBits(value: number): number {
  float[0] = value;
  const all = word[0] as number;
  const sign = (all >>> 16) & 0x8000;
  const magnitude = all & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65520 on: infinity
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1); // 13 bits go: half, less one when the last kept bit is even
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  return sign | roundHalfEven(Math.abs(float[0]) * 2 ** 24); // below 2^-14: multiples of 2^-24
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

function fromBits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}
