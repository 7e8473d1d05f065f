/**
 * Perplexity of a text: the exponential of the mean negative log-likelihood, of a token or of a word.
 *
 *     token perplexity = exp(Σ nll / scored tokens)        word perplexity = exp(Σ nll / words of the scored text)
 *
 * The text is read in windows, each on its own; the first token of a window has nothing before it and is not scored. The scored
 * text of a window is what its other tokens decode to, and its words are what whitespace separates in it. A word that
 * a window's beginning cuts counts once for what is left of it, so word perplexity depends on the windows; token perplexity does not.
 */
import type { LanguageModel } from '@mobilequant/core';
import { negativeLogLikelihood } from './log-likelihood.ts';
import { type WindowOptions, windowsOf } from './windows.ts';

/** What one window came to. */
export interface WindowScore {
  /** Scored tokens. */
  readonly tokens: number;
  /** Words of the scored text; absent without a way to decode it. */
  readonly words?: number;
  /** Sum over the scored tokens, in nats. */
  readonly negativeLogLikelihood: number;
}

/** Ids to text; needed for word perplexity. */
export type Decode = (ids: Int32Array) => string;

export interface PerplexityOptions extends WindowOptions {
  readonly decode?: Decode;
  /** Called after each window with its score and how many there are. */
  readonly onWindow?: (score: WindowScore, done: number, total: number) => void;
}

export interface Perplexity extends WindowScore {
  readonly tokenPerplexity: number;
  /** Absent without a way to decode the text. */
  readonly wordPerplexity?: number;
  /** One entry a window. */
  readonly windows: readonly WindowScore[];
  /** Windows that were asked for and that the text does not have. */
  readonly missingWindows: number;
  /** Wall time of the model. */
  readonly seconds: number;
}

/**
 * The perplexity of a text under a model.
 *
 * @param text token ids
 * @throws WindowError for a text without one whole window.
 */
export async function perplexity(
  model: LanguageModel,
  text: Int32Array,
  { decode, onWindow, ...options }: PerplexityOptions,
): Promise<Perplexity> {
  const windows = windowsOf(text, options);
  const scores: WindowScore[] = [];
  let seconds = 0;
  for (const window of windows) {
    const start = performance.now();
    const losses = await negativeLogLikelihood(model, window);
    seconds += (performance.now() - start) / 1000;
    const score = windowScore(window, sum(losses), decode);
    scores.push(score);
    onWindow?.(score, scores.length, windows.length);
  }
  return perplexityOf(scores, { asked: options.windows, seconds });
}

/** The score of a window whose likelihood is known. */
export function windowScore(window: Int32Array, negativeLogLikelihood: number, decode?: Decode): WindowScore {
  const scored = window.subarray(1);
  return { tokens: scored.length, ...(decode && { words: wordCount(decode(scored)) }), negativeLogLikelihood };
}

/** What windows come to together. */
export function perplexityOf(
  windows: readonly WindowScore[],
  { asked = 0, seconds }: { readonly asked?: number | undefined; readonly seconds: number },
): Perplexity {
  const tokens = sum(windows.map((score) => score.tokens));
  const total = sum(windows.map((score) => score.negativeLogLikelihood));
  const words = windows.every((score) => score.words !== undefined)
    ? sum(windows.map((score) => score.words ?? 0))
    : undefined;
  return {
    tokenPerplexity: Math.exp(total / tokens),
    ...(words !== undefined && { wordPerplexity: Math.exp(total / words), words }),
    tokens,
    negativeLogLikelihood: total,
    windows,
    missingWindows: Math.max(0, asked - windows.length),
    seconds,
  };
}

/**
 * Words as whitespace separates them.
 *
 * @example
 * wordCount(' it was  a day\n'); // => 4
 */
export const wordCount = (text: string): number => text.match(/\S+/g)?.length ?? 0;

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i] as number;
  return total;
}
