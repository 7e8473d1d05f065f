import * as tf from '@tensorflow/tfjs';
import { beforeEach, describe, expect, test } from 'vitest';
import { TraceError, UnsupportedKernelError } from './errors.ts';
import { nodeRuntime } from './node.ts';
import { trace } from './trace.ts';

const runtime = nodeRuntime();

beforeEach(async () => {
  await tf.setBackend('cpu');
});

const failureOf = (f: () => unknown): unknown => {
  try {
    f();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('trace', () => {
  test('names the kernel that has no ONNX form', () => {
    const error = failureOf(() => trace(({ x }) => ({ y: tf.reverse(x, 0) }), { x: [3] }));
    expect(error).toBeInstanceOf(UnsupportedKernelError);
    expect((error as UnsupportedKernelError).kernel).toBe('Reverse');
    expect((error as Error).message).toMatchInlineSnapshot(
      `"trace: expected kernels with an ONNX form, got 'Reverse', which has none. Write the function with other operations, or give the kernel one with lower('Reverse', …)."`,
    );
  });

  test('refuses to read a value, and gives tfjs its backend back', () => {
    const error = failureOf(() => trace(({ x }) => ({ y: x.dataSync()[0] ? x : tf.scalar(0) }), { x: [3] }));
    expect(error).toBeInstanceOf(TraceError);
    expect((error as Error).message).toMatchInlineSnapshot(
      `"trace: a traced tensor has no value. Control flow must not depend on one; return it as an output instead."`,
    );
    expect(tf.getBackend()).toBe('cpu');
    expect(tf.add(1, 2).dataSync()[0]).toBe(3);
  });

  test('refuses a trace inside a trace, and goes on tracing afterwards', () => {
    const inner = () => trace(({ x }) => ({ y: tf.neg(x) }), { x: [1] });
    expect(() =>
      trace(
        ({ x }) => {
          inner();
          return { y: x };
        },
        { x: [1] },
      ),
    ).toThrow(TraceError);
    expect(inner().outputs).toHaveLength(1);
  });

  test('refuses a gather by batches, which would be another one', () => {
    const by = (batchDims: number) =>
      trace(({ x, i }) => ({ y: tf.gather(x, i as tf.Tensor2D, 1, batchDims) }), {
        x: [2, 3],
        i: { shape: [2, 2], dtype: 'int32' },
      });
    expect(() => by(1)).toThrow('expected a gather without batchDims, got 1');
    expect(by(0).outputs[0]?.shape).toEqual([2, 2, 2]);
  });

  test('refuses an output that has the name of an input', () => {
    expect(() => trace(({ x }) => ({ x: tf.neg(x) }), { x: [1] })).toThrow("got 'x'");
  });

  test('leaves no tensors behind', () => {
    const body = ({ x }: Record<'x', tf.Tensor>) => ({
      y: tf.grad((v) => tf.sum(tf.mul(tf.sigmoid(v), [1, 2, 3])))(x),
    });
    const before = tf.memory();
    for (let i = 0; i < 20; i++) trace(body, { x: [3] });
    expect(tf.memory().numTensors).toBe(before.numTensors);
    expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers);
  });

  test('takes tensors from outside with their values', async () => {
    const outside = tf.tensor1d([1, 2, 3]);
    const graph = trace(({ x }) => ({ y: tf.mul(x, outside) }), { x: [3] });
    expect([...graph.initializers.values()].map(({ shape }) => shape)).toContainEqual([3]);
    const program = await runtime.compile(graph);
    const { y } = await program.run({ x: { data: Float32Array.of(4, 5, 6), shape: [3] } });
    expect([...(y!.data as Float32Array)]).toEqual([4, 10, 18]);
    expect([...outside.dataSync()]).toEqual([1, 2, 3]); // still readable
  });

  test('refuses a tensor that an earlier trace left', () => {
    let kept: tf.Tensor | undefined;
    trace(({ x }) => ({ y: (kept = tf.keep(tf.neg(x))) }), { x: [3] });
    expect(() => trace(({ x }) => ({ y: tf.add(x, kept as tf.Tensor) }), { x: [3] })).toThrow(TraceError);
  });

  test('keeps the names of outputs that have the same value', async () => {
    const graph = trace(({ x }) => ({ a: tf.neg(x), b: tf.neg(x), c: x }), {
      x: [2],
    });
    expect(graph.outputs.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    const results = await (await runtime.compile(graph)).run({ x: { data: Float32Array.of(1, -2), shape: [2] } });
    expect(
      Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, [...(data as Float32Array)]])),
    ).toEqual({ a: [-1, 2], b: [-1, 2], c: [1, -2] });
  });

  test('writes equal operations once', () => {
    const graph = trace(({ x }) => ({ y: tf.mul(tf.exp(x), tf.exp(x)) }), { x: [2] });
    expect(graph.nodes.filter(({ op }) => op === 'Exp')).toHaveLength(1);
  });
});
