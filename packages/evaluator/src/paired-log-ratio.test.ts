import { expect, test } from 'vitest';
import { pairedLogRatio } from './paired-log-ratio.ts';
import type { WindowScore } from './perplexity.ts';

const scores = (...losses: readonly number[]): WindowScore[] =>
  losses.map((negativeLogLikelihood) => ({ tokens: 10, negativeLogLikelihood }));

test('the mean is the logarithm of the ratio of the perplexities', () => {
  const { mean } = pairedLogRatio(scores(30, 20), scores(31, 23));
  expect(Math.exp(mean)).toBeCloseTo(Math.exp(54 / 20) / Math.exp(50 / 20), 12);
});

test('for windows of one size the error is that of a mean of differences', () => {
  const { mean, standardError } = pairedLogRatio(scores(30, 20, 50), scores(31, 23, 55));
  const [first, second, third] = [0.1, 0.3, 0.5];
  const deviation = Math.sqrt(((first - mean) ** 2 + (second - mean) ** 2 + (third - mean) ** 2) / 2);
  expect(standardError).toBeCloseTo(deviation / Math.sqrt(3), 12);
});

test('what makes a window hard for both does not count', () => {
  expect(pairedLogRatio(scores(10, 90, 40), scores(11, 91, 41)).standardError).toBeCloseTo(0, 12);
});

test('windows of several sizes weigh as their tokens, and equal rates have no error', () => {
  const a = [
    { tokens: 10, negativeLogLikelihood: 20 },
    { tokens: 30, negativeLogLikelihood: 90 },
  ];
  const b = [
    { tokens: 10, negativeLogLikelihood: 22 },
    { tokens: 30, negativeLogLikelihood: 96 },
  ];
  expect(pairedLogRatio(a, b)).toEqual({ mean: 0.2, standardError: 0 });
});

test('a single window has no error, and other windows are refused', () => {
  expect(pairedLogRatio(scores(10), scores(11))).toEqual({ mean: 0.1 });
  expect(() => pairedLogRatio(scores(10, 11), scores(11))).toThrow('got 2 and 1');
});
