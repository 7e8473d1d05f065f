import { describe, expect, test } from 'vitest';
import { metricOf, pooled } from './metrics.ts';

describe('metricOf', () => {
  test('accuracy has the standard error of a mean of a sample', () => {
    const { value, standardError } = metricOf('acc', [1, 0, 0, 1, 1]);
    expect(value).toBe(0.6);
    expect(standardError).toBeCloseTo(Math.sqrt((0.6 * 0.4) / 4), 12);
    expect(metricOf('acc_norm', [1])).toEqual({ value: 1 });
  });

  test('perplexity has the error that the bootstrap of the harness gives, from the same random numbers', () => {
    const { value, standardError } = metricOf('perplexity', [-1.5, -0.25, -4, -2]);
    expect(value).toBeCloseTo(Math.exp(7.75 / 4), 12);
    expect(standardError).toBeCloseTo(6.910662269878598, 9);
  });

  test('of words and bytes: sums are divided, not ratios averaged', () => {
    const items = [[-10, 4] as const, [-30, 6] as const];
    expect(metricOf('word_perplexity', items).value).toBeCloseTo(Math.exp(4), 12);
    expect(metricOf('bits_per_byte', items).value).toBeCloseTo(4 / Math.LN2, 12);
    // residuals l - r w are 6 and -6
    expect(metricOf('bits_per_byte', items).standardError).toBeCloseTo(Math.sqrt(2 * 72) / 10 / Math.LN2, 12);
    expect(metricOf('word_perplexity', items).standardError).toBeCloseTo(Math.exp(4) * 1.2, 9);
  });
});

test('pooled: the mean by items, the error nearly that of all items in one', () => {
  const [a, b] = [
    [1, 0, 1, 1],
    [0, 0, 1, 0, 0, 1],
  ];
  const together = metricOf('acc', [...a, ...b]);
  const { value, standardError } = pooled([a, b].map((items) => ({ ...metricOf('acc', items), items: items.length })));
  expect(value).toBeCloseTo(together.value, 12);
  const variances = [a, b].map(
    (items) => (items.length - 1) * ((metricOf('acc', items).standardError ?? 0) ** 2 * items.length),
  );
  expect(standardError).toBeCloseTo(Math.sqrt(((variances[0] ?? 0) + (variances[1] ?? 0)) / 8 / 10), 12);
  expect(pooled([{ value: 1, items: 1 }])).toEqual({ value: 1 });
});
