/**
 * Rounding made better one integer at a time: coordinate descent on what rounding costs a linear, tr(G e H eᵀ) with e = w - ŵ.
 *
 *     ŵ_rj = round(ŵ_rj + (G e H)_rj / (G_rr H_jj))                the best level, given all the others
 *     s_r = s_r · (1 + (G e H)_r · ŵ_r / (G_rr ŵ_r H ŵ_rᵀ))        the best scale of a row, given all levels and the others' scales
 *
 * GPTQ decides each integer once, knowing only of those decided before. Here each is decided again, knowing all; the error falls with every
 * change, and what comes out is as good as no single change can make it (QuantEase, arXiv 2309.01885). Without G rows do not know of each other.
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
const TILE = 32; // rows, where they know of each other: every change is told to a tile
const SETTLED = 1e-3;

/**
 * Integers, and on request scales, that cost less than those given, or the same.
 *
 * @param weight `[out, in]`
 * @param h the whole Hessian, `[in, in]` (`wholeHessian`)
 * @param g what errors of the outputs cost together, whole, `[out, out]`; by default each costs the same, and by itself
 */
export async function descend(
  programs: ProgramCache,
  weight: Value,
  { h, g }: { readonly h: Float32Array; readonly g?: Float32Array | undefined },
  start: Levels,
  { sweeps, scales }: DescendOptions,
): Promise<Levels> {
  const [rows, size] = weight.shape as [number, number];
  const w = weight.data as Float32Array;
  const { spec } = start.encoding;
  const refits = scales && spec.granularity.kind === 'channel';
  const [levels, fractions] = [start.levels.slice(), start.fractions.slice()];
  let { ranges, encoding } = start;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const changed = await decideAll(levels, encoding);
    if (refits) ({ ranges, encoding } = await refitted({ levels, ranges, encoding }));
    if (changed < SETTLED * w.length) break;
  }
  return { levels, fractions, ranges, encoding };

  /** w - ŵ, `[in, out]`. */
  function errorsOf(levels: UnsignedLevels, encoding: Encoding): Float32Array {
    const reals = dequantize(levels, encoding);
    return turned(
      reals.map((real, i) => (w[i] as number) - real),
      rows,
      size,
    );
  }

  /** Some rows of h times a matrix `[in, out]`. */
  async function timesHessian(from: number, height: number, matrix: Float32Array): Promise<Float32Array> {
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

  /** Ranges with which each row's scale is the best for its levels and all other rows. */
  async function refitted({
    levels,
    ranges,
    encoding,
  }: Omit<Levels, 'fractions'>): Promise<Omit<Levels, keyof RoundedLevels>> {
    const reals = turned(dequantize(levels, encoding), rows, size);
    const slopes = await dots(await timesHessian(0, size, errorsOf(levels, encoding)), reals);
    const curvatures = await dots(await timesHessian(0, size, reals), reals);
    const factors = new Float64Array(rows).fill(1);
    for (let r = 0; r < rows; r++) {
      const diagonal = r * (rows + 1);
      let slope = slopes[diagonal] as number;
      let curvature = curvatures[diagonal] as number;
      if (g) {
        slope = 0;
        for (let q = 0; q < rows; q++) slope += (g[r * rows + q] as number) * (slopes[q * rows + r] as number);
        curvature *= g[diagonal] as number;
      }
      const change = slope / curvature;
      if (!(curvature > 0 && change > -1)) continue;
      factors[r] = 1 + change;
      if (!g) continue;
      for (let q = r * rows, end = q + rows; q < end; q++)
        slopes[q] = (slopes[q] as number) - change * (curvatures[q] as number);
    }
    const scaled = (ends: ArrayLike<number>): Float32Array =>
      Float32Array.from(ends, (end, r) => end * (factors[r] as number));
    const fitting = { min: scaled(ranges.min), max: scaled(ranges.max) };
    return { ranges: fitting, encoding: encodingFromRanges(fitting, spec).encoding };
  }

  /** Every column of one matrix `[in, out]` times every column of another, `[out, out]`. */
  async function dots(a: Float32Array, b: Float32Array): Promise<Float32Array> {
    const shape = [size, rows];
    const program = await programs.program(
      `dots ${shape}`,
      () => ({ a: shape, b: shape }),
      ({ a, b }) => ({ y: tf.matMul(a, b, true) }),
    );
    const { y } = await program.run({ a: { data: a, shape }, b: { data: b, shape } });
    return y.data as Float32Array;
  }

  /** Decides every integer again, in place; gives back how many changed. */
  async function decideAll(levels: UnsignedLevels, encoding: Encoding): Promise<number> {
    const { scale, offset, qmax } = gridFromEncoding(encoding);
    const groupLength = w.length / scale.length;
    const errors = errorsOf(levels, encoding);
    let changed = 0;
    for (let from = 0; from < size; from += BLOCK) {
      const width = Math.min(BLOCK, size - from);
      const ofHessian = await timesHessian(from, width, errors); // [width, out]
      for (let top = 0; top < rows; top += g ? TILE : 1) {
        const height = Math.min(g ? TILE : 1, rows - top);
        const slopes = await slopesOf(ofHessian, width, top, height);
        for (let r = top; r < top + height; r++) {
          const own = g ? (g[r * (rows + 1)] as number) : 1;
          for (let k = 0; k < width; k++) {
            const column = from + k;
            const at = r * size + column;
            const group = Math.floor(at / groupLength);
            const [s, o, level] = [scale[group] as number, offset[group] as number, levels[at] as number];
            const real = Math.fround((level - o) * s);
            const slope = slopes[(r - top) * width + k] as number;
            const wanted = (real + slope / (own * (h[column * (size + 1)] as number))) / s;
            const best = Math.min(Math.max(roundHalfEven(wanted) + o, 0), qmax);
            const stays = Math.abs(best - o - wanted) >= Math.abs(level - o - wanted);
            fractions[at] = fractionOf(wanted + o - (stays ? level : best), stays ? level : best, qmax);
            if (stays) continue;
            const change = real - Math.fround((best - o) * s);
            levels[at] = best;
            errors[column * rows + r] = (errors[column * rows + r] as number) + change;
            tell(change, column, r);
            changed++;
          }
        }

        /** What a change means for the columns of the block, in its own row and those behind it. */
        function tell(change: number, column: number, r: number): void {
          const ofColumn = column * size + from;
          for (let q = r; q < top + height; q++) {
            const factor = g ? change * (g[r * rows + q] as number) : change;
            for (let m = 0, at = (q - top) * width; m < width; m++, at++)
              slopes[at] = (slopes[at] as number) + factor * (h[ofColumn + m] as number);
          }
          if (!g) return;
          for (let m = 0, at = r; m < width; m++, at += rows)
            ofHessian[at] = (ofHessian[at] as number) + change * (h[ofColumn + m] as number);
        }
      }
    }
    return changed;
  }

  /** G e H of some rows and the columns of a block, `[height, width]`, of e H for all rows, `[width, out]`. */
  async function slopesOf(ofHessian: Float32Array, width: number, top: number, height: number): Promise<Float64Array> {
    if (!g) return Float64Array.from({ length: width }, (_, k) => ofHessian[k * rows + top] as number);
    const program = await programs.program(
      `slopes ${height} ${rows} ${width}`,
      () => ({ g: [height, rows], x: [width, rows] }),
      ({ g, x }) => ({ y: tf.matMul(g, x, false, true) }),
    );
    const { y } = await program.run({
      g: { data: g.subarray(top * rows, (top + height) * rows), shape: [height, rows] },
      x: { data: ofHessian, shape: [width, rows] },
    });
    return Float64Array.from(y.data as Float32Array);
  }
}

/** `[out, in]` → `[in, out]` */
function turned(x: ArrayLike<number>, rows: number, columns: number): Float32Array {
  const result = new Float32Array(x.length);
  for (let r = 0; r < rows; r++) for (let j = 0; j < columns; j++) result[j * rows + r] = x[r * columns + j] as number;
  return result;
}
