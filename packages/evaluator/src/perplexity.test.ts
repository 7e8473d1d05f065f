import type { LanguageModel } from '@mobilequant/core';
import { expect, test } from 'vitest';
import { negativeLogLikelihoodFromLogits } from './log-likelihood.ts';
import { perplexity, wordCount } from './perplexity.ts';

const VOCAB = 5;

/** Says after each token what `probabilities` has in that token's row. */
const bigram = (probabilities: readonly (readonly number[])[], shift = 0): LanguageModel => ({
  vocab: VOCAB,
  logits: async (tokens) =>
    Float32Array.from(
      [...tokens].flatMap((token) => (probabilities[token] as number[]).map((p) => Math.log(p) + shift)),
    ),
});

const rows = Array.from({ length: VOCAB }, (_, i) =>
  Array.from({ length: VOCAB }, (_, j) => (1 + ((i * 3 + j * 2) % 7)) / sumOfRow(i)),
);

function sumOfRow(i: number): number {
  return [0, 1, 2, 3, 4].reduce((sum, j) => sum + 1 + ((i * 3 + j * 2) % 7), 0);
}

const text = Int32Array.from({ length: 50 }, (_, i) => (i * i + 1) % VOCAB);

test('a model that knows nothing has the perplexity of its vocabulary', async () => {
  const uniform = bigram(Array.from({ length: VOCAB }, () => Array.from({ length: VOCAB }, () => 1 / VOCAB)));
  const { tokenPerplexity } = await perplexity(uniform, text, { tokens: 10, windows: 5 });
  expect(tokenPerplexity).toBeCloseTo(VOCAB, 6);
});

test('perplexity is that of the probabilities, window by window, without the first token of each', async () => {
  let [sum, count] = [0, 0];
  for (let start = 0; start + 10 <= 30; start += 10) {
    for (let i = start + 1; i < start + 10; i++) {
      sum -= Math.log((rows[text[i - 1] as number] as number[])[text[i] as number] as number);
      count++;
    }
  }
  const result = await perplexity(bigram(rows), text, { tokens: 10, windows: 3 });
  expect(result.tokenPerplexity).toBeCloseTo(Math.exp(sum / count), 6);
  expect(result.negativeLogLikelihood).toBeCloseTo(sum, 5);
  expect(result.tokens).toBe(count);
  expect(result.windows.map((window) => window.tokens)).toEqual([9, 9, 9]);
});

test('word perplexity divides by the words of the scored text, which excludes each first token', async () => {
  const seen: number[][] = [];
  const decode = (ids: Int32Array) => {
    seen.push([...ids]);
    return ' ab c\nd ';
  };
  const result = await perplexity(bigram(rows), text, { tokens: 10, windows: 2, decode });
  expect(seen).toEqual([[...text.subarray(1, 10)], [...text.subarray(11, 20)]]);
  expect(result.words).toBe(6);
  expect(result.wordPerplexity).toBeCloseTo(Math.exp(result.negativeLogLikelihood / 6), 10);
});

test('without a way to decode there is no word perplexity', async () => {
  expect(await perplexity(bigram(rows), text, { tokens: 10 })).not.toHaveProperty('wordPerplexity');
});

test('a text with fewer windows than asked for is measured as far as it goes, and the result says so', async () => {
  const result = await perplexity(bigram(rows), text, { tokens: 20, windows: 7 });
  expect(result.windows).toHaveLength(2);
  expect(result.missingWindows).toBe(5);
});

test('a model that computes the likelihood itself is not asked for logits', async () => {
  const model: LanguageModel = {
    vocab: VOCAB,
    logits: () => Promise.reject(new Error('not to be called')),
    negativeLogLikelihood: async (tokens) => new Float32Array(tokens.length - 1).fill(Math.log(3)),
  };
  expect((await perplexity(model, text, { tokens: 10 })).tokenPerplexity).toBeCloseTo(3, 5);
});

test('every window is reported as it is done', async () => {
  const reports: string[] = [];
  await perplexity(bigram(rows), text, { tokens: 25, onWindow: (_, done, total) => reports.push(`${done}/${total}`) });
  expect(reports).toEqual(['1/2', '2/2']);
});

test('a constant added to the logits changes nothing, even a large one', async () => {
  const one = await (bigram(rows).logits(text) as Promise<Float32Array>);
  const other = await bigram(rows, 500).logits(text);
  const targets = text.subarray(1);
  const [a, b] = [one, other].map((logits) => negativeLogLikelihoodFromLogits(logits, targets)) as [
    Float32Array,
    Float32Array,
  ];
  a.forEach((value, i) => expect(b[i]).toBeCloseTo(value, 3));
});

test('words are what any whitespace separates', () => {
  expect(wordCount(' a\u00a0b\tc\n\nd ')).toBe(4);
  expect(wordCount(' \n')).toBe(0);
});
