/**
 * Grids of a device's tensors: unsigned, 8 or 16 bits, one scale and zero point for the whole tensor.
 */
import type { Encoding, Range } from '@mobilequant/quantizer';

/** `real = (q - zeroPoint) * scale`, q from 0 to 2^bits - 1. */
export interface Grid {
  readonly bits: 8 | 16;
  /** A float32. */
  readonly scale: number;
  readonly zeroPoint: number;
}

const WIDER = 257; // (2^16 - 1) / (2^8 - 1): every 8-bit level is a 16-bit level too

/** The finest 16-bit grid of a range, zero included. */
export function gridOfRange({ min, max }: Range): Grid {
  const [low, high] = [Math.min(min, 0), Math.max(max, 0)];
  const scale = Math.fround(Math.max((high - low) / 65535, 1e-20));
  return { bits: 16, scale, zeroPoint: Math.min(Math.round(-low / scale), 65535) };
}

export const rangeOfGrid = ({ bits, scale, zeroPoint }: Grid): Range => ({
  min: -zeroPoint * scale,
  max: (2 ** bits - 1 - zeroPoint) * scale,
});

/** The grid in 16 bits, over the same range: an 8-bit value keeps its value. */
export const widened = ({ bits, scale, zeroPoint }: Grid): Grid =>
  bits === 16
    ? { bits, scale, zeroPoint }
    : { bits: 16, scale: Math.fround(scale / WIDER), zeroPoint: zeroPoint * WIDER };

export const sameGrid = (a: Grid, b: Grid): boolean =>
  a.bits === b.bits && a.scale === b.scale && a.zeroPoint === b.zeroPoint;

/** As `quantize` takes it. */
export const encodingOfGrid = ({ bits, scale, zeroPoint }: Grid): Encoding => ({
  spec: { bits, symmetric: false, granularity: { kind: 'tensor' } },
  scale: Float32Array.of(scale),
  zeroPoint: Int32Array.of(zeroPoint),
});

export const integerType = ({ bits }: Grid): 'uint8' | 'uint16' => (bits === 8 ? 'uint8' : 'uint16');
