import { expect, test } from 'vitest';
import { packInt4, unpackInt4 } from './pack-int4.ts';

test('the first level is in the low nibble', () => {
  expect(packInt4(Uint8Array.of(1, 15, 7))).toEqual(Uint8Array.of(0xf1, 0x07));
});

test('all pairs of levels come back, signed and unsigned, even and odd counts', () => {
  const unsigned = Uint8Array.from({ length: 513 }, (_, i) => (i & 1 ? i >> 5 : i >> 1) & 15);
  const signed = Int8Array.from(unsigned, (level) => level - 8);
  for (const count of [0, 1, 512, 513]) {
    expect(unpackInt4(packInt4(unsigned.slice(0, count)), count)).toEqual(unsigned.slice(0, count));
    expect(unpackInt4(packInt4(signed.slice(0, count)), count, { signed: true })).toEqual(signed.slice(0, count));
  }
});

test('a level that needs more than four bits is refused', () => {
  expect(() => packInt4(Uint8Array.of(3, 16))).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: packInt4: expected levels from 0 to 15, got 16 at 1. Quantize to 4 bits first.]`,
  );
  expect(() => packInt4(Int8Array.of(-9))).toThrow(RangeError);
  expect(() => packInt4(Int8Array.of(8))).toThrow(RangeError);
});

test('the count must belong to the bytes', () => {
  expect(() => unpackInt4(Uint8Array.of(1, 2), 2)).toThrowErrorMatchingInlineSnapshot(
    `[ShapeError: unpackInt4: expected 1 bytes for 2 levels, got 2 bytes.]`,
  );
});
