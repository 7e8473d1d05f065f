/**
 * The two 16-bit floats, from and to float32.
 *
 *     float16   1 sign, 5 exponent (bias 15), 10 fraction bits
 *     bfloat16  1 sign, 8 exponent (bias 127), 7 fraction bits: the upper half of a float32
 *
 * A float16 has only 65536 values, so it is read through a table. Writing rounds half to even: adding just under half of
 * the last kept bit, plus that bit itself, lets the carry do the rounding.
 */

/** 16-bit floats by their bits, and how many finite numbers became infinite. */
export interface Narrowed {
  readonly bits: Uint16Array;
  readonly overflows: number;
  /** The first number that became infinite, if any did. */
  readonly firstOverflow: number | undefined;
}

let table: Float32Array | undefined;

/** float32 values of float16 bits; exact. Writes into `out` if it is given. */
export function fromFloat16(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const values = float16Values();
  for (let i = 0; i < bits.length; i++) out[i] = values[bits[i] as number] as number;
  return out;
}

/** The values of all float16 patterns, by their bits. */
export function float16Values(): Float32Array {
  table ??= Float32Array.from({ length: 65536 }, (_, pattern) => valueOfFloat16(pattern));
  return table;
}

/** float32 values of bfloat16 bits; exact. Writes into `out` if it is given. */
export function fromBfloat16(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] as number) << 16;
  return out;
}

/** The nearest float16 values, half to even. NaN stays NaN, infinities stay, too large numbers become infinite and are counted. */
export const toFloat16 = (values: Float32Array): Narrowed => narrow(values, float16Bits, 0x7c00);

/** The nearest bfloat16 values, half to even. NaN stays NaN, infinities stay, too large numbers become infinite and are counted. */
export const toBfloat16 = (values: Float32Array): Narrowed => narrow(values, bfloat16Bits, 0x7f80);

function narrow(values: Float32Array, round: (word: number) => number, infinity: number): Narrowed {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  let overflows = 0;
  let firstOverflow: number | undefined;
  for (let i = 0; i < words.length; i++) {
    const rounded = round(words[i] as number);
    bits[i] = rounded;
    if ((rounded & 0x7fff) === infinity && Number.isFinite(values[i])) {
      overflows++;
      firstOverflow ??= values[i];
    }
  }
  return { bits, overflows, firstOverflow };
}

function bfloat16Bits(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40; // NaN: keep a fraction bit
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

function float16Bits(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 2^16 and more
  if (magnitude >= 0x38800000) {
    const rebiased = magnitude - 0x38000000; // exponent bias 127 -> 15
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  const shift = 126 - (magnitude >>> 23); // subnormal: units of 2^-24
  if (shift > 24) return sign;
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const half = 1 << (shift - 1);
  return sign | ((significand + half - 1 + ((significand >>> shift) & 1)) >>> shift);
}

function valueOfFloat16(bits: number): number {
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}
