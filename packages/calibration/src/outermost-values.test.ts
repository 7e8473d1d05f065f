/** Ranges from outermost values against sorting everything. */
import type { Value } from '@mobilequant/tracer';
import { describe, expect, test } from 'vitest';
import { normal } from '../test/tiny-layer.ts';
import { OutermostValues } from './outermost-values.ts';

const next = normal(4);
const randomValue = (...shape: number[]): Value => ({
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.exp(next()) * next()),
  shape,
});
const factors = Float32Array.from({ length: 12 }, (_, i) => 2 ** (i - 6));

/** The channel of an element of `[tokens, 12]`, or of `[3, tokens, 4]`. */
const channelOf = ({ shape, data }: Value, i: number): number =>
  shape.length === 2 ? i % 12 : 4 * Math.floor(i / (data.length / 3)) + (i % 4);

function sorted(values: readonly Value[], scale: ArrayLike<number> | undefined): number[] {
  const scaled = (value: Value) =>
    Array.from(value.data as Float32Array, (x, i) => Math.fround(x * (scale?.[channelOf(value, i)] ?? 1)));
  return values.flatMap(scaled).sort((a, b) => a - b);
}

describe.each([
  ['a matrix', [randomValue(40, 12), randomValue(25, 12)]],
  ['heads', [randomValue(3, 30, 4), randomValue(3, 7, 4)]],
] as const)('outermost values of %s', (_, values) => {
  test.each([
    [1, undefined],
    [1, factors],
    [0.99, undefined],
    [0.99, factors],
    [0.95, factors],
  ])('with coverage %d, scaled or not, make the range that sorting makes', (coverage, scale) => {
    const total = values.reduce((sum, { data }) => sum + data.length, 0);
    const cut = Math.floor((1 - coverage) * total);
    const outermost = new OutermostValues(12, cut + 2);
    for (const value of values) outermost.add(value);
    const all = sorted(values, scale);
    expect(cut > 0).toBe(coverage < 1);
    expect(outermost.range(coverage, scale)).toEqual({ min: all[cut], max: all[total - 1 - cut] });
  });

  test('know the largest of each channel', () => {
    const outermost = new OutermostValues(12, 3);
    for (const value of values) outermost.add(value);
    const largest = new Float32Array(12);
    for (const value of values) {
      value.data.forEach((x, i) => {
        const channel = channelOf(value, i);
        largest[channel] = Math.max(largest[channel] as number, Math.abs(x as number));
      });
    }
    expect(outermost.absMax()).toEqual(largest);
  });
});

test('values whose channels are not told apart are ranged as one', () => {
  const value = randomValue(3, 30, 4);
  const outermost = new OutermostValues(1, 5);
  outermost.add(value);
  const all = sorted([value], undefined);
  expect(outermost.range(0.99)).toEqual({ min: all[3], max: all[360 - 4] });
});
