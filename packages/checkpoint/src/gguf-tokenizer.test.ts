import { describe, expect, test } from 'vitest';
import { file, value } from '../test/gguf-bytes.ts';
import { FormatError } from './errors.ts';
import { type GgufHeader, parseGgufHeader } from './gguf.ts';
import { ggufTokenizer } from './gguf-tokenizer.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';

function headerOf(entries: Readonly<Record<string, Uint8Array>>): GgufHeader {
  const metadata = Object.entries(entries).map(([key, entry]) => [`tokenizer.${key}`, entry]);
  const bytes = file(Object.fromEntries(metadata), {});
  return parseGgufHeader(bytes, bytes.length, 'x.gguf') as GgufHeader;
}

function tokenizerOf(entries: Readonly<Record<string, Uint8Array>>): Tokenizer {
  const { definition, config } = ggufTokenizer(headerOf(entries), 'x.gguf');
  return createTokenizer(definition, config);
}

function messageOf(entries: Readonly<Record<string, Uint8Array>>): string {
  try {
    ggufTokenizer(headerOf(entries), 'x.gguf');
  } catch (error) {
    if (error instanceof FormatError) return error.message.replace(/ The file is damaged .*/, '');
    throw error;
  }
  return 'no error';
}

/** How GPT-2 writes bytes: printable ones as they are, the others as letters from 256 on. */
const BYTES = [...Array(256).keys()].map((byte) => {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const others = byte < 33 ? byte : byte < 161 ? byte - 127 + 33 : 33 + 34;
  return String.fromCodePoint(printable ? byte : 256 + others);
});

describe('byte-level BPE', () => {
  const control = ['<|bos|>', '<|eos|>', '<tool>'];
  const tokens = [...BYTES, 'ab', 'abc', 'Ġa', '12', '123', '1234', 'xyz', ...control];
  const kinds = tokens.map((token) => (token === '<tool>' ? 4 : control.includes(token) ? 3 : 1));
  const entries = {
    'ggml.model': value.text('gpt2'),
    'ggml.tokens': value.texts(tokens),
    'ggml.token_type': value.i32s(kinds),
    'ggml.merges': value.texts(['a b', 'ab c', 'Ġ a', '1 2', '12 3', '123 4']),
    'ggml.bos_token_id': value.u32(tokens.indexOf('<|bos|>')),
    'ggml.eos_token_id': value.u32(tokens.indexOf('<|eos|>')),
  };
  const pre = (name: string) => ({ ...entries, 'ggml.pre': value.text(name) });
  /** The tokens of a text, by what they stand for. */
  const pieces = (tokenizer: Tokenizer, text: string) => [...tokenizer.encode(text)].map((id) => tokens[id]);

  test('merges bytes and finds special tokens', () => {
    const tokenizer = tokenizerOf(pre('gpt-2'));
    expect(pieces(tokenizer, 'abc ab<tool> aé')).toEqual(['abc', 'Ġ', 'ab', '<tool>', 'Ġa', 'Ã', '©']);
    expect(tokenizer.decode(tokenizer.encode('abc ab<tool> aé'))).toBe('abc ab<tool> aé');
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([tokens.indexOf('<|bos|>'), tokens.indexOf('<|eos|>')]);
    const ids = tokenizer.encode('<tool><|eos|>');
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('<tool>');
  });

  test.each([
    ['gpt-2', '1234', ['1234'], "ab'S", ['ab', "'", 'S']],
    ['smollm', '1234', ['1', '2', '3', '4'], "ab'S", ['ab', "'", 'S']],
    ['qwen2', '1234', ['1', '2', '3', '4'], "ab'S", ['ab', "'", 'S']],
    ['stablelm2', '1234', ['1', '2', '3', '4'], '.abc', ['.', 'abc']],
    ['llama-bpe', '1234', ['123', '4'], '.abc', ['.', 'abc']],
    ['default', '1234', ['123', '4'], '.abc', ['.', 'abc']],
  ])('%s splits text before it merges', (name, digits, expected, text, words) => {
    const tokenizer = tokenizerOf(pre(name));
    expect(pieces(tokenizer, digits)).toEqual(expected);
    expect(pieces(tokenizer, text)).toEqual(words);
  });

  test('llama-bpe takes a word that is a token as it is, whatever the merges say', () => {
    expect(pieces(tokenizerOf(pre('llama-bpe')), 'xyz')).toEqual(['xyz']);
    expect(pieces(tokenizerOf(pre('gpt-2')), 'xyz')).toEqual(['x', 'y', 'z']);
  });

  test('special tokens around a text are as the file says, or as its kind has them', () => {
    const bos = tokens.indexOf('<|bos|>');
    const eos = tokens.indexOf('<|eos|>');
    const around = (fields: Readonly<Record<string, Uint8Array>>) =>
      [...tokenizerOf(fields).encode('1', { addSpecialTokens: true })].map((id) => (id > 255 ? id : 'x'));
    expect(around(pre('gpt-2'))).toEqual(['x']);
    expect(around(pre('llama-bpe'))).toEqual([bos, 'x']);
    expect(around({ ...pre('llama-bpe'), 'ggml.add_bos_token': value.bool(false) })).toEqual(['x']);
    expect(
      around({ ...pre('gpt-2'), 'ggml.add_bos_token': value.bool(true), 'ggml.add_eos_token': value.bool(true) }),
    ).toEqual([bos, 'x', eos]);
  });

  test('a chat template is kept', () => {
    const { config } = ggufTokenizer(headerOf({ ...entries, chat_template: value.text('{{ x }}') }), 'x.gguf');
    expect(config).toMatchObject({ chat_template: '{{ x }}', eos_token: '<|eos|>' });
  });

  test('what cannot be built is refused by name', () => {
    expect(messageOf(pre('klingon'))).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.pre': expected one of default, gpt-2, phi-2, smollm, starcoder, llama-bpe, llama3, llama-v3, qwen2, deepseek-r1-qwen, stablelm2, got 'klingon'. Put a tokenizer.json beside the file."`,
    );
    expect(messageOf(pre('constructor'))).toContain("got 'constructor'");
    expect(messageOf({ ...entries, 'ggml.merges': value.texts(['ab']) })).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.merges': expected two pieces with a space between, got a list of 1."`,
    );
    expect(messageOf({ ...entries, 'ggml.token_type': value.i32s([1]) })).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.token_type': expected 266, one for each token, got a list of 1."`,
    );
    expect(messageOf({ ...entries, 'ggml.tokens': value.i32s([1]) })).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.tokens': expected a list of texts, got a list of 1."`,
    );
    expect(messageOf({ ...entries, 'ggml.bos_token_id': value.u32(9999) })).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.bos_token_id': expected one of 266 tokens, got 9999."`,
    );
    expect(messageOf({ ...entries, 'ggml.model': value.text('bert') })).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.model': expected 'gpt2' or 'llama', got 'bert'. Put a tokenizer.json beside the file."`,
    );
    expect(messageOf({})).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.model': expected a text, got nothing."`,
    );
  });
});

