import type { LanguageModel } from '@mobilequant/core';
import { expect, test } from 'vitest';
import { compareModels } from './compare-models.ts';
import { perplexity } from './perplexity.ts';

const modelOf = (row: readonly number[]): LanguageModel => ({
  vocab: row.length,
  logits: async (tokens) =>
    Float32Array.from({ length: tokens.length * row.length }, (_, i) => row[i % row.length] as number),
});

const text = new Int32Array(8);

test('a model agrees with itself', async () => {
  const model = modelOf([0.3, -1, 2]);
  const { distance, logRatio } = await compareModels(model, model, text, { tokens: 4 });
  expect(distance).toEqual({ agreement: 1, divergence: 0, logitError: 0, relativeError: 0, tokens: 8 });
  expect(logRatio).toEqual({ mean: 0, standardError: 0 });
});

test('a constant added to the logits changes the error but neither the agreement nor the divergence', async () => {
  const { distance } = await compareModels(modelOf([0.25, -1, 2]), modelOf([2.25, 1, 4]), text, { tokens: 4 });
  expect(distance).toMatchObject({ agreement: 1, logitError: 4, relativeError: 1 });
  expect(distance.divergence).toBeCloseTo(0, 12);
});

test('the divergence is Σ p log(p / q)', async () => {
  const [p, q] = [
    [0.5, 0.25, 0.25],
    [0.125, 0.75, 0.125],
  ];
  const { distance } = await compareModels(modelOf(p.map(Math.log)), modelOf(q.map(Math.log)), text, {
    tokens: 4,
    windows: 1,
  });
  expect(distance.divergence).toBeCloseTo(0.5 * Math.log(4) + 0.25 * Math.log(1 / 3) + 0.25 * Math.log(2), 6);
  expect(distance).toMatchObject({ agreement: 0, tokens: 4 });
});

test('a logit that is no number is not passed over', async () => {
  const { distance, b } = await compareModels(modelOf([1, 2]), modelOf([1, Number.NaN]), text, { tokens: 4 });
  expect(distance.relativeError).toBeNaN();
  expect(b.tokenPerplexity).toBeNaN();
});

test('models of different vocabularies are not comparable', async () => {
  await expect(compareModels(modelOf([1, 2]), modelOf([1, 2, 3]), text, { tokens: 4 })).rejects.toThrow(
    'got 2 and 3 tokens',
  );
});

test('both perplexities are those that each model has by itself, from one pass of each', async () => {
  const mixed = Int32Array.from({ length: 40 }, (_, i) => (i * i) % 3);
  const calls = [0, 0];
  const counted = (index: number, row: readonly number[]): LanguageModel => ({
    vocab: 3,
    logits: async (tokens) => {
      calls[index] = (calls[index] ?? 0) + 1;
      return Float32Array.from(
        { length: tokens.length * 3 },
        (_, i) => (row[i % 3] as number) * (tokens[0] === 0 ? 1 : 2),
      );
    },
  });
  const [a, b] = [counted(0, [0.3, -1, 2]), counted(1, [1, 0.5, -2])];
  const decode = (ids: Int32Array) => ids.join(' ');
  const found = await compareModels(a, b, mixed, { tokens: 10, windows: 9, decode });
  expect(calls).toEqual([4, 4]);
  for (const [model, got] of [
    [a, found.a],
    [b, found.b],
  ] as const) {
    const alone = await perplexity(model, mixed, { tokens: 10, windows: 9, decode });
    expect(got.tokenPerplexity).toBeCloseTo(alone.tokenPerplexity, 5);
    expect(got).toMatchObject({ words: alone.words, tokens: 36, missingWindows: 5 });
  }
  expect(found.logRatio.mean).toBeCloseTo(Math.log(found.b.tokenPerplexity / found.a.tokenPerplexity), 12);
});
