import type { Decoder } from './decoder.ts';
import type { TokenTree } from './token-tree.ts';

/**
 * The one interface that float, simulated, integer and device models share.
 */
export interface LanguageModel {
  readonly vocab: number;
  /** Token ids `[tokens]` → logits `[tokens, vocab]`, row-major. Each call is a text of its own. */
  logits(tokens: Int32Array): Promise<Float32Array>;
  /**
   * `-log p(tokens[i + 1] | tokens[0 … i])` in nats, `[tokens - 1]`. Optional: models that compute it without
   * handing out the logits are faster; callers fall back to `logits`.
   */
  negativeLogLikelihood?(tokens: Int32Array): Promise<Float32Array>;
  /**
   * A tree of texts → logits behind the tokens at some places of it, `[places, vocab]`. Optional: models that read several texts at
   * once are faster; callers fall back to `logits` of each.
   */
  treeLogits?(tree: TokenTree, places: Int32Array): Promise<Float32Array>;
  /** Begins a text that grows. Optional: models with a cache of keys and values read each token of it once. */
  begin?(): TextReader;
  /** Frees sessions and buffers. */
  release?(): Promise<void>;
}

/** A text that grows. */
export interface TextReader {
  /** Reads more tokens, at least one → logits behind the last of them, `[vocab]`. */
  read(tokens: Int32Array): Promise<Float32Array>;
}

/** Heads are compiled for a number of rows; rounded up to a multiple of this, they share programs. */
const ROWS_STEP = 32;

/** A decoder as a language model. */
export function languageModel(decoder: Decoder): LanguageModel {
  return {
    vocab: decoder.config.vocab,
    logits: async (tokens) => decoder.logits(await decoder.hidden(tokens)),
    async negativeLogLikelihood(tokens) {
      const x = await decoder.hidden(tokens);
      return decoder.negativeLogLikelihood(x.subarray(0, x.length - decoder.config.hidden), tokens.subarray(1));
    },
    async treeLogits(tree, places) {
      const x = await decoder.hiddenOfTree(tree);
      const { hidden, vocab } = decoder.config;
      const rows = new Float32Array(Math.ceil(places.length / ROWS_STEP) * ROWS_STEP * hidden);
      places.forEach((place, i) => {
        rows.set(x.subarray(place * hidden, (place + 1) * hidden), i * hidden);
      });
      return (await decoder.logits(rows)).subarray(0, places.length * vocab);
    },
    release: () => decoder.release(),
  };
}
