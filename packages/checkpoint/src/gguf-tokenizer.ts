/**
 * From the vocabulary in a GGUF file to a Hugging Face `tokenizer.json`. Two kinds are understood:
 *
 *     gpt2    BPE over bytes; the file has the merges, and a name for the way that text is split before
 *     llama   SentencePiece's BPE; the file has a score for each piece, and a merge is as good as the piece that it makes
 */
import { FormatError } from './errors.ts';
import type { GgufHeader } from './gguf.ts';
import { type GgufMetadata, ggufMetadata } from './gguf-metadata.ts';
import type { JsonObject, JsonValue } from './json.ts';

/** The files of a tokenizer. */
export interface GgufTokenizer {
  /** `tokenizer.json` */
  readonly definition: JsonObject;
  /** `tokenizer_config.json` */
  readonly config: JsonObject;
}

/** What a piece of the vocabulary is, by the numbers of `tokenizer.ggml.token_type`. */
const KIND = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A vocabulary: pieces by id, what each is, and the ids of those with a role. */
interface Vocabulary {
  readonly meta: GgufMetadata;
  readonly pieces: readonly string[];
  readonly kinds: ArrayLike<number>;
  /** The piece that the file names as `bos`, `eos`, …. */
  role(name: string): string | undefined;
}

/** A tokenizer from a file's header. Throws a `FormatError` if there is none, or none of a kind that is understood. */
export function ggufTokenizer(header: GgufHeader, file: string): GgufTokenizer {
  const meta = ggufMetadata(header.metadata, file);
  const model = meta.text('tokenizer.ggml.model');
  const vocabulary = vocabularyOf(meta, file);
  if (model === 'gpt2') return gpt2(vocabulary);
  if (model === 'llama') return sentencePiece(vocabulary);
  return meta.fail('tokenizer.ggml.model', "'gpt2' or 'llama'", 'Put a tokenizer.json beside the file.');
}

function vocabularyOf(meta: GgufMetadata, file: string): Vocabulary {
  const pieces = meta.texts('tokenizer.ggml.tokens');
  const kinds = meta.numbers('tokenizer.ggml.token_type') ?? new Uint8Array(pieces.length).fill(KIND.normal);
  if (kinds.length !== pieces.length) meta.fail('tokenizer.ggml.token_type', `${pieces.length}, one for each token`);
  return {
    meta,
    pieces,
    kinds,
    role: (name) => {
      const key = `tokenizer.ggml.${name}_token_id`;
      if (!meta.has(key)) return undefined;
      const id = meta.number(key);
      if (pieces[id] !== undefined) return pieces[id];
      const expected = `one of ${pieces.length} tokens`;
      throw new FormatError({ file, where: `metadata '${key}'`, expected, received: `${id}` });
    },
  };
}

/** How llama.cpp splits text by the name in `tokenizer.ggml.pre`. */
interface Splitting {
  /** Text is split by each of these in turn, or, without any, as GPT-2 does. */
  readonly patterns?: readonly string[];
  readonly digits?: true;
  readonly normalizer?: 'NFC';
  /** A word that is a token is one, whatever the merges say. */
  readonly ignoreMerges?: true;
  readonly addBos?: true;
}

const CONTRACTIONS = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";
const cl100k = (digits: string): string =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const GPT2: Splitting = {};
const SINGLE_DIGITS: Splitting = { digits: true };
const LLAMA3: Splitting = { patterns: [cl100k('\\p{N}{1,3}')], ignoreMerges: true, addBos: true };
const QWEN2: Splitting = { patterns: [cl100k('\\p{N}')], normalizer: 'NFC' };
const STABLELM2: Splitting = { patterns: [cl100k('\\p{N}')] };
const DEFAULT: Splitting = {
  patterns: [
    '[\\p{P}\\$\\+<=>\\^~\\|]+',
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
    '\\p{N}+',
    '[0-9][0-9][0-9]',
  ],
};

const SPLITTINGS: Readonly<Record<string, Splitting>> = {
  default: DEFAULT,
  'gpt-2': GPT2,
  'phi-2': GPT2,
  smollm: SINGLE_DIGITS,
  starcoder: SINGLE_DIGITS,
  'llama-bpe': LLAMA3,
  llama3: LLAMA3,
  'llama-v3': LLAMA3,
  qwen2: QWEN2,
  'deepseek-r1-qwen': { ...QWEN2, addBos: true },
  stablelm2: STABLELM2,
};

function gpt2(vocabulary: Vocabulary): GgufTokenizer {
  const { meta, pieces, kinds } = vocabulary;
  const name = meta.text('tokenizer.ggml.pre', 'default');
  const splitting =
    (Object.hasOwn(SPLITTINGS, name) && SPLITTINGS[name]) ||
    meta.fail(
      'tokenizer.ggml.pre',
      `one of ${Object.keys(SPLITTINGS).join(', ')}`,
      'Put a tokenizer.json beside the file.',
    );
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const splits = (splitting.patterns ?? []).map((pattern) => ({
    type: 'Split',
    pattern: { Regex: pattern },
    behavior: 'Isolated',
    invert: false,
  }));
  const addBos = meta.flag('tokenizer.ggml.add_bos_token', splitting.addBos ?? false);
  return files(vocabulary, addBos, {
    added: added(pieces, kinds),
    normalizer: splitting.normalizer ? { type: splitting.normalizer } : null,
    preTokenizer: {
      type: 'Sequence',
      pretokenizers: [
        ...(splitting.digits ? [{ type: 'Digits', individual_digits: true }] : []),
        ...splits,
        { ...byteLevel, use_regex: !splitting.patterns },
      ],
    },
    decoder: { ...byteLevel, add_prefix_space: true, use_regex: true },
    model: {
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: splitting.ignoreMerges ?? false,
      vocab: vocabOf(pieces),
      merges: mergePairs(meta),
    },
  });
}

