/**
 * Floats to integers and back, on an encoding's grid.
 *
 * The integers are unsigned, or signed by taking 2^(bits-1) off: the same levels, as devices and ONNX store weights.
 * Up to 8 bits they are bytes, above that 16-bit words.
 */
import type { Encoding } from './encoding.ts';
import { NonFiniteError } from './errors.ts';
import { clamp, gridFromEncoding, levelOf, realOf } from './grid.ts';
import { runLength } from './groups.ts';

/** Levels `0 … 2^bits - 1`. */
export type UnsignedLevels = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
/** Levels `-2^(bits-1) … 2^(bits-1) - 1`. */
export type SignedLevels = Int8Array<ArrayBuffer> | Int16Array<ArrayBuffer>;

/** How {@link quantize} stores levels. */
export interface QuantizeOptions<Signed extends boolean = boolean> {
  /** Take 2^(bits-1) off every level. Default false. */
  readonly signed?: Signed;
  /** Named in errors. */
  readonly site?: string;
}

/**
 * The nearest level of each element (row-major, any shape); values outside the range, infinities too, take the nearest end.
 *
 * @throws ShapeError when the elements cannot be shared equally among the scales.
 * @throws NonFiniteError when a value is NaN; it names `site`.
 */
export function quantize(x: ArrayLike<number>, encoding: Encoding, options?: QuantizeOptions<false>): UnsignedLevels;
export function quantize(x: ArrayLike<number>, encoding: Encoding, options: QuantizeOptions<true>): SignedLevels;
export function quantize(
  x: ArrayLike<number>,
  encoding: Encoding,
  { signed = false, site = 'quantize' }: QuantizeOptions = {},
): UnsignedLevels | SignedLevels {
  const { scale, offset, qmax } = gridFromEncoding(encoding);
  const length = runLength(x.length, scale.length, site);
  const { bits } = encoding.spec;
  const half = signed ? 2 ** (bits - 1) : 0;
  const levels = allocate(x.length, bits, signed);
  for (let g = 0, i = 0; g < scale.length; g++) {
    const s = scale[g] as number;
    const o = offset[g] as number;
    for (const end = i + length; i < end; i++) {
      const level = clamp(levelOf(x[i] as number, s, o), 0, qmax);
      if (Number.isNaN(level)) {
        throw new NonFiniteError({
          where: site,
          expected: 'a number',
          received: `NaN at element ${i}`,
          advice: 'Look for an overflow before this site.',
        });
      }
      levels[i] = level - half;
    }
  }
  return levels;
}

/**
 * The reals that levels stand for, as float32. Signed arrays are read as signed levels.
 *
 * @throws ShapeError when the elements cannot be shared equally among the scales.
 */
export function dequantize(levels: UnsignedLevels | SignedLevels, encoding: Encoding): Float32Array<ArrayBuffer> {
  const { scale, offset } = gridFromEncoding(encoding);
  const length = runLength(levels.length, scale.length, 'dequantize');
  const half = levels instanceof Int8Array || levels instanceof Int16Array ? 2 ** (encoding.spec.bits - 1) : 0;
  const x = new Float32Array(levels.length);
  for (let g = 0, i = 0; g < scale.length; g++) {
    const s = scale[g] as number;
    const o = offset[g] as number;
    for (const end = i + length; i < end; i++) x[i] = realOf((levels[i] as number) + half, s, o);
  }
  return x;
}

function allocate(length: number, bits: number, signed: boolean): UnsignedLevels | SignedLevels {
  if (bits > 8) return signed ? new Int16Array(length) : new Uint16Array(length);
  return signed ? new Int8Array(length) : new Uint8Array(length);
}