describe("SentencePiece's BPE", () => {
  const bytes = [...Array(256).keys()].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const words = ['▁', 'a', 'b', 'c', '▁a', 'ab', 'abc', '▁abc', 'bc'];
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...words, '  ', '<a tool>'];
  const kinds = tokens.map((token, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : words.includes(token) ? 1 : 4));
  const scores = tokens.map((token) => (token === 'bc' ? -1 : -10 - token.length));
  const entries = {
    'ggml.model': value.text('llama'),
    'ggml.tokens': value.texts(tokens),
    'ggml.token_type': value.i32s(kinds),
    'ggml.scores': value.f32s(scores),
    'ggml.bos_token_id': value.u32(1),
    'ggml.unknown_token_id': value.u32(0),
  };
  const pieces = (tokenizer: Tokenizer, text: string, addSpecialTokens = false) =>
    [...tokenizer.encode(text, { addSpecialTokens })].map((id) => tokens[id]);

  test('merges what makes the best piece, falls back to bytes, and begins with a space', () => {
    const tokenizer = tokenizerOf(entries);
    expect(pieces(tokenizer, 'abc ab')).toEqual(['▁abc', '▁a', 'b']);
    expect(pieces(tokenizer, 'a<a tool>  aé')).toEqual(['▁a', '<a tool>', '  ', '▁a', '<0xC3>', '<0xA9>']);
    expect(pieces(tokenizer, 'a', true)).toEqual(['<s>', '▁a']);
    expect(tokenizer.decode(tokenizer.encode('abc é'))).toBe('abc é');
  });

  test('does not begin with a space where the file says so', () => {
    const tokenizer = tokenizerOf({ ...entries, 'ggml.add_space_prefix': value.bool(false) });
    expect(pieces(tokenizer, 'ab bc')).toEqual(['ab', '▁', 'bc']);
    expect(tokenizer.decode(tokenizer.encode(' ab'))).toBe(' ab');
  });

  test('wants a score for each token', () => {
    const { 'ggml.scores': _, ...without } = entries;
    expect(messageOf(without)).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.scores': expected 270, one for each token, got nothing."`,
    );
    expect(messageOf({ ...entries, 'ggml.scores': value.f32s([1]) })).toMatchInlineSnapshot(
      `"x.gguf: metadata 'tokenizer.ggml.scores': expected 270, one for each token, got a list of 1."`,
    );
  });

  test('does not try all cuts of a piece that is longer than any real one', () => {
    const huge = 'ab'.repeat(2_000_000);
    const long = {
      ...entries,
      'ggml.tokens': value.texts([...tokens, huge]),
      'ggml.token_type': value.i32s([...kinds, 1]),
      'ggml.scores': value.f32s([...scores, 0]),
    };
    const started = performance.now();
    expect(messageOf(long)).toBe('no error');
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
