import type { LanguageModel, TokenTree } from '@mobilequant/core';
import { describe, expect, test } from 'vitest';
import type { Request } from './encode-pair.ts';
import { modelScorer } from './score.ts';

const VOCAB = 7;

/** Logits that depend on every token of the text so far. */
const rowAfter = (text: readonly number[]): number[] =>
  Array.from({ length: VOCAB }, (_, v) =>
    Math.fround(Math.sin(text.reduce((hash, t, i) => hash * 3 + t * (i + 1), v + 1))),
  );

function model(reads: number[] = []): LanguageModel {
  return {
    vocab: VOCAB,
    async logits(tokens) {
      reads.push(tokens.length);
      return Float32Array.from(Array.from(tokens).flatMap((_, i) => rowAfter(Array.from(tokens.subarray(0, i + 1)))));
    },
  };
}

/** The same, of trees. */
function treeModel(reads: number[] = []): LanguageModel {
  const textTo = ({ tokens, parents }: TokenTree, place: number): number[] =>
    place < 0 ? [] : [...textTo({ tokens, parents }, parents[place] as number), tokens[place] as number];
  return {
    ...model(),
    async treeLogits(tree, places) {
      reads.push(tree.tokens.length);
      return Float32Array.from(Array.from(places).flatMap((place) => rowAfter(textTo(tree, place))));
    },
  };
}

const request = (context: number[], continuation: number[]): Request => ({
  context: Int32Array.from(context),
  continuation: Int32Array.from(continuation),
});

/** Token by token, as it is defined. */
function slowly({ context, continuation }: Request) {
  const text = Array.from(context);
  let logLikelihood = 0;
  let greedy = true;
  for (const token of continuation) {
    const row = rowAfter(text);
    logLikelihood += (row[token] as number) - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    greedy &&= row.indexOf(Math.max(...row)) === token;
    text.push(token);
  }
  return { logLikelihood: expect.closeTo(logLikelihood, 9), greedy };
}

const likeliest = (text: number[]): number => rowAfter(text).indexOf(Math.max(...rowAfter(text)));

const items = [
  [request([1, 2, 3], [4, 5]), request([1, 2, 3], [4]), request([1, 2, 3], [likeliest([1, 2, 3])])],
  [request([1, 2, 6], [0, 1, 2])],
  [request([5], [6]), request([5], [1, 1])],
];

describe('modelScorer', () => {
  test('scores what follows, text by text; one that another begins with costs nothing', async () => {
    const reads: number[] = [];
    const scores = await modelScorer(model(reads), { length: 9 }).score(items);
    expect(scores).toEqual(items.map((item) => item.map(slowly)));
    expect(scores[0]?.[2]?.greedy).toBe(true);
    expect(reads).toEqual([4, 5, 2]);
  });

  test.each([
    [100, [9]], // the items add 4, 3 and 2
    [7, [7, 2]],
    [1, [7, 2]], // twice the first item are allowed
  ])('the same of trees of %i tokens, what is common once', async (together, sizes) => {
    const reads: number[] = [];
    const scores = await modelScorer(treeModel(reads), { length: 9, together }).score(items);
    expect(scores).toEqual(items.map((item) => item.map(slowly)));
    expect(reads).toEqual(sizes);
  });

  test('what is too long loses its beginning', async () => {
    const [[score] = []] = await modelScorer(model(), { length: 3 }).score([[request([6, 6, 1, 2], [3, 4])]]);
    expect(score).toEqual(slowly(request([1, 2], [3, 4])));
    await expect(modelScorer(model(), { length: 2 }).windows([request([1], [2, 3, 4])])).rejects.toThrowError(
      'score: expected a continuation of at most 2 tokens, got 3. Let the model read longer texts.',
    );
  });

  test('windows are scored like everything else', async () => {
    const requests = [request([1], [2, 3, 4]), request([4, 5], [6, 0])];
    const want = requests.map((each) => slowly(each).logLikelihood);
    expect(await modelScorer(model(), { length: 9 }).windows(requests)).toEqual(want);
    const fast: LanguageModel = {
      ...treeModel(),
      async negativeLogLikelihood(tokens) {
        const text = Array.from(tokens);
        return Float32Array.from(text.slice(1), (token, i) => {
          const row = rowAfter(text.slice(0, i + 1));
          return Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - (row[token] as number);
        });
      },
    };
    const got = await modelScorer(fast, { length: 9 }).windows(requests);
    got.forEach((value, i) => expect(value).toBeCloseTo((want[i] as { sample: number }).sample, 5));
  });
});
