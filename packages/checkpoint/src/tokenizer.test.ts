import { expect, test } from 'vitest';
import { TOKENIZER } from '../test/tiny-checkpoint.ts';
import { createTokenizer } from './tokenizer.ts';

const tokenizer = createTokenizer(TOKENIZER, { bos_token: '<s>', eos_token: { content: '</s>' } });

test('text is encoded without special tokens, and with them if asked', () => {
  expect(tokenizer.encode('abc ab.')).toEqual(Int32Array.of(10, 4, 7, 10, 8));
  expect(tokenizer.encode('abc', { addSpecialTokens: true })).toEqual(Int32Array.of(0, 10, 4));
  expect(tokenizer.encode('')).toEqual(new Int32Array());
});

test('decoding gives the text back, spaces before punctuation included', () => {
  const text = 'ab , cd . e';
  expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  expect(tokenizer.decode([])).toBe('');
});

test('special tokens are decoded as they are written, or left out', () => {
  expect(tokenizer.decode(Int32Array.of(0, 10, 1))).toBe('<s>ab</s>');
  expect(tokenizer.decode([0, 10, 1], { skipSpecialTokens: true })).toBe('ab');
});

test('it knows its size and its special tokens, whichever way they are named', () => {
  const { vocabSize, bosId, eosId } = tokenizer;
  expect({ vocabSize, bosId, eosId }).toEqual({ vocabSize: 11, bosId: 0, eosId: 1 });
  expect(createTokenizer(TOKENIZER, { bos_token: null }).bosId).toBeUndefined();
  expect(tokenizer.idOf('ab')).toBe(10);
  expect(tokenizer.idOf('ba')).toBeUndefined();
});

test('a long text is encoded in one go', () => {
  const text = 'abc d, e. '.repeat(20_000);
  const ids = tokenizer.encode(text);
  expect(ids.length).toBe(9 * 20_000);
  expect(tokenizer.decode(ids)).toBe(text);
});
