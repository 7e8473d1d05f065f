import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { programCache } from './program-cache.ts';
import type { Executor, Program } from './runtime.ts';

/** An executor whose programs are ready when they are told to be. */
function slowExecutor() {
  const made: { readonly name: string; readonly ready: () => void; readonly fail: () => void; released: boolean }[] =
    [];
  const program = (fn: unknown): Promise<Program> =>
    new Promise((resolve, reject) => {
      const own = { name: `${made.length}`, ready: () => {}, fail: () => reject(new Error('no')), released: false };
      const ready = (): void =>
        resolve({ run: async () => ({}), release: async () => void (own.released = true) } as never);
      made.push(Object.assign(own, { ready }));
      void fn;
    });
  return { made, executor: { program } as unknown as Executor };
}
const negative = ({ x }: { readonly x: tf.Tensor }) => ({ y: tf.neg(x) });
const specs = () => ({ x: [1] });

test('what is asked for while the cache is being released is compiled anew, and stays', async () => {
  const { made, executor } = slowExecutor();
  const cache = programCache(executor);
  const first = cache.program('a', specs, negative);
  const released = cache.release();
  const again = cache.program('a', specs, negative);
  for (const { ready } of made) ready();
  await released;
  expect(await again).not.toBe(await first);
  expect(made.map((own) => own.released)).toEqual([true, false]);
  await cache.release();
  expect(made.map((own) => own.released)).toEqual([true, true]);
});

test('a failure is not kept, and takes nothing newer with it', async () => {
  const { made, executor } = slowExecutor();
  const cache = programCache(executor);
  const first = cache.program('a', specs, negative);
  void cache.release();
  const second = cache.program('a', specs, negative);
  made[0]?.fail();
  await expect(first).rejects.toThrow('no');
  expect(cache.program('a', specs, negative)).toBe(second);
  made[1]?.fail();
  await expect(second).rejects.toThrow('no');
  void cache.program('a', specs, negative);
  expect(made).toHaveLength(3);
});
