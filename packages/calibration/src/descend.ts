/**
 * Rounding made better one integer at a time: coordinate descent on what rounding costs a linear, e H eᵀ with e = w - ŵ.
 *
 *     ŵ_j = round(ŵ_j + (e H)_j / H_jj)        the best level of a column, given all the others
 *     s = s · (ŵ H wᵀ) / (ŵ H ŵᵀ)              the best scale of a row, given its levels
 *
 * GPTQ decides each integer once, knowing only of those decided before. Here each is decided again, knowing all; the error falls with every
 * change, and what comes out is as good as no single change can make it (QuantEase, arXiv 2309.01885). Rows do not know of each other.
 */
import {
  dequantize,
  type Encoding,
  encodingFromRanges,
  gridFromEncoding,
  type Ranges,
  roundHalfEven,
  type UnsignedLevels,
} from '@mobilequant/quantizer';
import type { ProgramCache, Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { fractionOf, type RoundedLevels } from './round-with-feedback.ts';

/** A weight as integers, and the ranges of their grids. */
export interface Levels extends RoundedLevels {
  readonly ranges: Ranges;
  readonly encoding: Encoding;
}

export interface DescendOptions {
  /** Times that every integer is looked at, at most; it ends when less than one of a thousand changes. */
  readonly sweeps: number;
  /** Whether the scales of rows may change too; those of groups and of whole tensors stay. */
  readonly scales: boolean;
}

const BLOCK = 128;
const SETTLED = 1e-3;

/**
 * Integers, and on request scales, that cost less than those given, or the same.
 *
 * @param weight `[out, in]`
 * @param h the whole Hessian, `[in, in]` (`wholeHessian`)
 */
export async function descend(
  programs: ProgramCache,
  weight: Value,
  h: Float32Array,
  start: Levels,
  { sweeps, scales }: DescendOptions,
): Promise<Levels> {
  const [rows, size] = weight.shape as [number, number];
  const w = weight.data as Float32Array;
  const { spec } = start.encoding;
  const refits = scales && sweeps > 0 && spec.granularity.kind === 'channel';
  const ofWeight = refits ? await product(0, size, turned(w, rows, size)) : undefined; // H wᵀ
  const [levels, fractions] = [start.levels.slice(), start.fractions.slice()];
  let { ranges, encoding } = start;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const changed = await decideAll(levels, encoding);
    if (ofWeight) ({ ranges, encoding } = await refitted(ofWeight, { levels, ranges, encoding }));
    if (changed < SETTLED * w.length) break;
  }
  return { levels, fractions, ranges, encoding };

  /** Rows of h times a matrix `[in, out]`. */
  async function product(from: number, height: number, matrix: Float32Array): Promise<Float32Array> {
    const program = await programs.program(
      `descend ${height} ${size} ${rows}`,
      () => ({ h: [height, size], matrix: [size, rows] }),
      ({ h, matrix }) => ({ y: tf.matMul(h, matrix) }),
    );
    const { y } = await program.run({
      h: { data: h.subarray(from * size, (from + height) * size), shape: [height, size] },
      matrix: { data: matrix, shape: [size, rows] },
    });
    return y.data as Float32Array;
  }

  /** Ranges with which each row's scale is the best for its levels. */
  async function refitted(
    ofWeight: Float32Array,
    { levels, ranges, encoding }: Omit<Levels, 'fractions'>,
  ): Promise<Pick<Levels, 'ranges' | 'encoding'>> {
    const reals = dequantize(levels, encoding);
    const ofReals = await product(0, size, turned(reals, rows, size));
    const factors = Float64Array.from({ length: rows }, (_, r) => {
      let [own, wanted] = [0, 0];
      for (let j = 0; j < size; j++) {
        const real = reals[r * size + j] as number;
        own += real * (ofReals[j * rows + r] as number);
        wanted += real * (ofWeight[j * rows + r] as number);
      }
      return own > 0 && wanted > 0 ? wanted / own : 1;
    });
    const scaled = (ends: ArrayLike<number>): Float32Array =>
      Float32Array.from(ends, (end, r) => end * (factors[r] as number));
    const fitting = { min: scaled(ranges.min), max: scaled(ranges.max) };
    return { ranges: fitting, encoding: encodingFromRanges(fitting, spec).encoding };
  }

  /** Decides every integer again, in place; gives back how many changed. */
  async function decideAll(levels: UnsignedLevels, encoding: Encoding): Promise<number> {
    const { scale, offset, qmax } = gridFromEncoding(encoding);
    const groupLength = w.length / scale.length;
    const errors = turned(
      dequantize(levels, encoding).map((real, i) => (w[i] as number) - real),
      rows,
      size,
    );
    const slope = new Float64Array(BLOCK); // (e H) of a row, in a block
    let changed = 0;
    for (let from = 0; from < size; from += BLOCK) {
      const width = Math.min(BLOCK, size - from);
      const slopes = await product(from, width, errors);
      for (let r = 0; r < rows; r++) {
        for (let k = 0; k < width; k++) slope[k] = slopes[k * rows + r] as number;
        for (let k = 0; k < width; k++) {
          const column = from + k;
          const at = r * size + column;
          const group = Math.floor(at / groupLength);
          const [s, o, level] = [scale[group] as number, offset[group] as number, levels[at] as number];
          const real = Math.fround((level - o) * s);
          const wanted = (real + (slope[k] as number) / (h[column * (size + 1)] as number)) / s;
          const best = Math.min(Math.max(roundHalfEven(wanted) + o, 0), qmax);
          const stays = Math.abs(best - o - wanted) >= Math.abs(level - o - wanted);
          fractions[at] = fractionOf(wanted + o - (stays ? level : best), stays ? level : best, qmax);
          if (stays) continue;
          const change = real - Math.fround((best - o) * s);
          levels[at] = best;
          errors[column * rows + r] = (errors[column * rows + r] as number) + change;
          for (let m = k; m < width; m++)
            slope[m] = (slope[m] as number) + change * (h[column * size + from + m] as number);
          changed++;
        }
      }
    }
    return changed;
  }
}

/** `[out, in]` → `[in, out]` */
function turned(x: ArrayLike<number>, rows: number, columns: number): Float32Array {
  const result = new Float32Array(x.length);
  for (let r = 0; r < rows; r++) for (let j = 0; j < columns; j++) result[j * rows + r] = x[r * columns + j] as number;
  return result;
}
