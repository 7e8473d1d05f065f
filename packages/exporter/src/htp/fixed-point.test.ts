import { expect, test } from 'vitest';
import { factorOf, productFactors, rescaled, rescalingOf, sumFactors, wordSum } from './fixed-point.ts';

test('a factor has a mantissa from 1/2 to 1, rounded half up', () => {
  expect(factorOf(0.75, 12)).toEqual({ mantissa: 0.75, exponent: 0 });
  expect(factorOf(1, 12)).toEqual({ mantissa: 0.5, exponent: 1 });
  expect(factorOf(2 ** -29, 12)).toEqual({ mantissa: 0.5, exponent: -28 });
  expect(factorOf((2731.5 / 4096) * 2 ** -7, 12)).toEqual({ mantissa: 2732 / 4096, exponent: -7 });
  expect(factorOf(1 - 2 ** -30, 22)).toEqual({ mantissa: 1, exponent: 0 });
});

test('8 bits: of a sum that is worth 1/r steps, what is less than r/16 to r/8 is lost', () => {
  // Steps of the emulator for r = 160.94: from k - 1 to k at the nearest multiple of 16 to (k - 1/2) r.
  const rescaling = rescalingOf(1 / 160.94175781297793, 8);
  const level = (sum: number) => rescaled(sum, rescaling, { bits: 8, zeroPoint: 128 });
  for (const [step, from] of [
    [-26, -4272],
    [-25, -4096],
    [-8, -1360],
    [0, -80],
    [1, 80],
    [9, 1360],
    [10, 1536],
    [22, 3456],
  ] as const) {
    expect(level(from)).toBe(128 + step);
    expect(level(from - 1)).toBe(128 + step - 1);
  }
  expect(level(1e6)).toBe(255);
  expect(level(-1e6)).toBe(0);
});

test('16 bits: the low 8 bits of a sum are lost, of the zero point and of the bias each for itself', () => {
  expect(wordSum(255, 0, 0)).toBe(0);
  expect(wordSum(-1, 0, 0)).toBe(-1);
  // Zero point 128: halves go away from the input's side, as on the emulator: 3.5 → 3, -0.5 → -1.
  expect([-7, -6, -1, 1, 2].map((weightSum) => wordSum(0, weightSum, 128))).toEqual([3, 3, 0, -1, -1]);
  expect([-17110, 13581, 934, 5364].map((bias) => wordSum(0, 0, 32768, bias))).toEqual([-66, 53, 3, 20]);
});

test('16 bits: with r = 1 a sum of 256 is 256 steps, of 255 none', () => {
  const rescaling = rescalingOf(1, 16);
  const level = (sum: number) => rescaled(wordSum(sum, 0, 0), rescaling, { bits: 16, zeroPoint: 1000 }) - 1000;
  expect([-256, -1, 0, 255, 256, 512].map(level)).toEqual([-256, -256, 0, 0, 256, 512]);
});

test('factors of channels are multiples of the largest', () => {
  const { fround } = Math;
  const scales = [0.003, 0.01, 0.007].map(fround);
  const [a, b, c] = productFactors(fround(0.02), scales, fround(0.05));
  const whole = fround(fround(fround(0.02) * fround(0.01)) / fround(0.05));
  expect(b).toBe(whole);
  expect([a, c]).toEqual([0, 2].map((i) => fround(whole * fround((scales[i] as number) / fround(0.01)))));
});

test('a large summand leaves few bits to the other', () => {
  expect(sumFactors([0.5, 0.25], 1)).toEqual([0.5, 0.25]);
  expect(sumFactors([0.7, 893], 1)).toEqual([22 / 32, 893]);
  expect(sumFactors([0.1, 0.01], 1)).toEqual([Math.round(0.1 * 65536) / 65536, Math.round(0.01 * 65536) / 65536]);
});
