/** Every case of the list, traced and run on ONNX Runtime, against tfjs's own cpu backend. */
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { KERNEL_CASES, type KernelCase, withGradients } from '../test/kernel-cases.ts';
import { random } from '../test/random.ts';
import { nodeRuntime } from './node.ts';
import type { Runtime, Value, Values } from './runtime.ts';
import { trace } from './trace.ts';
import { webRuntime } from './web.ts';

const node = nodeRuntime();

beforeAll(async () => {
  await tf.setBackend('cpu');
});

function valuesFor({ inputs, positive }: KernelCase): Values {
  const next = random(7);
  return Object.fromEntries(
    Object.entries(inputs).map(([name, spec]): [string, Value] => {
      const [shape, below] = 'below' in spec ? [spec.shape, spec.below] : [spec, 0];
      const length = shape.reduce((size, d) => size * d, 1);
      if (below > 0) return [name, { data: Int32Array.from({ length }, () => Math.floor(next() * below)), shape }];
      return [name, { data: Float32Array.from({ length }, () => (positive ? 0.5 + next() : 2 * next() - 1)), shape }];
    }),
  );
}

function eager(kernelCase: KernelCase, values: Values): Record<string, Value> {
  return tf.tidy(() => {
    const tensors = Object.fromEntries(
      Object.entries(values).map(([name, { data, shape }]) => [
        name,
        tf.tensor(data as Float32Array, [...shape], data instanceof Int32Array ? 'int32' : 'float32'),
      ]),
    );
    const results = withGradients(kernelCase)(tensors);
    return Object.fromEntries(
      Object.entries(results).map(([name, y]) => [name, { data: y.dataSync() as Float32Array, shape: y.shape }]),
    );
  });
}

async function traced(runtime: Runtime, kernelCase: KernelCase, values: Values): Promise<Record<string, Value>> {
  const program = await runtime.compile(trace(withGradients(kernelCase), kernelCase.inputs));
  const results = await program.run(values);
  await program.release();
  return results;
}

/** Within float32's rounding of sums of a few hundred terms. */
function expectClose(got: Record<string, Value>, want: Record<string, Value>): void {
  expect(Object.keys(got).sort()).toEqual(Object.keys(want).sort());
  for (const [name, { data, shape }] of Object.entries(want)) {
    expect(got[name]?.shape).toEqual(shape);
    const size = Math.max(...Array.from(data as Float32Array, Math.abs), 1);
    const error = Math.max(...Array.from(data as Float32Array, (v, i) => Math.abs(v - (got[name]?.data[i] as number))));
    expect(error, name).toBeLessThan(2e-6 * size);
  }
}

describe('traced on onnxruntime-node equals tfjs cpu, forward and gradient', () => {
  test.each(KERNEL_CASES)('$name', async (kernelCase) => {
    const values = valuesFor(kernelCase);
    expectClose(await traced(node, kernelCase, values), eager(kernelCase, values));
  });
});

test('the same graphs run on onnxruntime-web', async () => {
  const web = webRuntime();
  for (const kernelCase of KERNEL_CASES.filter(({ name }) =>
    /^(silu|layer norm|softmax|batched product|look-up|cross entropy)/.test(name),
  )) {
    const values = valuesFor(kernelCase);
    expectClose(await traced(web, kernelCase, values), eager(kernelCase, values));
  }
});
