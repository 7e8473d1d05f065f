/**
 * What a linear can do about the errors before it. Its inputs x are not the float model's x̃, nor is the residual stream r, to which some
 * linears add, the float model's r̃. The weight that comes closest to r̃ + W x̃ with r + W' x is not W:
 *
 *     W' = argmin Σ |r̃ + W x̃ - (r + W' x)|² = W + (W D + R) H⁻¹,   D = Σ (x̃ - x) xᵀ,   R = Σ (r̃ - r) xᵀ
 *
 * with sums over tokens, each as much as it counts. Rounding W' instead of W is, for inputs, what GPTAQ does (arXiv 2504.02692). The stream is
 * what later layers see, and what rounding did to it has to do with the tokens, so that a linear which adds to it can take some of it back. Few
 * inputs do not say W' exactly: a part of the way is safer than all.
 */
import { specsOf } from '@mobilequant/core';
import type { ProgramCache, Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import type { Feedback } from './hessian.ts';

/** What went wrong before a linear, over its inputs. */
export interface Drift {
  /** D, of its inputs, `[in, in]`. */
  readonly inputs: Value;
  /** R, of the stream that it adds to, `[out, in]`; absent for a linear that adds to none. */
  readonly stream?: Value;
}

/** What runs a linear has in the float model and in its own, of the same tokens. */
interface DriftOf {
  readonly float: Value;
  readonly own: Value;
  readonly inputs: Value;
  readonly counts?: Value | undefined;
}

/** The drift of nothing yet, `[channels, in]`. */
export const noDrift = (channels: number, size: number): Value => ({
  data: new Float32Array(channels * size),
  shape: [channels, size],
});

/**
 * Adds Σ (x̃ - x) inputsᵀ of more tokens to a sum of `[channels, in]`, in place.
 *
 * @param float x̃, `[tokens, channels]`
 * @param own x, `[tokens, channels]`
 * @param inputs of the linear, `[tokens, in]`: the same as `own` where it is their drift that is asked for
 * @param counts how much each token counts, `[tokens, 1]`, as in the linear's Hessian; by default all count 1
 */
export async function addDrift(programs: ProgramCache, drift: Value, { counts, ...states }: DriftOf): Promise<void> {
  const given = { ...states, ...(counts && { counts }) };
  const program = await programs.program(
    `drift ${states.float.shape} ${states.inputs.shape}${counts ? ' counted' : ''}`,
    () => specsOf(given),
    ({ float, own, inputs, counts }) => {
      const off = tf.sub(float, own);
      return { y: tf.matMul((counts ? tf.mul(off, counts) : off) as tf.Tensor2D, inputs as tf.Tensor2D, true) };
    },
  );
  const { data } = (await program.run(given)).y;
  const sum = drift.data as Float32Array;
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (data[i] as number);
}

/**
 * The weight, a part of the way to W'.
 *
 * @param weight `[out, in]`
 * @param part 0 to 1
 */
export async function makeUpForDrift(
  programs: ProgramCache,
  weight: Value,
  { inputs, stream }: Drift,
  feedback: Feedback,
  part: number,
): Promise<Value> {
  const [rows, size] = weight.shape as [number, number];
  const { order } = feedback;
  const places = new Int32Array(size);
  order.forEach((column, place) => {
    places[column] = place;
  });
  const index = { shape: [size], dtype: 'int32' } as const;

  const before = await programs.program(
    `drift of ${weight.shape}${stream ? ' and its stream' : ''}`,
    () => ({ weight: weight.shape, inputs: inputs.shape, order: index, ...(stream && { stream: stream.shape }) }),
    ({ weight, inputs, order, stream }) => {
      const own = tf.matMul(inputs, weight, true, true);
      return { y: tf.gather(stream ? tf.add(own, tf.transpose(stream)) : own, order as tf.Tensor1D) };
    },
  );
  const feeds = { weight, inputs, order: { data: order, shape: [size] }, ...(stream && { stream }) };
  const { y } = await before.run(feeds);
  const change = await solve(programs, feedback, y.data as Float32Array, rows);
  const after = await programs.program(
    `made up ${part} ${weight.shape}`,
    () => ({ weight: weight.shape, change: [size, rows], places: index }),
    ({ weight, change, places }) => ({
      y: tf.add(weight, tf.mul(part, tf.transpose(tf.gather(change, places as tf.Tensor1D)))),
    }),
  );
  return (await after.run({ weight, change, places: { data: places, shape: [size] } })).y;
}

/** H⁻¹ b by way of H = l d lᵀ: l z = b from the first row on, then lᵀ y = z / d from the last, `[in, out]` in the feedback's order. */
async function solve(
  programs: ProgramCache,
  { order, panels, pivots }: Feedback,
  right: Float32Array,
  columns: number,
): Promise<Value> {
  const size = order.length;
  const b = right.slice();
  const rows = (from: number, count: number): Value => ({
    data: b.subarray(from * columns, (from + count) * columns),
    shape: [count, columns],
  });
  /** Row `to` less a multiple of row `of`. */
  const takeOff = (to: number, of: number, factor: number): void => {
    for (let i = to * columns, j = of * columns, end = i + columns; i < end; i++, j++)
      b[i] = (b[i] as number) - factor * (b[j] as number);
  };

  for (const { from, width, data } of panels) {
    for (let i = 0; i < width; i++)
      for (let j = 0; j < i; j++) takeOff(from + i, from + j, data[i * width + j] as number);
    const behind = size - from - width;
    if (behind === 0) continue;
    const program = await programs.program(
      `forward ${behind} ${width} ${columns}`,
      () => ({ l: [behind, width], own: [width, columns], rest: [behind, columns] }),
      ({ l, own, rest }) => ({ y: tf.sub(rest, tf.matMul(l, own)) }),
    );
    const l: Value = { data: data.subarray(width * width), shape: [behind, width] };
    const { y } = await program.run({ l, own: rows(from, width), rest: rows(from + width, behind) });
    b.set(y.data as Float32Array, (from + width) * columns);
  }
  for (const { from, width, data } of panels.toReversed()) {
    for (let i = from; i < from + width; i++) {
      const pivot = pivots[order[i] as number] as number;
      for (let at = i * columns; at < (i + 1) * columns; at++) b[at] = (b[at] as number) / pivot;
    }
    const behind = size - from - width;
    if (behind > 0) {
      const program = await programs.program(
        `backward ${behind} ${width} ${columns}`,
        () => ({ l: [behind, width], own: [width, columns], rest: [behind, columns] }),
        ({ l, own, rest }) => ({ y: tf.sub(own, tf.matMul(l, rest, true)) }),
      );
      const l: Value = { data: data.subarray(width * width), shape: [behind, width] };
      const { y } = await program.run({ l, own: rows(from, width), rest: rows(from + width, behind) });
      b.set(y.data as Float32Array, from * columns);
    }
    for (let i = width - 1; i >= 0; i--)
      for (let j = 0; j < i; j++) takeOff(from + j, from + i, data[i * width + j] as number);
  }
  return { data: b, shape: [size, columns] };
}
