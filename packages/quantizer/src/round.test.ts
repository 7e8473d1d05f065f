import { expect, test } from 'vitest';
import { roundHalfEven } from './round.ts';

test('halves go to the even neighbour', () => {
  expect([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5].map(roundHalfEven)).toEqual([-4, -2, -2, 0, 0, 2, 2, 4]);
});

test('what is not quite a half goes to the nearest', () => {
  expect(roundHalfEven(0.49999999999999994)).toBe(0);
  expect(roundHalfEven(-0.49999999999999994)).toBe(0);
  expect(roundHalfEven(0.5000000000000001)).toBe(1);
  expect(roundHalfEven(1.4999999999999998)).toBe(1);
  expect(roundHalfEven(-2.5000000000000004)).toBe(-3);
  expect(roundHalfEven(2 ** 51 + 0.5)).toBe(2 ** 51);
  expect(roundHalfEven(2 ** 51 + 1.5)).toBe(2 ** 51 + 2);
});

test('numbers without fraction, infinities and NaN are kept', () => {
  const odd = 2 ** 52 + 1;
  for (const x of [odd, -odd, 2 ** 53 - 1, 1 - 2 ** 53, 2 ** 53 + 2, 1e300, Infinity, -Infinity, Number.NaN, 0]) {
    expect(roundHalfEven(x)).toBe(x);
  }
});

test('zero is never negative', () => {
  for (const x of [-0, -0.25, -0.5, -Number.MIN_VALUE]) expect(roundHalfEven(x)).toBe(0);
});

test('it agrees with adding and taking away 1.5 · 2^52, where doubles have no fraction left', () => {
  const magic = 1.5 * 2 ** 52;
  for (let i = -4000; i <= 4000; i++) {
    const xs = [i / 8, i * 0.1, i * 12345.5, i * 1e-4];
    expect(xs.map(roundHalfEven)).toEqual(xs.map((x) => x + magic - magic));
  }
});
