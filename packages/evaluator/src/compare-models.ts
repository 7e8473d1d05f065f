/**
 * How far two models are from each other on a text: what they would say next, how sure they are, and how likely each finds the text. All
 * of it comes from one pass of both; a row of logits is read twice, first for its largest, then for the sums that start from there.
 */
import type { LanguageModel } from '@mobilequant/core';
import { expOfNegative } from './exp-of-negative.ts';
import { type LogRatio, pairedLogRatio } from './paired-log-ratio.ts';
import { type Decode, type Perplexity, perplexityOf, type WindowScore, windowScore } from './perplexity.ts';
import { type WindowOptions, windowsOf } from './windows.ts';

/** How far b's logits are from a's. */
export interface LogitDistance {
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

export interface Comparison {
  readonly distance: LogitDistance;
  readonly a: Perplexity;
  readonly b: Perplexity;
  /** Of b's perplexity to a's. */
  readonly logRatio: LogRatio;
}

export interface CompareOptions extends WindowOptions {
  readonly decode?: Decode;
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
  { decode, onWindow, onLogits, ...options }: CompareOptions,
): Promise<Comparison> {
  if (a.vocab !== b.vocab)
    throw new RangeError(`compareModels: expected models of one vocabulary, got ${a.vocab} and ${b.vocab} tokens.`);
  const { vocab } = a;
  const windows = windowsOf(text, options);
  const scores: { readonly a: WindowScore[]; readonly b: WindowScore[] } = { a: [], b: [] };
  const seconds = { a: 0, b: 0 };
  const logitsOf = async (which: 'a' | 'b', window: Int32Array): Promise<Float32Array> => {
    const start = performance.now();
    const logits = await { a, b }[which].logits(window);
    seconds[which] += (performance.now() - start) / 1000;
    return logits;
  };
  let [equal, divergence, squares, apart, largest, tokens] = [0, 0, 0, 0, 0, 0];
  for (const [index, window] of windows.entries()) {
    const [ofA, ofB] = [await logitsOf('a', window), await logitsOf('b', window)];
    const loss = { a: 0, b: 0 };
    for (let i = 0; i < window.length; i++) {
      const row = compareRows(ofA.subarray(i * vocab, (i + 1) * vocab), ofB.subarray(i * vocab, (i + 1) * vocab));
      if (row.equal) equal++;
      divergence += row.divergence;
      squares += row.squares;
      apart = Math.max(apart, row.apart);
      largest = Math.max(largest, row.largest);
      const next = window[i + 1];
      if (next === undefined) continue; // what the last row predicts is not known
      loss.a += row.logSums[0] - (ofA[i * vocab + next] as number);
      loss.b += row.logSums[1] - (ofB[i * vocab + next] as number);
    }
    tokens += window.length;
    scores.a.push(windowScore(window, loss.a, decode));
    scores.b.push(windowScore(window, loss.b, decode));
    onLogits?.(ofB);
    onWindow?.(index + 1, windows.length);
  }
  return {
    distance: {
      agreement: equal / tokens,
      divergence: divergence / tokens,
      logitError: squares / (tokens * vocab),
      relativeError: apart / largest,
      tokens,
    },
    a: perplexityOf(scores.a, { asked: options.windows, seconds: seconds.a }),
    b: perplexityOf(scores.b, { asked: options.windows, seconds: seconds.b }),
    logRatio: pairedLogRatio(scores.a, scores.b),
  };
}

/** What two rows of logits, `[vocab]` each, come to. */
interface RowComparison {
  /** Whether both have the same argmax. */
  readonly equal: boolean;
  readonly divergence: number;
  /** Σ (p - q)² */
  readonly squares: number;
  /** max |p - q|; NaN where one is. */
  readonly apart: number;
  /** max |p|; NaN where p or q is. */
  readonly largest: number;
  /** log Σ exp of p, and of q. */
  readonly logSums: readonly [number, number];
}

/** KL(p‖q) = Σ exp(p) (p − q) / Σ exp(p) − log Σ exp(p) + log Σ exp(q), in float64. Destructuring here would take thrice the time. */
function compareRows(p: Float32Array, q: Float32Array): RowComparison {
  const { length } = p;
  let topP = Number.NEGATIVE_INFINITY;
  let topQ = Number.NEGATIVE_INFINITY;
  let atP = 0;
  let atQ = 0;
  let squares = 0;
  let apart = 0;
  let largest = 0;
  for (let i = 0; i < length; i++) {
    const x = p[i] as number;
    const y = q[i] as number;
    if (x > topP) {
      topP = x;
      atP = i;
    }
    if (y > topQ) {
      topQ = y;
      atQ = i;
    }
    const distance = Math.abs(x - y);
    squares += distance * distance;
    if (distance > apart) apart = distance;
    if (Math.abs(x) > largest) largest = Math.abs(x);
  }
  let sumP = 0;
  let sumQ = 0;
  let weighted = 0;
  for (let i = 0; i < length; i++) {
    const x = p[i] as number;
    const y = q[i] as number;
    const weight = expOfNegative(x - topP);
    sumP += weight;
    sumQ += expOfNegative(y - topQ);
    weighted += weight * (x - y);
  }
  const logSums = [topP + Math.log(sumP), topQ + Math.log(sumQ)] as const;
  const broken = Number.isNaN(squares); // comparisons pass over NaN, sums do not
  return {
    equal: atP === atQ,
    divergence: weighted / sumP - logSums[0] + logSums[1],
    squares,
    apart: broken ? Number.NaN : apart,
    largest: broken ? Number.NaN : largest,
    logSums,
  };
}
