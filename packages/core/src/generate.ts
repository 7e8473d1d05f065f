/**
 * A text that a language model goes on with, token by token.
 */
import type { LanguageModel, TextReader } from './language-model.ts';
import { mulberry32 } from './mulberry32.ts';
import { type SamplingOptions, sample } from './sample.ts';

export interface GenerateOptions extends SamplingOptions {
  /** Tokens at most. Default 128. */
  readonly tokens?: number;
  /** Tokens that end the text; they are not part of it. */
  readonly stop?: readonly number[];
  /** Of what is drawn at random. Default 0. */
  readonly seed?: number;
  /** Looked at before each token; an aborted one ends the text. */
  readonly signal?: AbortSignal;
}

/**
 * Tokens behind a prompt, each as soon as it is there. A model with a cache (`begin`) reads each token once; another reads the whole
 * text again for every token.
 *
 * @example
 * for await (const token of generate(model, prompt, { temperature: 0.7, topP: 0.9, seed: 1 })) write(decode(token));
 *
 * @throws RangeError for an empty prompt or options that `sample` refuses; what the model throws, for instance where its context ends.
 */
export async function* generate(
  model: LanguageModel,
  prompt: Int32Array,
  { tokens = 128, stop = [], seed = 0, signal, ...sampling }: GenerateOptions = {},
): AsyncGenerator<number, void, undefined> {
  if (prompt.length === 0) throw new RangeError('generate: expected a prompt of at least one token, got none.');
  const reader = model.begin?.() ?? rereading(model);
  const random = mulberry32(seed);
  const text = Array.from(prompt);
  let fresh = prompt;
  for (let i = 0; i < tokens && !signal?.aborted; i++) {
    const token = sample(await reader.read(fresh), text, random, sampling);
    if (stop.includes(token)) return;
    yield token;
    text.push(token);
    fresh = Int32Array.of(token);
  }
}

/** Without a cache: everything is read each time. */
function rereading(model: LanguageModel): TextReader {
  const { vocab } = model;
  let text = new Int32Array(0);
  return {
    async read(tokens) {
      const longer = new Int32Array(text.length + tokens.length);
      longer.set(text);
      longer.set(tokens, text.length);
      text = longer;
      return (await model.logits(text)).slice((text.length - 1) * vocab, text.length * vocab);
    },
  };
}
