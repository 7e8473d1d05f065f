import { expect, test } from 'vitest';
import { cachedWeights, type Weights } from './weights.ts';

/** Three tensors of 4 elements each, which counts how often each is read. */
function counting(): { weights: Weights; reads: Record<string, number> } {
  const reads: Record<string, number> = {};
  const weights: Weights = {
    names: () => ['a', 'b', 'c'],
    has: () => true,
    shape: () => [2, 2],
    readRows: async () => new Float32Array(2),
    async read(name) {
      reads[name] = (reads[name] ?? 0) + 1;
      return new Float32Array(4);
    },
  };
  return { weights, reads };
}

test('a cache reads every tensor once', async () => {
  const { weights, reads } = counting();
  const cached = cachedWeights(weights);
  for (const name of ['a', 'b', 'c', 'a', 'b', 'c']) await cached.read(name);
  expect(reads).toEqual({ a: 1, b: 1, c: 1 });
  expect(await cached.read('a')).toBe(await cached.read('a'));
});

test('beyond its size it reads again, and keeps what it has', async () => {
  const { weights, reads } = counting();
  const cached = cachedWeights(weights, 40); // two tensors of 16 bytes
  for (const name of ['a', 'b', 'c', 'a', 'b', 'c', 'c']) await cached.read(name);
  expect(reads).toEqual({ a: 1, b: 1, c: 3 });
});

test('what it lets go of it reads again, once', async () => {
  const { weights, reads } = counting();
  const cached = cachedWeights(weights, 20); // one tensor of 16 bytes
  await cached.read('a');
  cached.forget();
  for (const name of ['b', 'b', 'a', 'a']) await cached.read(name);
  expect(reads).toEqual({ a: 3, b: 1 });
});
