import { describe, expect, test } from 'vitest';
import { type GenerateOptions, generate } from './generate.ts';
import type { LanguageModel } from './language-model.ts';

/** Finds the sum of the text, modulo the vocabulary, likeliest next; counts the tokens that it reads. */
function adding(vocab: number, cached: boolean): LanguageModel & { read: () => number } {
  let read = 0;
  const rowFor = (sum: number) => Float32Array.from({ length: vocab }, (_, i) => (i === sum % vocab ? 5 : 0));
  const sumOf = (tokens: Int32Array) => tokens.reduce((a, b) => a + b, 0);
  return {
    vocab,
    read: () => read,
    async logits(tokens) {
      read += tokens.length;
      const all = new Float32Array(tokens.length * vocab);
      tokens.forEach((_, i) => all.set(rowFor(sumOf(tokens.subarray(0, i + 1))), i * vocab));
      return all;
    },
    ...(cached && {
      begin() {
        let sum = 0;
        return {
          async read(tokens: Int32Array) {
            read += tokens.length;
            sum += sumOf(tokens);
            return rowFor(sum);
          },
        };
      },
    }),
  };
}

async function all(model: LanguageModel, prompt: number[], options?: GenerateOptions): Promise<number[]> {
  const tokens: number[] = [];
  for await (const token of generate(model, Int32Array.from(prompt), options)) tokens.push(token);
  return tokens;
}

describe.each([true, false])('with a cache: %s', (cached) => {
  test('each token follows from all before', async () => {
    const model = adding(100, cached);
    expect(await all(model, [1, 2], { tokens: 5 })).toEqual([3, 6, 12, 24, 48]);
    expect(model.read()).toBe(cached ? 2 + 4 : 2 + 3 + 4 + 5 + 6);
  });

  test('a stop token ends the text and is not part of it', async () => {
    expect(await all(adding(100, cached), [1, 2], { tokens: 50, stop: [24, 7] })).toEqual([3, 6, 12]);
  });

  test('an aborted signal ends the text', async () => {
    const stop = new AbortController();
    const tokens: number[] = [];
    for await (const token of generate(adding(100, cached), Int32Array.of(1, 2), { signal: stop.signal })) {
      tokens.push(token);
      if (tokens.length === 2) stop.abort();
    }
    expect(tokens).toEqual([3, 6]);
  });

  test('drawn at random, the same for the same seed', async () => {
    const of = (seed: number) => all(adding(10, cached), [1], { tokens: 20, temperature: 3, seed });
    expect(await of(1)).toEqual(await of(1));
    expect(await of(1)).not.toEqual(await of(2));
  });
});

test('a model with a cache says the same as one without', async () => {
  const options = { tokens: 12, temperature: 2, seed: 4, repetitionPenalty: 1.2, topK: 8 };
  expect(await all(adding(30, true), [3, 4], options)).toEqual(await all(adding(30, false), [3, 4], options));
});

test('an empty prompt is refused', async () => {
  await expect(all(adding(10, true), [])).rejects.toThrow('at least one token');
});
