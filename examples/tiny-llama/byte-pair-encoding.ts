/**
 * Trains a byte-level tokenizer (byte pair encoding with GPT-2's splitting) and writes it as Hugging Face's `tokenizer.json`.
 *
 * A text of a small world has few different words, so the plain algorithm is fast enough: count the words once, then again and again
 * count all neighbouring pairs in the words, and join the most frequent one.
 */

/** What `tokenizer.json` holds under `model`, and the special tokens before it. */
export interface BytePairEncoding {
  /** Token → id: special tokens, then the 256 bytes, then joined pairs in the order of `merges`. */
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (readonly [string, string])[];
  readonly special: readonly string[];
}

export interface TrainOptions {
  /** Number of tokens in all. */
  readonly vocab: number;
  /** Tokens that no text is split into; they get the first ids. */
  readonly special: readonly string[];
}

/** GPT-2's words: contractions, letters, digits, other signs, each with the blank before it; and blanks. */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Learns the merges from a text. Ties go to the pair with the smaller ids, so the result depends on the counts alone. */
export function trainBytePairs(text: string, { vocab: size, special }: TrainOptions): BytePairEncoding {
  const tokens = [...special, ...BYTE_CHARACTERS];
  if (size < tokens.length)
    throw new RangeError(`trainBytePairs: expected a vocabulary of at least ${tokens.length}, got ${size}.`);
  const words = countWords(text, special.length);
  const merges: [string, string][] = [];
  while (tokens.length < size) {
    const best = mostFrequentPair(words);
    if (!best) break;
    const [left, right] = best;
    merges.push([tokens[left] as string, tokens[right] as string]);
    for (const word of words) join(word.ids, left, right, tokens.length);
    tokens.push(`${tokens[left]}${tokens[right]}`);
  }
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges, special };
}

interface Word {
  readonly ids: number[];
  readonly count: number;
}

function countWords(text: string, firstByte: number): Word[] {
  const counts = new Map<string, number>();
  for (const [word] of text.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const encoder = new TextEncoder();
  return [...counts].map(([word, count]) => ({
    ids: Array.from(encoder.encode(word), (byte) => firstByte + byte),
    count,
  }));
}

function mostFrequentPair(words: readonly Word[]): [left: number, right: number] | undefined {
  const counts = new Map<number, number>();
  for (const { ids, count } of words) {
    for (let i = 0; i + 1 < ids.length; i++) {
      const pair = (ids[i] as number) * PAIR + (ids[i + 1] as number);
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best = -1;
  let most = 1;
  for (const [pair, count] of counts) {
    if (count > most || (count === most && best >= 0 && pair < best)) [best, most] = [pair, count];
  }
  return best < 0 ? undefined : [Math.floor(best / PAIR), best % PAIR];
}

/** A pair of ids as one number. */
const PAIR = 2 ** 20;

function join(ids: number[], left: number, right: number, joined: number): void {
  for (let i = 0; i + 1 < ids.length; i++) {
    if (ids[i] === left && ids[i + 1] === right) ids.splice(i, 2, joined);
  }
}

/** GPT-2's printable stand-ins of the bytes 0 … 255: printable Latin-1 as it is, the others from U+0100 on. */
const BYTE_CHARACTERS: readonly string[] = (() => {
  const printable = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

/** The three files of a Hugging Face tokenizer, name → content. The first special token ends a text. */
export function tokenizerFiles(
  { vocab, merges, special }: BytePairEncoding,
  maxTokens: number,
): Record<string, unknown> {
  const flags = { lstrip: false, normalized: false, rstrip: false, single_word: false };
  const added = special.map((content) => ({ id: vocab[content], content, ...flags, special: true }));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const [end] = special;
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab,
        merges,
      },
    },
    'tokenizer_config.json': {
      added_tokens_decoder: Object.fromEntries(added.map(({ id, ...token }) => [String(id), token])),
      bos_token: end,
      eos_token: end,
      unk_token: end,
      add_prefix_space: false,
      clean_up_tokenization_spaces: false,
      model_max_length: maxTokens,
      tokenizer_class: 'GPT2Tokenizer',
    },
    'special_tokens_map.json': { bos_token: end, eos_token: end, unk_token: end },
  };
}
