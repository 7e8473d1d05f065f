/**
 * A document in windows as the harness reads it (`get_rolling_token_windows`, `make_disjoint_window`): every token is scored once, each
 * window of `length` tokens behind the last token before it; the last window reaches back as far as the length allows.
 */
import type { Request } from './encode-pair.ts';

/**
 * @param tokens of the document
 * @param prefix what the first token is scored behind
 * @param length of the longest text that the model reads
 * @throws RangeError for a length below 1.
 */
export function rollingWindows(tokens: Int32Array, prefix: number, length: number): Request[] {
  if (!(length >= 1)) throw new RangeError(`rollingWindows, length: expected 1 or more, got ${length}.`);
  const requests: Request[] = [];
  for (let from = 0; from < tokens.length; from += length) {
    const continuation = tokens.subarray(from, from + length);
    const to = from + continuation.length;
    const context = from === 0 ? Int32Array.of(prefix) : tokens.subarray(to - length - 1, from);
    requests.push({ context, continuation });
  }
  return requests;
}
