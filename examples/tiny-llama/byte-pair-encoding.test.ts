import { fileURLToPath } from 'node:url';
import { readTokenizer } from '@mobilequant/checkpoint/node';
import { describe, expect, it } from 'vitest';
import { tokenizerFiles, trainBytePairs } from './byte-pair-encoding.ts';
import { MODEL, readJson } from './files.ts';
import { generateText } from './generator.ts';

const END = '<|endoftext|>';

describe('trainBytePairs', () => {
  it('joins the most frequent pair first, and of equally frequent ones that with the smaller ids', () => {
    const { merges } = trainBytePairs('abab abab cdcd', { vocab: 257 + 3, special: [END] });
    expect(merges).toEqual([
      ['a', 'b'],
      ['c', 'd'],
      ['ab', 'ab'],
    ]);
  });

  it('stops when no pair comes twice', () => {
    expect(trainBytePairs('xyz', { vocab: 300, special: [] }).merges).toEqual([]);
  });

  it('never joins across the end of a word', () => {
    const { vocab } = trainBytePairs('on on on on on on', { vocab: 300, special: [] });
    expect(Object.keys(vocab).slice(256)).toEqual(['on', 'Ġon']);
  });

  it('refuses a vocabulary that cannot hold all bytes', () => {
    expect(() => trainBytePairs('a', { vocab: 256, special: [END] })).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: trainBytePairs: expected a vocabulary of at least 257, got 256.]`,
    );
  });
});

describe('the tokenizer of the model', async () => {
  const tokenizer = await readTokenizer(fileURLToPath(MODEL));

  it.each([
    generateText({ seed: 99, characters: 20_000 }),
    '  two  blanks\n\n\nand lines\t',
    'Zoë, René, 東京, 😀, \u0000\u00ad',
    "don't we'll I'm 12345 3.14 -- …",
    `${END}One text.${END}Another.`,
    'a\r\nb',
  ])('gives back what it was given (%#)', (text) => {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it('has an id of its own for the end of a text', () => {
    expect(tokenizer.encode(`a${END}`).at(-1)).toBe(0);
  });

  it('is what its script makes of the training text', () => {
    const encoding = trainBytePairs(generateText({ seed: 1, characters: 2_000_000 }), { vocab: 1024, special: [END] });
    expect(tokenizerFiles(encoding, 256)['tokenizer.json']).toEqual(readJson('tokenizer.json'));
  });

  it('needs fewer than two tokens a word', () => {
    const text = generateText({ seed: 99, characters: 20_000 });
    expect(tokenizer.encode(text).length / text.split(/\s+/).length).toBeLessThan(2);
  });
});
