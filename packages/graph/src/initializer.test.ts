import { describe, expect, test } from 'vitest';
import { byteLength, ELEMENT_TYPES, elementSize, typedArrayOf } from './element-type.ts';
import { initializer, valuesOf } from './initializer.ts';

const bytesOf = (item: { data: unknown }): Uint8Array => item.data as Uint8Array;

test.each(ELEMENT_TYPES)('values of %s come back from their bytes', (type) => {
  const values = type === 'bool' ? [0, 1, 1] : type.startsWith('u') ? [0, 1, 15] : [-8, 0, 7];
  const item = initializer('w', type, [3], values);
  expect(bytesOf(item).byteLength).toBe(byteLength(type, [3]));
  expect(byteLength(type, [4])).toBe(4 * elementSize(type));
  expect(valuesOf(item, bytesOf(item))).toEqual(values);
});

test('a typed array is taken without a copy, at its place in the buffer', () => {
  const buffer = Float32Array.of(1, 2, 3, 4);
  const item = initializer('w', 'float32', [2], buffer.subarray(1, 3));
  expect(bytesOf(item).buffer).toBe(buffer.buffer);
  expect(valuesOf(item, bytesOf(item))).toEqual([2, 3]);
});

test('bytes at any offset can be read as elements', () => {
  const shifted = new Uint8Array([0, ...new Uint8Array(Float32Array.of(1.5).buffer)]).subarray(1);
  expect(typedArrayOf('float32', shifted)).toEqual(Float32Array.of(1.5));
});

describe('refused are', () => {
  test('values that the type does not hold', () => {
    expect(() => initializer('w', 'int4', [3], [0, 7, 8])).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'w': expected values that int4 holds, got 8 at 2.]`,
    );
    expect(() => initializer('w', 'int64', [1], [0.5])).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'w': expected values that int64 holds, got 0.5 at 0.]`,
    );
    expect(() => initializer('w', 'int64', [1], [Number.NaN])).toThrow(
      'expected values that int64 holds, got NaN at 0',
    );
  });

  test('the typed array of another type', () => {
    expect(() => initializer('w', 'float16', [1], Float32Array.of(1))).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'w': expected the typed array of float16, got Float32Array.]`,
    );
  });

  test('another number of values than the shape has', () => {
    expect(() => initializer('w', 'int4', [3], [1, 2, 3, 4])).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'w': expected 3 values for int4[3], got 4.]`,
    );
    expect(() => initializer('w', 'float32', [2, 2], Float32Array.of(1))).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'w': expected 16 bytes for float32[2, 2], got 4.]`,
    );
  });

  test('another number of bytes than the shape has', () => {
    expect(() => valuesOf({ type: 'int4', shape: [4] }, Uint8Array.of(0x21))).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: valuesOf: expected 2 bytes for int4[4], got 1.]`,
    );
  });

  test('impossible shapes', () => {
    expect(() => byteLength('uint8', [2, -1])).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: byteLength: expected whole dimensions of a possible size, got [2, -1].]`,
    );
    expect(() => byteLength('uint8', [2 ** 30, 2 ** 30])).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: byteLength: expected whole dimensions of a possible size, got [1073741824, 1073741824].]`,
    );
    expect(() => byteLength('uint8', [1.5])).toThrow(/whole dimensions/);
  });
});
