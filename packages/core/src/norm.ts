/**
 * Norms in the forms of `NormForm`.
 */
import * as tf from '@tensorflow/tfjs';
import type { NormForm } from './config.ts';
import { rowDot } from './row-dot.ts';

const L2_FLOOR = 1e-12; // as torch.nn.functional.normalize

/**
 * @param x `[rows, channels]`
 * @param weight `[channels]`
 * @param bias `[channels]`, LayerNorm's, or what a shifted transformation leaves behind.
 */
export function norm(
  x: tf.Tensor,
  weight: tf.Tensor,
  bias: tf.Tensor | undefined,
  form: NormForm,
  epsilon: number,
): tf.Tensor {
  const scaled = tf.mul(normalized(x, form, epsilon), weight);
  return bias ? tf.add(scaled, bias) : scaled;
}

function normalized(x: tf.Tensor, form: NormForm, epsilon: number): tf.Tensor {
  const channels = x.shape.at(-1) as number;
  const centred = form === 'layer' ? tf.sub(x, tf.mean(x, -1, true)) : x;
  const squares = rowDot(centred, centred);
  if (form === 'epsilon' || form === 'layer')
    return tf.mul(centred, tf.rsqrt(tf.add(tf.div(squares, channels), epsilon)));
  const length = tf.maximum(tf.sqrt(squares), L2_FLOOR);
  return tf.mul(x, tf.div(form === 'l2' ? Math.sqrt(channels) : 1, length));
}
