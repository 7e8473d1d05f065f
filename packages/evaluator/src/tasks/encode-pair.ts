/**
 * A prompt and what may follow it, as token ids, divided as the harness divides them (`TemplateLM._encode_pair`): spaces at the end of the
 * prompt go to the continuation, both are encoded together, and what is behind the length of the prompt alone is the continuation.
 */
import { stripEnd } from './python-text.ts';
import { TaskError } from './task-error.ts';

/** What is needed of a tokenizer. */
export interface TextCoder {
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array;
  decode(ids: ArrayLike<number>): string;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
}

/** How likely is `continuation` behind `context`? Both `[tokens]`, none empty. */
export interface Request {
  readonly context: Int32Array;
  readonly continuation: Int32Array;
}

/** The token that stands before a text that has none: the one that begins texts, or else ends them. */
export function prefixToken({ bosId, eosId }: TextCoder): number {
  const id = bosId ?? eosId;
  if (id !== undefined) return id;
  const advice = 'Name one in tokenizer_config.json.';
  throw new TaskError('tokenizer', 'a token that begins or ends a text', 'neither', advice);
}

/** The ids of a text with the special tokens that the tokenizer adds, unless the text begins with one. */
export function encodeText(coder: TextCoder, text: string): Int32Array {
  const begun = text.startsWith(coder.decode([prefixToken(coder)]));
  return coder.encode(text, { addSpecialTokens: !begun });
}

/**
 * One request for each continuation.
 *
 * @throws TaskError where nothing is left of the prompt or of a continuation.
 */
export function encodePairs(coder: TextCoder, prompt: string, continuations: readonly string[]): Request[] {
  const requests = prompt === '' ? withoutPrompt(coder, continuations) : behindPrompt(coder, prompt, continuations);
  const empty = requests.findIndex(({ context, continuation }) => context.length === 0 || continuation.length === 0);
  if (empty < 0) return requests;
  const pair = JSON.stringify([prompt.slice(-20), continuations[empty]]);
  throw new TaskError('encodePairs', 'at least one token of prompt and continuation', pair, 'Look at the item.');
}

function behindPrompt(coder: TextCoder, prompt: string, continuations: readonly string[]): Request[] {
  const context = encodeText(coder, stripEnd(prompt));
  return continuations.map((continuation) => ({
    context,
    continuation: encodeText(coder, prompt + continuation).subarray(context.length),
  }));
}

function withoutPrompt(coder: TextCoder, continuations: readonly string[]): Request[] {
  const prefix = prefixToken(coder);
  return continuations.map((text) => {
    const ids = coder.encode(text, { addSpecialTokens: false });
    return ids[0] === prefix
      ? { context: ids.subarray(0, 1), continuation: ids.subarray(1) }
      : { context: Int32Array.of(prefix), continuation: ids };
  });
}
