/**
 * How Qualcomm's HTP brings integers from one scale to another, number by number. Found with inputs that were made for it, on the
 * emulator of QNN 2.51 (`docs/devices.md`, "Arithmetic of the NPU"); `rules.ts` writes the same as operators of a graph.
 *
 * A factor is a mantissa of a few bits, from 1/2 to 1, and a power of two. Of a sum only as many bits go into the product as the
 * result needs, and half of the last of them is added for those that were left behind:
 *
 *     level = floor((floor(sum · unit) + 1/2) · mantissa · 2^-guard + 1/2) + zeroPoint         unit = 2^(exponent + guard)
 */
import type { Grid } from '../device-grid.ts';

/** `mantissa · 2^exponent` */
export interface Factor {
  /** From 1/2 to 1. */
  readonly mantissa: number;
  readonly exponent: number;
}

/** A factor with a mantissa of some bits, rounded half up. */
export function factorOf(value: number, bits: number): Factor {
  let exponent = Math.floor(Math.log2(value)) + 1;
  if (value >= 2 ** exponent) exponent++; // the logarithm may be off by one
  if (value < 2 ** (exponent - 1)) exponent--;
  const unit = 2 ** bits;
  return { mantissa: Math.floor((value / 2 ** exponent) * unit + 0.5) / unit, exponent };
}

/** `level = floor(floor(sum · unit) · slope + offset) + zeroPoint` */
export interface Rescaling {
  readonly unit: number;
  readonly slope: number;
  readonly offset: number;
}

interface Width {
  /** Bits of a factor. */
  readonly mantissa: number;
  /** Bits of a sum that are kept below the result's. */
  readonly guard: number;
  /** Low bits that the sum of products has lost before. */
  readonly dropped: number;
}

const WIDTHS: Readonly<Record<8 | 16, Width>> = {
  8: { mantissa: 12, guard: 3, dropped: 0 },
  16: { mantissa: 22, guard: 7, dropped: 8 },
};

/** What a sum of products becomes. Of 16-bit inputs, it counts in 256ths (see {@link wordSum}). */
export function rescalingOf(factor: number, bits: 8 | 16): Rescaling {
  const { mantissa: size, guard, dropped } = WIDTHS[bits];
  const { mantissa, exponent } = factorOf(factor, size);
  const slope = mantissa / 2 ** guard;
  return { unit: 2 ** (exponent + guard + dropped), slope, offset: 0.5 + slope / 2 };
}

/** A sum as a level of a grid. */
export const rescaled = (sum: number, { unit, slope, offset }: Rescaling, grid: Omit<Grid, 'scale'>): number =>
  saturated(Math.floor(Math.floor(sum * unit) * slope + offset), grid);

/** What a product's sums are worth in steps of the result, for each channel: in float32, by the largest of the weight's scales. */
export function productFactors(inputScale: number, weightScales: ArrayLike<number>, outputScale: number): Float32Array {
  const { fround } = Math;
  const largest = Array.from(weightScales).reduce((a, b) => Math.max(a, b));
  const whole = fround(fround(inputScale * largest) / outputScale);
  return Float32Array.from(weightScales, (scale) => fround(whole * fround(scale / largest)));
}

/**
 * The sum of 16-bit inputs times 8-bit weights without its low 8 bits. The inputs come with their zero point; its share, and the
 * bias, are divided by 256 on their own.
 */
export const wordSum = (sum: number, weightSum: number, zeroPoint: number, bias = 0): number =>
  Math.floor(sum / 256) + wordOffset(weightSum, zeroPoint, bias);

/** What is added to a sum that has lost its low bits: the zero point's share, halves away from the input, and the bias towards 0. */
export const wordOffset = (weightSum: number, zeroPoint: number, bias = 0): number =>
  Math.trunc(bias / 256) - Math.floor((zeroPoint * weightSum) / 256 + 0.5);

/** What two summands are worth in steps of their sum: the larger has 15 bits, and both the same unit, 2^-16 at least. */
export function sumFactors(scales: readonly [number, number], outputScale: number): [number, number] {
  const ratios = scales.map((scale) => Math.fround(scale / outputScale)) as [number, number];
  const unit = 2 ** Math.min(16, 15 - factorOf(Math.max(...ratios), 15).exponent);
  return ratios.map((ratio) => Math.floor(ratio * unit + 0.5) / unit) as [number, number];
}

/** Levels over the zero point, within the grid. */
export const saturated = (steps: number, { bits, zeroPoint }: Omit<Grid, 'scale'>): number =>
  Math.min(Math.max(steps + zeroPoint, 0), 2 ** bits - 1);
