/**
 * GPTQ's rounding of one weight: column by column, each given what the columns before it did wrong.
 *
 *     ŵ_k = round(w_k + Σ_{i>k} e_i l_ik),   e = w - ŵ        (`hessian.ts`)
 *
 * Rows do not know of each other. What a block of columns is owed by all blocks before it is one product; inside a block it is a loop.
 */
import {
  dequantize,
  type Encoding,
  gridFromEncoding,
  roundHalfEven,
  type UnsignedLevels,
} from '@mobilequant/quantizer';
import type { ProgramCache, Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import type { Feedback } from './hessian.ts';

/** A weight as integers, with what rounding took from what each was to be. */
export interface RoundedLevels {
  /** `[out, in]` */
  readonly levels: UnsignedLevels;
  /** `[out, in]`, in 256ths of a step and short of half of one: 0 where a level is the last of its grid. */
  readonly fractions: Int8Array;
}

const FRACTION = 256;
const MOST = 126; // of 128: what is next to the middle of two levels rounds to the one that was chosen

/** What is beside a level, in steps, as it is kept: 0 for the first and the last level of a grid. */
export const fractionOf = (beside: number, level: number, qmax: number): number =>
  level > 0 && level < qmax ? Math.max(-MOST, Math.min(MOST, Math.round(FRACTION * beside))) : 0;

/** The reals that were rounded, to a 256th of a step; rounding to nearest gives the same levels. */
export function unrounded({ levels, fractions }: RoundedLevels, encoding: Encoding): Float32Array {
  const reals = dequantize(levels, encoding);
  const groupLength = reals.length / encoding.scale.length;
  return reals.map(
    (x, i) => x + ((fractions[i] as number) / FRACTION) * (encoding.scale[Math.floor(i / groupLength)] as number),
  );
}

/**
 * The levels of a weight, `[out, in]`, on an encoding's grid.
 *
 * @param weight `[out, in]`
 */
export async function roundWithFeedback(
  programs: ProgramCache,
  weight: Value,
  encoding: Encoding,
  { order, panels }: Pick<Feedback, 'order' | 'panels'>,
): Promise<RoundedLevels> {
  const [rows, size] = weight.shape as [number, number];
  const w = weight.data as Float32Array;
  const { scale, offset, qmax } = gridFromEncoding(encoding);
  const groupLength = w.length / scale.length;
  const levels = encoding.spec.bits > 8 ? new Uint16Array(w.length) : new Uint8Array(w.length);
  const fractions = new Int8Array(w.length);
  const errors = new Float32Array(size * rows); // [in, out], columns in `order`

  for (const { from, width, data } of panels.toReversed()) {
    const owed = await owedTo(from, width, data);
    const due = new Float64Array(width);
    const before = Array.from({ length: width }, (_, k) => Float64Array.from(data.subarray(k * width, k * width + k)));
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < width; k++) due[k] = owed ? (owed[k * rows + r] as number) : 0;
      for (let k = width - 1; k >= 0; k--) {
        const at = r * size + (order[from + k] as number);
        const group = Math.floor(at / groupLength);
        const s = scale[group] as number;
        const o = offset[group] as number;
        const x = w[at] as number;
        const wanted = (x + (due[k] as number)) / s + o;
        const level = Math.min(Math.max(roundHalfEven(wanted - o) + o, 0), qmax);
        const error = x - Math.fround((level - o) * s);
        levels[at] = level;
        fractions[at] = fractionOf(wanted - level, level, qmax);
        errors[(from + k) * rows + r] = error;
        addTimes(due, error, before[k] as Float64Array);
      }
    }
  }
  return { levels, fractions };

  /** Σ e_i l_ik over the columns i behind a block, `[width, out]`. */
  async function owedTo(from: number, width: number, data: Float32Array): Promise<Float32Array | undefined> {
    const behind = size - from - width;
    if (behind === 0) return undefined;
    const program = await programs.program(
      `owed ${behind} ${width} ${rows}`,
      () => ({ l: [behind, width], errors: [behind, rows] }),
      ({ l, errors }) => ({ y: tf.matMul(l, errors, true) }),
    );
    const { y } = await program.run({
      l: { data: data.subarray(width * width), shape: [behind, width] },
      errors: { data: errors.subarray((from + width) * rows), shape: [behind, rows] },
    });
    return y.data as Float32Array;
  }
}

/** Adds a multiple of `values` to the beginning of `sum`. */
function addTimes(sum: Float64Array, factor: number, values: Float64Array): void {
  for (let i = 0; i < values.length; i++) sum[i] = (sum[i] as number) + factor * (values[i] as number);
}
