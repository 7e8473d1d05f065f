import { expect, test } from 'vitest';
import { mulberry32 } from './mulberry32.ts';
import { type SamplingOptions, sample } from './sample.ts';

const logits = Float32Array.of(1, 3, -2, 2.5, 0);

/** How often each token comes, of so many. */
function shares(options: SamplingOptions, before: number[] = [], count = 20_000): number[] {
  const random = mulberry32(7);
  const found = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < count; i++) {
    const token = sample(logits, before, random, options);
    found[token] = (found[token] as number) + 1 / count;
  }
  return found;
}

/** softmax(scores / temperature) over some tokens. */
function softmax(scores: ArrayLike<number>, temperature: number, tokens: readonly number[]): number[] {
  const weights = Array.from(scores, (score, i) => (tokens.includes(i) ? Math.exp(score / temperature) : 0));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / total);
}

const close = (found: readonly number[], wanted: readonly number[]) =>
  found.forEach((share, i) => expect(Math.abs(share - (wanted[i] as number)), `token ${i}`).toBeLessThan(0.012));

test('without a temperature the likeliest token comes, the first of several', () => {
  expect(sample(logits, [], () => 0.99)).toBe(1);
  expect(sample(Float32Array.of(2, 5, 5), [], () => 0.99)).toBe(1);
});

test('with a temperature tokens come as often as the softmax says', () => {
  close(shares({ temperature: 1 }), softmax(logits, 1, [0, 1, 2, 3, 4]));
  close(shares({ temperature: 2.5 }), softmax(logits, 2.5, [0, 1, 2, 3, 4]));
});

test('top-k and top-p leave the rest out', () => {
  close(shares({ temperature: 1, topK: 2 }), softmax(logits, 1, [1, 3]));
  const all = softmax(logits, 1, [0, 1, 2, 3, 4]);
  const two = (all[1] as number) + (all[3] as number);
  close(shares({ temperature: 1, topP: two - 0.01 }), softmax(logits, 1, [1, 3]));
  close(shares({ temperature: 1, topP: two + 0.01 }), softmax(logits, 1, [0, 1, 3]));
  close(shares({ temperature: 1, topP: 0.01 }), [0, 1, 0, 0, 0]);
  close(shares({ temperature: 1, topK: 3, topP: 0.9 }), softmax(logits, 1, [1, 3])); // nine tenths of what the three have
});

test('what was there comes less often: positive logits are divided, negative ones multiplied', () => {
  close(shares({ temperature: 1, repetitionPenalty: 2 }, [1, 1, 2]), softmax([1, 1.5, -4, 2.5, 0], 1, [0, 1, 2, 3, 4]));
  expect(sample(logits, [1], () => 0, { repetitionPenalty: 1.3 })).toBe(3);
  expect(logits[1]).toBe(3);
});

test('the same seed draws the same tokens', () => {
  const draw = (seed: number) => {
    const random = mulberry32(seed);
    return Array.from({ length: 30 }, () => sample(logits, [], random, { temperature: 1.5 }));
  };
  expect(draw(3)).toEqual(draw(3));
  expect(draw(3)).not.toEqual(draw(4));
});

test.each([
  [{ temperature: -1 }, 'a number from 0 as temperature, got -1'],
  [{ topK: 1.5 }, 'a whole number from 0 as topK, got 1.5'],
  [{ topP: 0 }, 'a share above 0, to 1 as topP, got 0'],
  [{ repetitionPenalty: 0 }, 'a number above 0 as repetitionPenalty, got 0'],
])('%o is refused', (options, message) => {
  expect(() => sample(logits, [], () => 0, options)).toThrow(message);
});

test('logits that are no numbers are refused', () => {
  expect(() => sample(Float32Array.of(0, NaN), [], () => 0)).toThrow('got NaN for token 1');
});
