import { expect, test } from 'vitest';
import { float16BitsToFloat32, float32ToFloat16Bits } from './float16.ts';

const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
const values = float16BitsToFloat32(all);

test('every float16 comes back from float32 as it was, NaNs as NaN', () => {
  const back = float32ToFloat16Bits(values);
  for (let bits = 0; bits < 65536; bits++) {
    if (Number.isNaN(values[bits])) expect((back[bits] as number) & 0x7e00).toBe(0x7e00);
    else if (back[bits] !== bits) expect.fail(`${bits} became ${back[bits]}`);
  }
});

test('halfway between two neighbours goes to the even one, and past halfway to the nearer', () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const [low, high] = [values[bits] as number, values[bits + 1] as number];
    const middle = (low + high) / 2;
    const even = bits % 2 === 0 ? bits : bits + 1;
    const step = 2 ** (Math.floor(Math.log2(middle)) - 23);
    const got = [...float32ToFloat16Bits([middle - step, middle, middle + step, -middle])];
    const expected = [bits, even, bits + 1, even | 0x8000];
    if (`${got}` !== `${expected}`) expect.fail(`between ${low} and ${high}: expected ${expected}, got ${got}`);
  }
});

test('what is too large becomes infinity', () => {
  expect([...float32ToFloat16Bits([65504, 65519, 65520, -1e30, Number.POSITIVE_INFINITY])]).toEqual([
    0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00,
  ]);
});
