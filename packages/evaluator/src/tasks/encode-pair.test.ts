import { describe, expect, test } from 'vitest';
import { encodePairs, encodeText, type TextCoder } from './encode-pair.ts';

/** A token is a letter, or a space with the letters behind it; `<` begins texts. */
const PIECES = /<| ?[a-z]+|[^a-z<]/g;
const pieces: string[] = ['<'];
const coder: TextCoder = {
  encode(text, { addSpecialTokens = false } = {}) {
    const found = [...(addSpecialTokens ? ['<'] : []), ...(text.match(PIECES) ?? [])];
    return Int32Array.from(found, (piece) => (pieces.includes(piece) ? pieces.indexOf(piece) : pieces.push(piece) - 1));
  },
  decode: (ids) => Array.from(ids, (id) => pieces[id]).join(''),
  bosId: 0,
  eosId: undefined,
};

const spelled = (prompt: string, ...continuations: string[]) =>
  encodePairs(coder, prompt, continuations).map(({ context, continuation }) =>
    [context, continuation].map((ids) => Array.from(ids, (id) => pieces[id])),
  );

describe('encodePairs', () => {
  test('the continuation is what both together have more than the prompt', () => {
    expect(spelled('a cat', ' sat', ' is')).toEqual([
      [['<', 'a', ' cat'], [' sat']],
      [['<', 'a', ' cat'], [' is']],
    ]);
  });

  test('spaces at the end of the prompt go to the continuation', () => {
    expect(spelled('a cat \n ', 'sat')).toEqual([
      [
        ['<', 'a', ' cat'],
        [' ', '\n', ' sat'],
      ],
    ]);
  });

  test('where both melt into other tokens, the prompt stays what it is alone', () => {
    expect(spelled('a ca', 't sat')).toEqual([[['<', 'a', ' ca'], [' sat']]]);
  });

  test('a text that begins with the first token gets no other one', () => {
    expect(Array.from(encodeText(coder, '<a'))).toEqual(Array.from(encodeText(coder, 'a')));
  });

  test('without a prompt the first token is one', () => {
    expect(spelled('', 'a cat')).toEqual([[['<'], ['a', ' cat']]]);
    expect(spelled('', '<a cat')).toEqual([[['<'], ['a', ' cat']]]);
  });

  test('nothing to score is an error', () => {
    expect(() => encodePairs(coder, 'a', [''])).toThrowErrorMatchingInlineSnapshot(
      `[TaskError: encodePairs: expected at least one token of prompt and continuation, got ["a",""]. Look at the item.]`,
    );
    expect(() => encodePairs({ ...coder, bosId: undefined }, 'a', ['b'])).toThrowErrorMatchingInlineSnapshot(
      `[TaskError: tokenizer: expected a token that begins or ends a text, got neither. Name one in tokenizer_config.json.]`,
    );
  });
});
