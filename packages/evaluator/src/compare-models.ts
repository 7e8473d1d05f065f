/**
 * How far two models are from each other on a text: what they would say next, and how sure they are.
 */
import type { LanguageModel } from '@mobilequant/core';
import { logSumExp } from './log-likelihood.ts';
import { type WindowOptions, windowsOf } from './windows.ts';

export interface Comparison {
  /** Share of positions at which both find the same token likeliest (the first, where several are). */
  readonly agreement: number;
  /** Mean Kullback-Leibler divergence of b from a, KL(a‖b), in nats. */
  readonly divergence: number;
  /** Mean squared difference of the logits. */
  readonly logitError: number;
  /** Largest difference of the logits, relative to a's largest. NaN where one is. */
  readonly relativeError: number;
  /** Positions compared: every token of every window. */
  readonly tokens: number;
}

export interface CompareOptions extends WindowOptions {
  readonly onWindow?: (done: number, total: number) => void;
  /** Given the logits of b on each window, `[tokens, vocab]`. */
  readonly onLogits?: (logits: Float32Array) => void;
}

/**
 * Compares two models on the windows of a text; the logits of one window are in memory at a time.
 *
 * @throws WindowError for a text without one whole window, RangeError for models of different vocabularies.
 */
export async function compareModels(
  a: LanguageModel,
  b: LanguageModel,
  text: Int32Array,
  { onWindow, onLogits, ...options }: CompareOptions,
): Promise<Comparison> {
  if (a.vocab !== b.vocab)
    throw new RangeError(`compareModels: expected models of one vocabulary, got ${a.vocab} and ${b.vocab} tokens.`);
  const { vocab } = a;
  const windows = windowsOf(text, options);
  let [equal, divergence, squares, apart, largest, tokens] = [0, 0, 0, 0, 0, 0];
  for (const [index, window] of windows.entries()) {
    const [ofA, ofB] = [await a.logits(window), await b.logits(window)];
    for (let i = 0; i < window.length; i++) {
      const [p, q] = [ofA, ofB].map((logits) => logits.subarray(i * vocab, (i + 1) * vocab)) as [
        Float32Array,
        Float32Array,
      ];
      if (argmax(p) === argmax(q)) equal++;
      divergence += kullbackLeibler(p, q);
      squares += squaredDistance(p, q);
      apart = Math.max(apart, largestDistance(p, q));
      largest = Math.max(largest, largestDistance(p));
    }
    tokens += window.length;
    onLogits?.(ofB);
    onWindow?.(index + 1, windows.length);
  }
  return {
    agreement: equal / tokens,
    divergence: divergence / tokens,
    logitError: squares / (tokens * vocab),
    relativeError: apart / largest,
    tokens,
  };
}

/** The index of the largest element, the first of several. */
export function argmax(x: Float32Array): number {
  let best = 0;
  for (let i = 1; i < x.length; i++) if ((x[i] as number) > (x[best] as number)) best = i;
  return best;
}

function kullbackLeibler(p: Float32Array, q: Float32Array): number {
  const [logP, logQ] = [logSumExp(p), logSumExp(q)];
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const log = (p[i] as number) - logP;
    sum += Math.exp(log) * (log - ((q[i] as number) - logQ));
  }
  return sum;
}

function squaredDistance(p: Float32Array, q: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += ((p[i] as number) - (q[i] as number)) ** 2;
  return sum;
}

/** max |p - q|, from zero by default; NaN where one is. */
function largestDistance(p: Float32Array, q?: Float32Array): number {
  let largest = 0;
  for (let i = 0; i < p.length; i++) largest = Math.max(largest, Math.abs((p[i] as number) - (q?.[i] ?? 0)));
  return largest;
}
