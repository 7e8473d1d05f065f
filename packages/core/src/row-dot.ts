/**
 * Row-wise products, and the two operations whose gradients they make cheap.
 */

import { lower, rowDot as lowerRowDot } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { registerComposite } from './register-composite.ts';

type Inputs = Record<'a' | 'b', tf.Tensor>;

registerComposite<Inputs, unknown>('RowDot', ({ a, b }) => tf.sum(tf.mul(a, b), -1, true));

lower<'a' | 'b'>('RowDot', (recorder, { a, b }) => {
  const columns = a.shape.at(-1) as number;
  const rows = a.shape.slice(0, -1).reduce((size, d) => size * d, 1);
  return recorder.reshape(lowerRowDot(recorder, a, b, rows, columns), [...a.shape.slice(0, -1), 1]);
});

tf.registerGradient({
  kernelName: 'RowDot',
  inputsToSave: ['a', 'b'],
  gradFunc: (dy, [a, b]) => ({
    a: () => tf.mul(dy as tf.Tensor, b as tf.Tensor),
    b: () => tf.mul(dy as tf.Tensor, a as tf.Tensor),
  }),
});

/** Σ a·b over the last axis, which is kept with size 1. */
export function rowDot(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  return tf.engine().runKernel('RowDot', { a, b }) as tf.Tensor;
}

/** Softmax over the last axis; the gradient is y·(dy - Σ dy·y), without the products stored. */
export const softmax: (x: tf.Tensor) => tf.Tensor = tf.customGrad((x, save) => {
  const y = tf.softmax(x as tf.Tensor);
  (save as tf.GradSaveFunc)([y]);
  return {
    value: y,
    gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const y = saved[0] as tf.Tensor;
      return tf.mul(y, tf.sub(dy, rowDot(dy, y)));
    },
  };
});
