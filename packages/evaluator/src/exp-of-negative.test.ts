import { expect, test } from 'vitest';
import { expOfNegative } from './exp-of-negative.ts';

test('it is the exponential to twelve digits, down to where that vanishes beside one', () => {
  for (let x = 0; x > -88; x -= 0.0137) expect(expOfNegative(x) / Math.exp(x)).toBeCloseTo(1, 11);
  expect(expOfNegative(0)).toBe(1);
  expect(expOfNegative(-88.5)).toBe(0);
});

test('what is no number stays none, and minus infinity gives nothing', () => {
  expect(expOfNegative(Number.NaN)).toBeNaN();
  expect(expOfNegative(Number.NEGATIVE_INFINITY)).toBe(0);
});
