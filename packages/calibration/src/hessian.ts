/**
 * The Hessian of a linear's squared error in its weights, H = Σ c xᵀx over its inputs and how much each counts (twice that, but only its shape
 * matters), and the form of it that rounding needs.
 *
 *     e H eᵀ = Σ_k d_k (e_k + Σ_{i>k} e_i l_ik)²        H = L Lᵀ,  d_k = L_kk²,  l_ik = L_ik / L_kk
 *
 * Column k's term knows only e_k and what comes after it. Whoever rounds the columns from last to first can make each term as small as
 * rounding allows: that is GPTQ (arXiv 2210.17323), and needs no inverse (QuIP, arXiv 2307.13304, shows the two are the same).
 */
import { specsOf } from '@mobilequant/core';
import { NonFiniteError } from '@mobilequant/quantizer';
import type { ProgramCache, Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { cholesky, type Panel } from './cholesky.ts';

const BANDS = 4; // five eighths of the products; with more bands they become too small to be fast

/** The columns of a linear's weight in the order that leaves the most important one to be rounded first, as the last. */
export interface Feedback {
  /** Column numbers by rising diagonal, `[in]`. */
  readonly order: Int32Array;
  /** The unit lower triangular l, in that order. */
  readonly panels: readonly Panel[];
  /** Diagonal of the damped Hessian by column number, `[in]`: what an error costs if nothing makes up for it. */
  readonly diagonal: Float64Array;
  /** The d of the columns by number, `[in]`: what it costs when what comes after makes up for it as well as it can. */
  readonly pivots: Float64Array;
  /** What was added to the diagonal, as a part of its mean. */
  readonly damping: number;
}

export interface FeedbackOptions {
  /** Added to the diagonal, as a part of its mean; more if that leaves H without a factor. */
  readonly damping: number;
  /** Columns that are worked on at once. */
  readonly block: number;
  /** Whose Hessian it is, for the error. Default: inputs of a linear. */
  readonly of?: string;
}

/** A Hessian of nothing yet, `[in, in]`. */
export const emptyHessian = (size: number): Value => ({ data: new Float32Array(size * size), shape: [size, size] });

/**
 * Adds more inputs x, `[tokens, in]`, to a Hessian, in place: it is large, and there are many. Only the upper triangle is to be looked at.
 *
 * @param counts how much each token counts, `[tokens, 1]`; by default all count 1
 */
export async function addInputs(programs: ProgramCache, hessian: Value, x: Value, counts?: Value): Promise<void> {
  const size = hessian.shape[0] as number;
  const given = { x, ...(counts && { counts }) };
  const program = await programs.program(
    `hessian ${x.shape}${counts ? ' counted' : ''}`,
    () => specsOf(given),
    upperTriangle,
  );
  const sum = hessian.data as Float32Array;
  for (const [name, { data, shape }] of Object.entries(await program.run(given))) {
    const [height, width] = shape as [number, number];
    for (let row = 0, at = 0; row < height; row++) {
      const from = (Number(name) + row + 1) * size - width;
      for (let to = from, end = from + width; to < end; to++) sum[to] = (sum[to] as number) + (data[at++] as number);
    }
  }
}

/** Σ c xᵀx in bands of rows, each from its own first column on; a band's name is its first row. */
function upperTriangle({
  x,
  counts,
}: {
  readonly x: tf.Tensor;
  readonly counts?: tf.Tensor;
}): Record<string, tf.Tensor> {
  const [tokens, size] = x.shape as [number, number];
  const counted = counts ? tf.mul(x, counts) : x;
  const height = Math.ceil(size / BANDS);
  const bands: Record<string, tf.Tensor> = {};
  for (let from = 0; from < size; from += height) {
    const own = tf.slice(x, [0, from], [tokens, Math.min(height, size - from)]);
    const right = tf.slice(counted, [0, from], [tokens, size - from]);
    bands[from] = tf.matMul(own, right, true);
  }
  return bands;
}

/** All of a Hessian of which the upper triangle is known, damped as its feedback is, `[in, in]`. */
export function wholeHessian(hessian: Value, { diagonal }: Pick<Feedback, 'diagonal'>): Float32Array {
  const size = diagonal.length;
  const h = (hessian.data as Float32Array).slice();
  for (let i = 0; i < size; i++) {
    h[i * (size + 1)] = diagonal[i] as number;
    for (let j = i + 1; j < size; j++) h[j * size + i] = h[i * size + j] as number;
  }
  return h;
}

/**
 * Damps a Hessian and factors it. A column that no input ever reached counts as a middling one: nothing is fed back to it or from it.
 *
 * @throws NonFiniteError for inputs that are not finite.
 */
export async function feedbackOf(
  programs: ProgramCache,
  hessian: Value,
  { damping: least, block, of = 'inputs of a linear' }: FeedbackOptions,
): Promise<Feedback> {
  const size = hessian.shape[0] as number;
  const matrix = (hessian.data as Float32Array).slice();
  const seen = Float64Array.from({ length: size }, (_, i) => matrix[i * (size + 1)] as number);
  const lost = seen.findIndex((h) => !Number.isFinite(h));
  if (lost >= 0)
    throw new NonFiniteError({
      where: 'gptq',
      expected: `finite ${of}`,
      received: `a sum of squares that is ${seen[lost]} in channel ${lost}`,
      advice: 'Look for an overflow before it.',
    });
  const live = seen.filter((h) => h > 0);
  const mean = live.length > 0 ? live.reduce((sum, h) => sum + h) / live.length : 1;
  const alive = seen.map((h) => (h > 0 ? h : mean));
  const order = Int32Array.from({ length: size }, (_, i) => i).sort(
    (a, b) => (alive[a] as number) - (alive[b] as number) || b - a,
  );
  for (let damping = least; ; damping = Math.max(10 * damping, 1e-3)) {
    const diagonal = alive.map((h) => h + damping * mean);
    diagonal.forEach((h, i) => {
      matrix[i * (size + 1)] = h;
    });
    // No true pivot is below what was added: one that is far below is rounding error.
    const panels = await cholesky(programs, matrix, size, { order, width: block, least: (damping * mean) / 2 });
    if (!panels) continue;
    const pivots = new Float64Array(size);
    for (const { from, width, data } of panels)
      for (let k = 0; k < width; k++) pivots[order[from + k] as number] = (data[k * (width + 1)] as number) ** 2;
    return { order, panels: panels.map(unitDiagonal), diagonal, pivots, damping };
  }
}

function unitDiagonal({ from, width, data }: Panel): Panel {
  const pivots = Array.from({ length: width }, (_, j) => data[j * (width + 1)] as number);
  return { from, width, data: data.map((x, i) => x / (pivots[i % width] as number)) };
}
