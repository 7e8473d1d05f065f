/**
 * GPTQ's rounding of one weight: column by column, each given what the columns before it did wrong.
 *
 *     ŵ_k = round(w_k + Σ_{i>k} e_i l_ik),   e = w - ŵ        (`hessian.ts`)
 *
 * Rows do not know of each other, unless it is known what errors of the outputs cost together, G: then row after row, too.
 *
 *     tr(G e H eᵀ) = Σ_r,k g_r d_k f_rk²,   f = Mᵀ e L        G = M g Mᵀ
 *     ŵ_rk = round(w_rk + Σ_{i>k} e_ri l_ik + Σ_{q>r} m_qr f_qk),   f_rk known as soon as e_rk is
 *
 * (The order of YAQA, arXiv 2505.22988.) What a tile is owed by all tiles before it are two products; inside a tile it is a loop.
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
import type { Panel } from './cholesky.ts';
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
 * @param inputs of the Hessian H of its inputs
 * @param outputs of what errors of its outputs cost together, G; by default each costs the same, and by itself
 */
export async function roundWithFeedback(
  programs: ProgramCache,
  weight: Value,
  encoding: Encoding,
  inputs: Pick<Feedback, 'order' | 'panels'>,
  outputs?: Pick<Feedback, 'order' | 'panels'>,
): Promise<RoundedLevels> {
  const [rows, size] = weight.shape as [number, number];
  const w = weight.data as Float32Array;
  const { scale, offset, qmax } = gridFromEncoding(encoding);
  const groupLength = w.length / scale.length;
  const levels = encoding.spec.bits > 8 ? new Uint16Array(w.length) : new Uint8Array(w.length);
  const fractions = new Int8Array(w.length);
  const errors = new Float32Array(size * rows); // [in, out], both in their order
  const tiles = outputs ? outputs.panels.toReversed() : [{ from: 0, width: rows, data: new Float32Array() }];

  for (const columns of inputs.panels.toReversed()) {
    const { from, width } = columns;
    const owed = await owedBehind(programs, columns, errors, [size, rows]);
    const before = rowsBefore(columns);
    const due = new Float64Array(width);
    const found = new Float32Array(outputs ? rows * width : 0); // f of these columns, [out, width]

    for (const tile of tiles) {
      const rowsBehind = outputs && (await debts(tile, found, width));
      for (let place = tile.from + tile.width - 1; place >= tile.from; place--) {
        const r = outputs ? (outputs.order[place] as number) : place;
        for (let k = 0; k < width; k++) due[k] = owed ? (owed[k * rows + place] as number) : 0;
        const also = rowsBehind?.to(place);
        for (let k = width - 1; k >= 0; k--) {
          const at = r * size + (inputs.order[from + k] as number);
          const group = Math.floor(at / groupLength);
          const s = scale[group] as number;
          const o = offset[group] as number;
          const x = w[at] as number;
          const all = (due[k] as number) + (also ? (also[k] as number) : 0);
          const wanted = (x + all) / s + o;
          const level = Math.min(Math.max(roundHalfEven(wanted - o) + o, 0), qmax);
          const error = x - Math.fround((level - o) * s);
          levels[at] = level;
          fractions[at] = fractionOf(wanted - level, level, qmax);
          errors[(from + k) * rows + place] = error;
          if (outputs) found[place * width + k] = error + (due[k] as number);
          addTimes(due, error, before[k] as Float64Array);
        }
        rowsBehind?.add(place);
      }
    }
  }
  return { levels, fractions };

  /** Σ m_qr f_q, `[width]`, for the rows of a tile: of the rows behind it at once, of its own as they are found. */
  async function debts(tile: Panel, found: Float32Array, width: number) {
    const owed = await owedBehind(programs, tile, found, [rows, width]);
    const sums = Array.from({ length: tile.width }, (_, k) =>
      owed ? Float64Array.from(owed.subarray(k * width, (k + 1) * width)) : new Float64Array(width),
    );
    return {
      to: (place: number): Float64Array => sums[place - tile.from] as Float64Array,
      add(place: number): void {
        const k = place - tile.from;
        const own = Float64Array.from(found.subarray(place * width, (place + 1) * width));
        for (let q = 0; q < k; q++) addTimes(sums[q] as Float64Array, tile.data[k * tile.width + q] as number, own);
      },
    };
  }
}

/** A panel's rows as far as they are before the diagonal, each ready to be added to what is owed. */
const rowsBefore = ({ width, data }: Panel): Float64Array[] =>
  Array.from({ length: width }, (_, k) => Float64Array.from(data.subarray(k * width, k * width + k)));

/** What all that is behind a panel owes its places, Σ_{i>k} x_i l_ik, `[width, columns]`; nothing for the last. */
async function owedBehind(
  programs: ProgramCache,
  { from, width, data }: Panel,
  x: Float32Array,
  [size, columns]: readonly [number, number],
): Promise<Float32Array | undefined> {
  const behind = size - from - width;
  if (behind === 0) return undefined;
  const program = await programs.program(
    `owed ${behind} ${width} ${columns}`,
    () => ({ l: [behind, width], x: [behind, columns] }),
    ({ l, x }) => ({ y: tf.matMul(l, x, true) }),
  );
  const { y } = await program.run({
    l: { data: data.subarray(width * width), shape: [behind, width] },
    x: { data: x.subarray((from + width) * columns), shape: [behind, columns] },
  });
  return y.data as Float32Array;
}

/** Adds a multiple of `values` to the beginning of `sum`. */
function addTimes(sum: Float64Array, factor: number, values: Float64Array): void {
  for (let i = 0; i < values.length; i++) sum[i] = (sum[i] as number) + factor * (values[i] as number);
}
