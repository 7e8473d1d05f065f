/**
 * Text to token ids and back, by a Hugging Face `tokenizer.json`. The library does the work; this gives it plain numbers, and
 * special tokens only where they are asked for. A text of a megabyte takes about a second, so it is never cut into pieces.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import type { JsonObject, JsonValue } from './json.ts';
import { isJsonObject } from './json.ts';

/** Text to ids and back. */
export interface Tokenizer {
  /** The ids of a text; with what the model puts around a text (`<s>`, …) only if asked. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array;
  /** The text of ids, special tokens included as they are written unless they are to be left out. */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** The id of a token by its exact text, if there is one. */
  idOf(token: string): number | undefined;
  /** Number of tokens, added ones included. */
  readonly vocabSize: number;
  /** The token that begins a text, if the tokenizer names one. */
  readonly bosId: number | undefined;
  /** The token that ends a text, if the tokenizer names one. */
  readonly eosId: number | undefined;
}

/** A tokenizer from the contents of `tokenizer.json` and `tokenizer_config.json`. Throws what the library throws for parts that it does not know. */
export function createTokenizer(definition: JsonObject, config: JsonObject = {}): Tokenizer {
  const tokenizer = new HuggingFaceTokenizer(definition, config);
  const idOf = (token: string): number | undefined => tokenizer.token_to_id(token);
  const idNamed = (value: JsonValue | undefined): number | undefined => {
    const content = isJsonObject(value) ? value.content : value; // a plain text, or a token with its properties
    return typeof content === 'string' ? idOf(content) : undefined;
  };
  const cleanUp = config.clean_up_tokenization_spaces === true; // else decoding would change the text
  return {
    encode: (text, { addSpecialTokens = false } = {}) =>
      Int32Array.from(tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids),
    decode: (ids, { skipSpecialTokens = false } = {}) =>
      ids.length === 0
        ? ''
        : tokenizer.decode(Array.from(ids), {
            skip_special_tokens: skipSpecialTokens,
            clean_up_tokenization_spaces: cleanUp,
          }),
    idOf,
    vocabSize: tokenizer.get_vocab(true).size,
    bosId: idNamed(config.bos_token),
    eosId: idNamed(config.eos_token),
  };
}
