import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { dequantize, ggmlTypeFromCode, ggmlTypeInfo, ggmlTypes } from './gguf-blocks.ts';
import { readSafetensors, type Tensor } from './safetensors-file.ts';

let fixtures: ReadonlyMap<string, Tensor>;

beforeAll(async () => {
  const path = fileURLToPath(new URL('../test/fixtures/gguf/blocks.safetensors', import.meta.url));
  fixtures = (await readSafetensors(path)).tensors;
});

test.each(ggmlTypes)('blocks of %s are what the gguf package makes of them, bit by bit', (type) => {
  const bytes = fixtures.get(`${type}.bytes`)?.data as Uint8Array;
  const expected = fixtures.get(`${type}.values`)?.data as Float32Array;
  const { block, bytes: size } = ggmlTypeInfo(type);
  expect(bytes.length / size).toBe(expected.length / block);
  const out = new Float32Array(expected.length);
  dequantize(type, bytes, out);
  expect(out).toEqual(expected);
  expect(new Set(out).size).toBeGreaterThan(20);
});

test('blocks are read from wherever they lie in a buffer', () => {
  const bytes = fixtures.get('Q4_K.bytes')?.data as Uint8Array;
  const moved = new Uint8Array(bytes.length + 3);
  moved.set(bytes, 3);
  const out = new Float32Array(512);
  dequantize('Q4_K', moved.subarray(3), out);
  expect(out).toEqual(fixtures.get('Q4_K.values')?.data);
});

test('bytes that are not whole blocks for the numbers are refused', () => {
  expect(() => dequantize('Q8_0', new Uint8Array(33), new Float32Array(32))).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: dequantize: expected blocks of 34 bytes for 32 numbers, got 33 for 32.]`,
  );
  expect(() => dequantize('Q8_0', new Uint8Array(34), new Float32Array(31))).toThrow(RangeError);
});

test('a type is found by its code', () => {
  for (const type of ggmlTypes) expect(ggmlTypeFromCode(ggmlTypeInfo(type).code)?.type).toBe(type);
  expect(ggmlTypeFromCode(16)).toBeUndefined();
});
