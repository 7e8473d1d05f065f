import { expect, test } from 'vitest';
import type { Encoding } from './encoding.ts';
import { encodingFromRange } from './encoding-from-ranges.ts';
import { fakeQuantize } from './fake-quantize.ts';
import { dequantize, quantize } from './quantize.ts';

const encoding = (bits: number, symmetric: boolean): Encoding =>
  encodingFromRange({ min: -1, max: 2 }, { bits, symmetric, granularity: { kind: 'tensor' } }).encoding;

test('levels are bytes up to 8 bits and words above, signed on request', () => {
  expect(quantize([0], encoding(4, true))).toEqual(Uint8Array.of(8));
  expect(quantize([0], encoding(8, true))).toEqual(Uint8Array.of(128));
  expect(quantize([0], encoding(16, true))).toEqual(Uint16Array.of(32768));
  expect(quantize([0], encoding(8, true), { signed: true })).toEqual(Int8Array.of(0));
  expect(quantize([0], encoding(9, true), { signed: true })).toEqual(Int16Array.of(0));
});

test('values outside the range, infinities too, take the nearest end', () => {
  expect(quantize([-9, 9, -Infinity, Infinity], encoding(8, false))).toEqual(Uint8Array.of(0, 255, 0, 255));
  expect(quantize([-9, 9], encoding(8, false), { signed: true })).toEqual(Int8Array.of(-128, 127));
});

test('dequantize ∘ quantize is fake quantization, whichever way levels are stored', () => {
  const x = Float32Array.from({ length: 101 }, (_, i) => (i - 40) / 20);
  for (const bits of [2, 4, 8, 12, 16]) {
    for (const e of [encoding(bits, true), encoding(bits, false)]) {
      expect(dequantize(quantize(x, e), e)).toEqual(fakeQuantize(x, e));
      expect(dequantize(quantize(x, e, { signed: true }), e)).toEqual(fakeQuantize(x, e));
    }
  }
});

test('NaN has no level', () => {
  expect(() =>
    quantize([0, Number.NaN], encoding(8, true), { site: 'mlp.w1.weight' }),
  ).toThrowErrorMatchingInlineSnapshot(
    `[NonFiniteError: mlp.w1.weight: expected a number, got NaN at element 1. Look for an overflow before this site.]`,
  );
});
