/**
 * How far one distribution over tokens is from another, with a gradient of two passes over the logits.
 */
import { rowDot } from '@mobilequant/core';
import * as tf from '@tensorflow/tfjs';

/**
 * KL(p ‖ q) of each row, p = softmax(target), q = softmax(logits). The gradient in the logits is q - p; the target has none.
 *
 * @param target `[rows, vocab]`
 * @param logits `[rows, vocab]`
 * @returns `[rows, 1]`
 */
export function divergence(target: tf.Tensor, logits: tf.Tensor): tf.Tensor {
  return tf.customGrad((input, save) => {
    const z = input as tf.Tensor;
    const [targetTotal, total] = [tf.logSumExp(target, -1, true), tf.logSumExp(z, -1, true)];
    const p = tf.exp(tf.sub(target, targetTotal));
    (save as tf.GradSaveFunc)([z, total, p]);
    return {
      value: tf.add(rowDot(p, tf.sub(target, z)), tf.sub(total, targetTotal)),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [z, total, p] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
        return tf.mul(dy, tf.sub(tf.exp(tf.sub(z, total)), p));
      },
    };
  })(logits);
}
