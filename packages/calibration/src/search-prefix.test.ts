/** The search for a prefix: a slow one by its definition, and what it may not do to the float model. */
import { createDecoder, withPrefix } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { frequentTokens, type PrefixOptions, searchPrefix } from './search-prefix.ts';

const runtime = nodeRuntime();
const config = architecture('llama');
const weights = tinyWeights(config, 5);
const samples = [1, 2, 3].map((first) => Int32Array.from({ length: 16 }, (_, i) => (5 * i + first * first) % 24));
const candidates = [2, 9, 17];
const all: PrefixOptions = { places: 3, tokens: 16, gain: -Infinity, harm: Infinity };

const search = (options: PrefixOptions = {}, first?: number) =>
  searchPrefix(runtime, { config, weights, samples, first, candidates }, { ...all, ...options });

/** The mean over layers of log max |x|, and the mean loss of a token. */
async function behind(
  prefix: readonly number[],
  texts: readonly Int32Array[] = samples,
): Promise<{ size: number; loss: number }> {
  const model = await withPrefix(runtime, config, weights, prefix);
  const decoder = createDecoder(runtime, model.config, model.weights);
  const largest = new Array<number>(config.layers).fill(0);
  const losses: number[] = [];
  for (const sample of texts) {
    const x = await decoder.hidden(sample, (layer, own) => {
      largest[layer] = Math.max(largest[layer] as number, ...own.map(Math.abs));
    });
    losses.push(...(await decoder.negativeLogLikelihood(x.subarray(0, -config.hidden), sample.subarray(1))));
  }
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  return { size: mean(largest.map(Math.log)), loss: mean(losses) };
}

/** The candidate with the smallest residuals behind so many tokens. */
async function next(prefix: readonly number[]): Promise<number> {
  const sizes = await Promise.all(candidates.map(async (token) => (await behind([...prefix, token])).size));
  return candidates[sizes.indexOf(Math.min(...sizes))] as number;
}

describe('the prefix', () => {
  test('is the token that begins a text, then whichever makes the largest residuals smallest', async () => {
    const { tokens, before, after } = await search({ limit: 3 }, 7);
    const second = await next([7]);
    expect(tokens).toEqual([7, second, await next([7, second])]);
    const size = (residuals: readonly number[]) =>
      residuals.reduce((sum, x) => sum + Math.log(x), 0) / residuals.length;
    expect(size(before)).toBeCloseTo((await behind([])).size, 5);
    expect(size(after)).toBeCloseTo((await behind(tokens)).size, 5);
  });

  test('is searched on texts as short as there are', async () => {
    const short = samples.map((sample) => sample.subarray(0, 8));
    const options = { ...all, limit: 1 };
    const { tokens, before } = await searchPrefix(runtime, { config, weights, samples: short, candidates }, options);
    const sizes = await Promise.all(candidates.map(async (token) => (await behind([token], short)).size));
    expect(tokens).toEqual([candidates[sizes.indexOf(Math.min(...sizes))]]);
    expect(before.every((size) => size > 0)).toBe(true);
  });

  test('needs a sample, and ends where there is nothing to try', async () => {
    await expect(searchPrefix(runtime, { config, weights, samples: [], candidates })).rejects.toThrow(
      'searchPrefix: expected at least one sample, got none.',
    );
    const input = { config, weights, samples, first: 7, candidates: [] };
    expect((await searchPrefix(runtime, input, { ...all, limit: 3 })).tokens).toEqual([7]);
  });

  test('of many candidates tries the three best of a fourth of the places at all of them', async () => {
    const many = [2, 3, 5, 9, 12, 17, 20];
    const five = Array.from({ length: 5 }, (_, i) =>
      Int32Array.from({ length: 16 }, (_, j) => (7 * j + 3 * i * i) % 24),
    );
    const input = { config, weights, samples: five, candidates: many };
    const { tokens } = await searchPrefix(runtime, input, { ...all, places: 5, limit: 1 });
    const best = async (own: readonly number[], texts: readonly Int32Array[]): Promise<number[]> => {
      const sizes = await Promise.all(own.map(async (token) => (await behind([token], texts)).size));
      return own.toSorted((a, b) => (sizes[own.indexOf(a)] as number) - (sizes[own.indexOf(b)] as number));
    };
    const hopeful = (await best(many, [five[0] as Int32Array, five[4] as Int32Array])).slice(0, 3);
    expect(tokens).toEqual((await best(hopeful, five)).slice(0, 1));
  });

  test('grows while a token gains something', async () => {
    expect((await search({ limit: 3, gain: Infinity })).tokens).toEqual([]);
    const gains = [(await behind([])).size - (await behind([await next([])])).size];
    const { tokens } = await search({ limit: 1, gain: (gains[0] as number) - 1e-3 });
    expect(tokens).toEqual([await next([])]);
    expect((await search({ limit: 1, gain: (gains[0] as number) + 1e-3 })).tokens).toEqual([]);
  });

  test('does not make the float model know the text less well', async () => {
    const token = await next([]);
    const added = (await behind([token])).loss - (await behind([])).loss;
    expect((await search({ limit: 1, harm: added + 1e-3 })).tokens).toEqual([token]);
    expect((await search({ limit: 1, harm: added - 1e-3 })).tokens).toEqual([]);
  });
});

test('frequent tokens come in their order, lower ids first where it is one', () => {
  expect(frequentTokens([Int32Array.of(5, 3, 3, 9), Int32Array.of(9, 1, 9)], 3)).toEqual([9, 3, 1]);
});
