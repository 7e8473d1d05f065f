import { expect, test } from 'vitest';
import { productsAreExact } from './exact-products.ts';
import { nodeRuntime } from './node.ts';
import type { Program } from './runtime.ts';

const programOf = (sum: number): Program => ({
  inputs: ['x', 'w'],
  outputs: ['y'],
  run: async () => ({ y: { data: new Float32Array(64).fill(sum), shape: [4, 16] } }),
  release: async () => {},
});

test('a runtime that adds in full says so', async () => {
  expect(await productsAreExact(async () => programOf(64 * 255 * 127))).toBe(true);
});

test('sums that saturate, and an operator that is missing, are found', async () => {
  expect(await productsAreExact(async () => programOf(32 * 32767))).toBe(false);
  expect(await productsAreExact(() => Promise.reject(new Error('no such operator')))).toBe(false);
});

test('what a runtime finds does not depend on its threads', async () => {
  const runtime = nodeRuntime();
  expect(await runtime.exactIntegerProducts()).toBe(await nodeRuntime({ threads: 2 }).exactIntegerProducts());
});
