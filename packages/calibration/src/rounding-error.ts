/**
 * What rounding to a grid does to values of which only a histogram is known.
 *
 *     ∫ (x - round(x))² dx from 0 to x  =  n/12 + r³/3,   n = round(x), r = x - n
 *
 * Values are taken to lie evenly in their bins, so that a bin's share is the difference of this integral, in steps of the grid, at its
 * two edges: exact for bins that are narrow beside a step as for wide ones. Behind the grid's ends the error is the distance to them.
 */
import type { Affine } from '@mobilequant/quantizer';
import { binEdge, type Histogram } from './histogram.ts';

/** Mean squared error of rounding what was counted to a grid. */
export function roundingError({ min, max, total, bins, counts }: Histogram, grid: Omit<Affine, 'widened'>): number {
  const { scale } = grid;
  const [bottom, top] = [-grid.zeroPoint, grid.qmax - grid.zeroPoint];
  /** From 0 to `x`, in steps of the grid. */
  const integral = (x: number): number => {
    const inside = Math.min(Math.max(x, bottom), top);
    const n = Math.round(inside);
    const r = inside - n;
    const beyond = x - inside;
    return n / 12 + (r * r * r + beyond * beyond * beyond) / 3;
  };
  let sum = 0;
  for (let i = 0; i < bins.length; i++) {
    const bin = bins[i] as number;
    const from = Math.max(binEdge(bin), min) / scale;
    const to = Math.min(binEdge(bin + 1), max) / scale;
    sum += (counts[i] as number) * (to > from ? (integral(to) - integral(from)) / (to - from) : squared(from));
  }
  return (sum / total) * scale * scale;

  function squared(x: number): number {
    const error = x - Math.min(Math.max(Math.round(x), bottom), top);
    return error * error;
  }
}
