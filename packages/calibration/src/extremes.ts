/**
 * Largest and smallest elements whose gradient is shared equally among those that attain them
 * (tfjs gives the whole gradient to each).
 */
import * as tf from '@tensorflow/tfjs';

type Reduce = (x: tf.Tensor, axis?: number, keepDims?: boolean) => tf.Tensor;

function shared(reduce: Reduce, x: tf.Tensor, rows: boolean): tf.Tensor {
  const along = (f: Reduce, t: tf.Tensor) => (rows ? f(t, 1, true) : f(t));
  return tf.customGrad((input, save) => {
    const x = input as tf.Tensor;
    const y = along(reduce, x);
    (save as tf.GradSaveFunc)([x, y]);
    return {
      value: y,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [x, y] = saved as [tf.Tensor, tf.Tensor];
        const attained = tf.cast(tf.equal(x, y), 'float32');
        return tf.mul(attained, tf.div(dy, along(tf.sum, attained)));
      },
    };
  })(x);
}

/** Over everything (scalar), or each row of a matrix (`[rows, 1]`). */
export const largest = (x: tf.Tensor, rows: boolean): tf.Tensor => shared(tf.max, x, rows);
export const smallest = (x: tf.Tensor, rows: boolean): tf.Tensor => shared(tf.min, x, rows);

/** The value of f without a gradient. */
export function constant(f: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): tf.Tensor {
  return tf.customGrad((input) => ({ value: f(input as tf.Tensor), gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy) }))(x);
}
