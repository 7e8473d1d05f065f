/**
 * From an encoding back to a range that makes it again, to the bit: what a file of ranges has to say of it.
 *
 *     asymmetric   length d with fround(d / qmax) = scale, and min = -zeroPoint * scale on the grid of d's last bit,
 *                  so that max = min + d is exact; that moves min by far less than half a step
 *     symmetric    ±alpha with fround(alpha / (2^(bits-1)-1)) = scale
 *
 * Dividing by qmax is not one to one in float32: the few neighbours of scale * qmax are tried.
 */
import { affineFromRange } from './encoding-from-ranges.ts';
import type { QuantizerSpec, Range } from './spec.ts';

const ANYWHERE: Range = { min: Number.NEGATIVE_INFINITY, max: Number.POSITIVE_INFINITY };

const NEIGHBOURS = [0, 1, -1, 2, -2];

/**
 * A range of float32 numbers whose scale and zero point are the given ones, if there is one.
 *
 * @param within the range of a tensor that is going to be clipped to what is found: it must reach that far.
 * @example
 * exactRange({ bits: 4, symmetric: false }, 1, 1); // => { min: -1, max: 14 }
 */
export function exactRange(
  spec: Pick<QuantizerSpec, 'bits' | 'symmetric'>,
  scale: number,
  zeroPoint: number,
  within: Range = ANYWHERE,
): Range | undefined {
  const steps = spec.symmetric ? 2 ** (spec.bits - 1) - 1 : 2 ** spec.bits - 1;
  const around = { min: Math.min(within.min, 0), max: Math.max(within.max, 0) };
  for (const places of NEIGHBOURS) {
    const length = neighbour(Math.fround(scale * steps), places);
    const range = spec.symmetric ? { min: -length, max: length } : placed(length, zeroPoint * scale, around);
    const reached = spec.symmetric
      ? around.min <= range.min || around.max >= range.max
      : around.min <= range.min && around.max >= range.max;
    const made = affineFromRange(range, spec);
    if (reached && made.scale === scale && made.zeroPoint === zeroPoint) return range;
  }
  return undefined;
}

/** A range of a length around zero, with as much of it below as is wanted, or as there is room for. */
function placed(length: number, below: number, { min, max }: Range): Range {
  const bit = lastBit(length);
  const onGrid = Math.round(Math.max(min, Math.min(-below, max - length)) / bit) * bit;
  const low = onGrid < min ? onGrid + bit : onGrid + length > max ? onGrid - bit : onGrid;
  return { min: Math.min(low, 0), max: Math.max(low + length, 0) };
}

/** What the last bit of a float32 number is worth. */
const lastBit = (x: number): number => 2 ** (Math.max((wordOf(x) >>> 23) & 0xff, 1) - 150);

/** The float32 number some places above or below a positive one. */
const neighbour = (x: number, places: number): number =>
  new Float32Array(Uint32Array.of(wordOf(x) + places).buffer)[0] as number;

const wordOf = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0] as number;
