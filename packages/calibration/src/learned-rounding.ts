/**
 * Rounding that can be learned: integers moved by a matrix of low rank, before they are rounded.
 *
 *     q = round(w / s + U · D / √rank)        U `[out, rank]`, D `[rank, in]`
 *
 * What is learned is a hundredth of a weight, and nothing of it is left on the device: the sum is rounded once and for all (LR-QAT,
 * arXiv 2406.06385). U starts at 0, so that the integers are at first those of w.
 */
import { mulberry32 } from '@mobilequant/core';
import { type Encoding, gridFromEncoding, type SignedLevels } from '@mobilequant/quantizer';
import type { ProgramCache, Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { normalFrom } from './numbers.ts';

/** What moves the integers of a weight. */
export interface Moves {
  /** U, `[out, rank]` */
  readonly up: Float32Array;
  /** D, `[rank, in]` */
  readonly down: Float32Array;
}

/** Moves that do not move anything yet: normal numbers wait for U to leave 0. */
export function noMoves([rows, columns]: readonly [number, number], rank: number, seed: number): Moves {
  const normal = normalFrom(mulberry32(seed));
  return { up: new Float32Array(rows * rank), down: Float32Array.from({ length: rank * columns }, normal) };
}

/** The integers of a weight, moved. */
export async function movedLevels(
  programs: ProgramCache,
  weight: Value,
  encoding: Encoding,
  { up, down }: Moves,
): Promise<SignedLevels> {
  const [rows, columns] = weight.shape as [number, number];
  const { scale, offset, qmax } = gridFromEncoding(encoding);
  const [rank, groups, half] = [up.length / rows, scale.length, 2 ** (encoding.spec.bits - 1)];
  const column = (data: ArrayLike<number>): Value => ({ data: Float32Array.from(data), shape: [groups, 1] });
  const program = await programs.program(
    `moved ${rows} ${columns} ${rank} ${groups} ${qmax}`,
    () => ({ w: [rows, columns], s: [groups, 1], z: [groups, 1], up: [rows, rank], down: [rank, columns] }),
    ({ w, s, z, up, down }) => {
      const inGroups = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [groups, -1]);
      const moved = tf.add(tf.div(inGroups(w), s), inGroups(product(up, down)));
      return { levels: tf.sub(tf.clipByValue(tf.add(tf.round(moved), z), 0, qmax), half) };
    },
  );
  const { levels } = await program.run({
    w: weight,
    s: column(scale),
    z: column(offset),
    up: { data: up, shape: [rows, rank] },
    down: { data: down, shape: [rank, columns] },
  });
  const data = levels.data as Float32Array;
  return encoding.spec.bits > 8 ? new Int16Array(data) : new Int8Array(data);
}

/**
 * A weight whose integers were moved, as it is; its gradient goes on, straight through the rounding, into what moved them.
 *
 * @param w `[out, in]`, rounded
 * @param scale `[]` or `[groups, 1]`
 */
export function movedBy(w: tf.Tensor, scale: tf.Tensor, up: tf.Tensor, down: tf.Tensor): tf.Tensor {
  return tf.customGrad((...args) => {
    const [w, up, down] = args as tf.Tensor[] as [tf.Tensor, tf.Tensor2D, tf.Tensor2D];
    const save = args.at(-1) as tf.GradSaveFunc;
    save([up, down]);
    return {
      value: tf.mul(w, 1),
      gradFunc: (dw: tf.Tensor, saved: tf.Tensor[]) => {
        const [up, down] = saved as [tf.Tensor2D, tf.Tensor2D];
        const perStep = tf.mul(tf.reshape(dw, [Math.max(scale.size, 1), -1]), scale);
        const d = tf.div(tf.reshape(perStep, dw.shape), Math.sqrt(up.shape[1])) as tf.Tensor2D;
        return [dw, tf.matMul(d, down, false, true), tf.matMul(up, d, true)];
      },
    };
  })(w, up, down);
}

const product = (up: tf.Tensor, down: tf.Tensor): tf.Tensor =>
  tf.div(tf.matMul(up as tf.Tensor2D, down as tf.Tensor2D), Math.sqrt(up.shape[1] as number));
