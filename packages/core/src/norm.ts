/**
 * Root-mean-square norms in the three forms of `DecoderConfig.norm`.
 */
import * as tf from '@tensorflow/tfjs';
import type { DecoderConfig } from './config.ts';
import { rowDot } from './row-dot.ts';

const L2_FLOOR = 1e-12; // as torch.nn.functional.normalize

/**
 * @param x `[tokens, hidden]`
 * @param weight `[hidden]`
 * @param bias `[hidden]`, what a shifted transformation leaves behind.
 */
export function norm(
  x: tf.Tensor,
  weight: tf.Tensor,
  bias: tf.Tensor | undefined,
  form: DecoderConfig['norm'],
  epsilon: number,
): tf.Tensor {
  const scaled = tf.mul(normalized(x, form, epsilon), weight);
  return bias ? tf.add(scaled, bias) : scaled;
}

function normalized(x: tf.Tensor, form: DecoderConfig['norm'], epsilon: number): tf.Tensor {
  const hidden = x.shape.at(-1) as number;
  const squares = rowDot(x, x);
  if (form === 'epsilon') return tf.mul(x, tf.rsqrt(tf.add(tf.div(squares, hidden), epsilon)));
  const length = tf.maximum(tf.sqrt(squares), L2_FLOOR);
  return tf.mul(x, tf.div(form === 'l2' ? Math.sqrt(hidden) : 1, length));
}