/** Merges are written with a space between, which no byte is written as. */
function mergePairs(meta: GgufMetadata): JsonValue {
  return meta.texts('tokenizer.ggml.merges').map((merge) => {
    const at = merge.indexOf(' ', 1);
    if (at < 0) meta.fail('tokenizer.ggml.merges', 'two pieces with a space between');
    return [merge.slice(0, at), merge.slice(at + 1)];
  });
}

function sentencePiece(vocabulary: Vocabulary): GgufTokenizer {
  const { meta, kinds } = vocabulary;
  // Runs of spaces are the only pieces that llama.cpp's converter writes with spaces and that merges make, too.
  const pieces = vocabulary.pieces.map((piece) => (/^ +$/.test(piece) ? SPACE.repeat(piece.length) : piece));
  const prefix = meta.flag('tokenizer.ggml.add_space_prefix', true);
  const toSpaces = { type: 'Replace', pattern: { String: SPACE }, content: ' ' };
  const fromSpaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const bytes = [{ type: 'ByteFallback' }, { type: 'Fuse' }];
  return files(vocabulary, meta.flag('tokenizer.ggml.add_bos_token', true), {
    added: added(pieces, kinds),
    normalizer: prefix
      ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, fromSpaces] }
      : fromSpaces,
    preTokenizer: prefix
      ? null
      : { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
    decoder: {
      type: 'Sequence',
      decoders: [toSpaces, ...bytes, ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [])],
    },
    model: {
      unk_token: vocabulary.role('unknown') ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabOf(pieces),
      merges: mergesOf(meta, pieces, kinds),
    },
  });
}

const SPACE = '\u2581';
const MAX_PIECE = 256; // SentencePiece stops at 16 by default; trying all cuts of a hostile one would take for ever

/** The ways to make each piece of two others, best first: user-defined pieces by id, then the others by score. */
function mergesOf(meta: GgufMetadata, pieces: readonly string[], kinds: ArrayLike<number>): JsonValue {
  const scores = meta.numbers('tokenizer.ggml.scores');
  if (scores?.length !== pieces.length)
    return meta.fail('tokenizer.ggml.scores', `${pieces.length}, one for each token`);
  const vocab = new Set(pieces);
  const ids = [...pieces.keys()].filter((id) => kinds[id] === KIND.normal || kinds[id] === KIND.userDefined);
  const score = (id: number): number =>
    kinds[id] === KIND.userDefined ? Number.POSITIVE_INFINITY : (scores[id] as number);
  ids.sort((a, b) => (score(a) === score(b) ? a - b : score(b) - score(a)));
  const merges: [string, string][] = [];
  for (const id of ids) {
    const piece = pieces[id] as string;
    if (piece.length > MAX_PIECE) continue;
    for (let cut = 1; cut < piece.length; cut++) {
      const [left, right] = [piece.slice(0, cut), piece.slice(cut)];
      if (vocab.has(left) && vocab.has(right)) merges.push([left, right]);
    }
  }
  return merges;
}

const vocabOf = (pieces: readonly string[]): JsonObject => Object.fromEntries(pieces.map((piece, id) => [piece, id]));

/** The tokens that are found in text as they are. */
function added(pieces: readonly string[], kinds: ArrayLike<number>): JsonValue {
  const found: JsonObject[] = [];
  pieces.forEach((content, id) => {
    const special = kinds[id] === KIND.control || kinds[id] === KIND.unknown;
    if (!special && kinds[id] !== KIND.userDefined) return;
    found.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special });
  });
  return found;
}

/** What the two kinds have in common. */
interface Parts {
  readonly added: JsonValue;
  readonly normalizer: JsonValue;
  readonly preTokenizer: JsonValue;
  readonly decoder: JsonValue;
  readonly model: JsonObject;
}

function files(vocabulary: Vocabulary, addBos: boolean, parts: Parts): GgufTokenizer {
  const { meta, role } = vocabulary;
  const [bos, eos] = [role('bos'), role('eos')];
  const addEos = meta.flag('tokenizer.ggml.add_eos_token', false);
  const before = addBos && bos !== undefined ? [bos] : [];
  const after = addEos && eos !== undefined ? [eos] : [];
  const template = meta.has('tokenizer.chat_template')
    ? { chat_template: meta.text('tokenizer.chat_template') }
    : undefined;
  return {
    definition: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: parts.added,
      normalizer: parts.normalizer,
      pre_tokenizer: parts.preTokenizer,
      post_processor: before.length || after.length ? templateProcessing(vocabulary, before, after) : null,
      decoder: parts.decoder,
      model: { type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null, ...parts.model },
    },
    config: {
      add_bos_token: before.length > 0,
      add_eos_token: after.length > 0,
      clean_up_tokenization_spaces: false,
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...template,
      ...named('bos_token', bos),
      ...named('eos_token', eos),
      ...named('pad_token', role('padding')),
      ...named('unk_token', role('unknown')),
    },
  };
}

const named = (key: string, piece: string | undefined): JsonObject => (piece === undefined ? {} : { [key]: piece });

/** Special tokens around one text, and around each of two. */
function templateProcessing({ pieces }: Vocabulary, before: readonly string[], after: readonly string[]): JsonObject {
  const special = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } });
  const around = (text: string, type: number) => [
    ...before.map((token) => special(token, type)),
    { Sequence: { id: text, type_id: type } },
    ...after.map((token) => special(token, type)),
  ];
  const tokens = [...new Set([...before, ...after])];
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      tokens.map((token) => [token, { id: token, ids: [pieces.indexOf(token)], tokens: [token] }]),
    ),
  };
}
