/** Runs a function of named tensors as tfjs operations, or as the graph they leave. */
import { specsOf } from '@mobilequant/core';
import { type Runtime, trace, type Values } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';

export type How = 'eager on tfjs' | 'traced on onnxruntime';

/** Runs a function of named tensors. */
export async function evaluate(
  how: How,
  runtime: Runtime,
  fn: (inputs: Record<string, tf.Tensor>) => Record<string, tf.Tensor>,
  values: Values,
): Promise<Record<string, Float32Array>> {
  if (how === 'traced on onnxruntime') {
    const program = await runtime.compile(trace(fn, specsOf(values)));
    const results = await program.run(values);
    await program.release();
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float32Array]));
  }
  await tf.setBackend('cpu');
  return tf.tidy(() => {
    const inputs = Object.fromEntries(
      Object.entries(values).map(([name, { data, shape }]) => [name, tf.tensor(data as Float32Array, [...shape])]),
    );
    return Object.fromEntries(
      Object.entries(fn(inputs)).map(([name, tensor]) => [name, tensor.dataSync() as Float32Array]),
    );
  });
}
