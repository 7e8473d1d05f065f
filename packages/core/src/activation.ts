/** The functions of `DecoderConfig.activation` that have no inner quantizer. */
import * as tf from '@tensorflow/tfjs';

/** x · Φ(x), exactly. */
export const gelu = (x: tf.Tensor): tf.Tensor => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

/** Its approximation `x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³)))`. */
export function geluTanh(x: tf.Tensor): tf.Tensor {
  const cubed = tf.mul(tf.mul(tf.square(x), x), 0.044715);
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(tf.add(x, cubed), Math.sqrt(2 / Math.PI))), 1));
}

/** `cap * tanh(x / cap)`: never beyond ±cap. */
export const softCap = (x: tf.Tensor, cap: number | undefined): tf.Tensor =>
  cap === undefined ? x : tf.mul(tf.tanh(tf.div(x, cap)), cap);
