import { expect, test } from 'vitest';
import { bytes, count, percent, powerOfTen, shortNumber, signedPercent } from './numbers.ts';

/** With spaces that a line can be broken at. */
const plain = (text: string): string => text.replaceAll('\u00a0', ' ');

test.each([
  [0, '0'],
  [0.5, '0.5'],
  [-31.256, '−31.3'],
  [1234.4, '1,234'],
  [0.0000213, '2.13 × 10⁻⁵'],
  [-4e-12, '−4 × 10⁻¹²'],
  [250_000, '2.5 × 10⁵'],
  [Number.NEGATIVE_INFINITY, '−∞'],
  [Number.NaN, 'not a number'],
])('%s in short is %s', (x, text) => {
  expect(plain(shortNumber(x))).toBe(text);
});

test('units are those that a person would use', () => {
  expect([bytes(900), bytes(249_330_672), bytes(1_250_000_000)].map(plain)).toEqual(['0.9 kB', '249 MB', '1.25 GB']);
  expect([count(0), count(12_345), count(134_500_000)].map(plain)).toEqual(['0 k', '12.3 k', '135 M']);
  expect([percent(0.9427, 1), signedPercent(0.0058), signedPercent(-0.01)].map(plain)).toEqual([
    '94.3 %',
    '+0.58 %',
    '−1.00 %',
  ]);
  expect(powerOfTen(12)).toBe('10¹²');
});
