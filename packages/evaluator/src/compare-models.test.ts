import type { LanguageModel } from '@mobilequant/core';
import { expect, test } from 'vitest';
import { compareModels } from './compare-models.ts';

const modelOf = (row: readonly number[]): LanguageModel => ({
  vocab: row.length,
  logits: async (tokens) =>
    Float32Array.from({ length: tokens.length * row.length }, (_, i) => row[i % row.length] as number),
});

const text = new Int32Array(8);

test('a model agrees with itself', async () => {
  const model = modelOf([0.3, -1, 2]);
  expect(await compareModels(model, model, text, { tokens: 4 })).toEqual({
    agreement: 1,
    divergence: 0,
    logitError: 0,
    relativeError: 0,
    tokens: 8,
  });
});

test('a constant added to the logits changes the error but neither the agreement nor the divergence', async () => {
  const result = await compareModels(modelOf([0.25, -1, 2]), modelOf([2.25, 1, 4]), text, { tokens: 4 });
  expect(result).toMatchObject({ agreement: 1, logitError: 4, relativeError: 1 });
  expect(result.divergence).toBeCloseTo(0, 12);
});

test('the divergence is Σ p log(p / q)', async () => {
  const [p, q] = [
    [0.5, 0.25, 0.25],
    [0.125, 0.75, 0.125],
  ];
  const result = await compareModels(modelOf(p.map(Math.log)), modelOf(q.map(Math.log)), text, {
    tokens: 4,
    windows: 1,
  });
  expect(result.divergence).toBeCloseTo(0.5 * Math.log(4) + 0.25 * Math.log(1 / 3) + 0.25 * Math.log(2), 6);
  expect(result).toMatchObject({ agreement: 0, tokens: 4 });
});

test('a logit that is no number is not passed over', async () => {
  const result = await compareModels(modelOf([1, 2]), modelOf([1, Number.NaN]), text, { tokens: 4 });
  expect(result.relativeError).toBeNaN();
});

test('models of different vocabularies are not comparable', async () => {
  await expect(compareModels(modelOf([1, 2]), modelOf([1, 2, 3]), text, { tokens: 4 })).rejects.toThrow(
    'got 2 and 3 tokens',
  );
});
