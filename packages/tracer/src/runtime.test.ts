import { encodeModel } from '@mobilequant/graph';
import * as tf from '@tensorflow/tfjs';
import { beforeEach, describe, expect, test } from 'vitest';
import { eagerExecutor } from './eager-executor.ts';
import { FeedError } from './errors.ts';
import { nodeRuntime } from './node.ts';
import { programCache } from './program-cache.ts';
import type { Executor } from './runtime.ts';
import { trace } from './trace.ts';

const runtime = nodeRuntime();
const values = { x: { data: Float32Array.of(1, -2, 3), shape: [3] } };

beforeEach(async () => {
  await tf.setBackend('cpu');
});

describe.each([
  { name: 'a runtime', executor: runtime as Executor },
  { name: 'the eager executor', executor: eagerExecutor() },
])('programs of $name', ({ executor }) => {
  test('take what they need of the values and give results by name', async () => {
    const program = await executor.program(({ x, k }) => ({ y: tf.mul(x, k), z: tf.neg(x) }), { x: [3], k: [] });
    const k = { data: Float32Array.of(2), shape: [] };
    const { y, z } = await program.run({ ...values, k, unknown: k });
    expect([...y.data]).toEqual([2, -4, 6]);
    expect([...z.data]).toEqual([-1, 2, -3]);
    expect(z.shape).toEqual([3]);
  });

  test('keep the element types of inputs and outputs', async () => {
    const program = await executor.program(
      ({ on, ids, x }) => ({ y: tf.where(on, x, 0), next: tf.add(ids, tf.scalar(1, 'int32')) }),
      {
        on: { shape: [3], dtype: 'bool' },
        ids: { shape: [2], dtype: 'int32' },
        x: [3],
      },
    );
    const { y, next } = await program.run({
      ...values,
      on: { data: Uint8Array.of(1, 0, 1), shape: [3] },
      ids: { data: Int32Array.of(7, -1), shape: [2] },
    });
    expect(y.data).toEqual(Float32Array.of(1, 0, 3));
    expect(next.data).toEqual(Int32Array.of(8, 0));
  });

  test('have the inputs with values of their own built in', async () => {
    const specs = { x: [3], w: { shape: [3], values: Float32Array.of(10, 20, 30) } };
    const program = await executor.program(({ x, w }) => ({ y: tf.add(x, w) }), specs);
    expect(program.inputs).toEqual(['x']);
    expect([...(await program.run(values)).y.data]).toEqual([11, 18, 33]);
  });

  test('refuse to run without an input', async () => {
    const program = await executor.program(({ x }) => ({ y: tf.neg(x) }), { x: [3] });
    await expect(program.run({})).rejects.toThrowErrorMatchingInlineSnapshot(
      `[FeedError: Program.run: expected a value for input 'x', got none.]`,
    );
  });
});

test('a compiled program refuses values of another shape, or with too few elements', async () => {
  const program = await runtime.program(({ x }) => ({ y: tf.neg(x) }), { x: [3] });
  await expect(
    program.run({ x: { data: new Float32Array(2), shape: [2] } }),
  ).rejects.toThrowErrorMatchingInlineSnapshot(`[FeedError: Program.run: expected 'x' of shape [3], got [2].]`);
  await expect(program.run({ x: { data: new Float32Array(2), shape: [3] } })).rejects.toThrow(FeedError);
});

test('a model is loaded from its bytes', async () => {
  const graph = trace(({ x }) => ({ y: tf.neg(x) }), { x: [3] });
  const program = await runtime.load(await encodeModel(graph));
  expect([program.inputs, program.outputs]).toEqual([['x'], ['y']]);
  expect([...((await program.run(values))['y']?.data ?? [])]).toEqual([-1, 2, -3]);
});

describe('programCache', () => {
  /** Counts what is compiled; fails when told to. */
  const counting = (fails: () => boolean = () => false) => {
    const count = { compiled: 0, released: 0 };
    const executor: Executor = {
      async program(fn, specs) {
        count.compiled++;
        if (fails()) throw new Error('no memory');
        const program = await runtime.program(fn, specs);
        return { ...program, release: async () => void count.released++ };
      },
    };
    return { count, cache: programCache(executor) };
  };
  const get = (cache: ReturnType<typeof programCache>, key: string) =>
    cache.program(
      key,
      () => ({ x: [3] }),
      ({ x }) => ({ y: tf.neg(x) }),
    );

  test('compiles equal keys once, also when they are asked for at the same time', async () => {
    const { count, cache } = counting();
    const [first, second] = await Promise.all([get(cache, 'a'), get(cache, 'a')]);
    expect(second).toBe(first);
    expect(await get(cache, 'b')).not.toBe(first);
    expect(count.compiled).toBe(2);
    await cache.release();
    expect(count.released).toBe(2);
  });

  test('tries again after a failure', async () => {
    let broken = true;
    const { count, cache } = counting(() => broken);
    await expect(get(cache, 'a')).rejects.toThrow('no memory');
    broken = false;
    expect([...(await (await get(cache, 'a')).run(values)).y.data]).toEqual([-1, 2, -3]);
    await cache.release();
    expect(count).toEqual({ compiled: 2, released: 1 });
  });
});
