/**
 * Looks for the prefix: which tokens, standing before every text, keep ordinary tokens from becoming attention sinks.
 *
 * A sink carries a residual hundreds of times larger than other tokens do, and sets the static range of everything it passes. Greedy:
 * the beginning-of-text token first, then whichever candidate makes the largest residual behind each layer smallest, as long as that
 * gains something and the float model does not come to know the text less well.
 */
import {
  createDecoder,
  type DecoderConfig,
  growingTree,
  type TokenTree,
  type Weights,
  withPrefix,
} from '@mobilequant/core';
import type { Executor } from '@mobilequant/tracer';
import { checkSamples } from './check-samples.ts';
import { type OnProgress, progressOf } from './progress.ts';

export interface PrefixInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** Token ids of calibration text. Only the beginning of each sample is looked at: that is where sinks are. */
  readonly samples: readonly Int32Array[];
  /** The token that begins a text, if the model has one: tried before all others. */
  readonly first?: number | undefined;
  /** Tokens to try after it; by default the most frequent ones of the samples. */
  readonly candidates?: readonly number[];
}

export interface PrefixOptions {
  /** Tokens at most. Default 4. */
  readonly limit?: number;
  /** Places in the text that are looked at, and tokens from each. Default 32 and 16. */
  readonly places?: number;
  readonly tokens?: number;
  /** What a token must take off the logarithm of the largest residual, averaged over layers. Default 0.05. */
  readonly gain?: number;
  /**
   * What a prefix may add to the mean negative log-likelihood of a token in float, on the first few samples: a model that has learned
   * that texts begin with a certain token takes the middle of one for its beginning. Default 0.01.
   */
  readonly harm?: number;
  readonly onProgress?: OnProgress;
}

export interface Prefix {
  readonly tokens: readonly number[];
  /** Largest residual behind each layer, without a prefix and with this one, `[layers]`. */
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** A prefix, and the largest residual behind each layer after it. */
interface Tried {
  readonly tokens: readonly number[];
  readonly residuals: readonly number[];
}

const CANDIDATES = 12;
const JUDGED_SAMPLES = 4;
const JUDGED_TOKENS = 256; // of each: it is their beginning that a prefix changes
const FINALISTS = 3; // candidates that are tried at all places; before that, all of them at one place in FEWER
const FEWER = 4;
const TREE_TOKENS = 128; // as many as fill a run; with more, texts that do not see each other cost more attention

/**
 * The best prefix found; none if no token helps.
 *
 * @throws RangeError without samples.
 */
export async function searchPrefix(
  executor: Executor,
  { config, weights, samples, first, candidates = frequentTokens(samples, CANDIDATES) }: PrefixInput,
  { limit = 4, places = 32, tokens = 16, gain = 0.05, harm = 0.01, onProgress }: PrefixOptions = {},
): Promise<Prefix> {
  checkSamples(samples, 'searchPrefix');
  const longest = Math.max(...samples.map(({ length }) => length));
  const texts = beginnings(samples, places, Math.min(tokens, longest));
  const all = treesOf(texts);
  const few = treesOf(texts.filter((_, i) => i % FEWER === 0));
  const tries = candidates.length + (candidates.length > FINALISTS ? FINALISTS : 0);
  const progress = progressOf('prefix', 1 + (limit - 1) * tries + (first === undefined ? tries : 1), onProgress);
  const largestBehind = async (prefix: readonly number[], trees = all): Promise<number[]> => {
    const residuals = await largestResiduals(executor, config, weights, prefix, trees);
    progress.step();
    return residuals;
  };
  /** Prefixes with the residuals behind them, the one that makes them smallest first. */
  const ranked = async (prefixes: readonly (readonly number[])[], trees = all): Promise<Tried[]> => {
    const tried: Tried[] = [];
    for (const tokens of prefixes) tried.push({ tokens, residuals: await largestBehind(tokens, trees) });
    return tried.sort((a, b) => logMean(a.residuals) - logMean(b.residuals));
  };

  const judged = samples.slice(0, JUDGED_SAMPLES).map((sample) => sample.subarray(0, JUDGED_TOKENS));
  const lossBehind = (prefix: readonly number[]) => meanLoss(executor, config, weights, prefix, judged);
  const bearable = (await lossBehind([])) + harm;
  const before = await largestBehind([]);
  let best: Tried = { tokens: [], residuals: before };
  for (let length = 1; length <= limit; length++) {
    const own = length === 1 && first !== undefined ? [first] : candidates;
    const longer = own.map((token) => [...best.tokens, token]);
    const hopeful = longer.length > FINALISTS ? (await ranked(longer, few)).slice(0, FINALISTS) : undefined;
    const [next] = await ranked(hopeful?.map(({ tokens }) => tokens) ?? longer);
    if (!next || !(logMean(best.residuals) - logMean(next.residuals) >= gain)) break;
    if ((await lossBehind(next.tokens)) > bearable) break;
    best = next;
  }
  return { tokens: best.tokens, before, after: best.residuals };
}

/** The largest |x| behind each layer over all texts, the prefix itself not counted. */
async function largestResiduals(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  prefix: readonly number[],
  trees: readonly TokenTree[],
): Promise<number[]> {
  const model = await withPrefix(executor, config, weights, prefix);
  const decoder = createDecoder(executor, model.config, model.weights);
  const largest = new Array<number>(config.layers).fill(0);
  for (const tree of trees) {
    const size = tree.tokens.length * config.hidden; // behind it is padding
    await decoder.hiddenOfTree(tree, (layer, x) => {
      largest[layer] = x.subarray(0, size).reduce((max, v) => Math.max(max, Math.abs(v)), largest[layer] as number);
    });
  }
  await decoder.release();
  return largest;
}

/** The float model's mean negative log-likelihood of a token behind a prefix. */
async function meanLoss(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  prefix: readonly number[],
  texts: readonly Int32Array[],
): Promise<number> {
  const behind = await withPrefix(executor, config, weights, prefix);
  const decoder = createDecoder(executor, behind.config, behind.weights);
  let [sum, count] = [0, 0];
  for (const text of texts) {
    const x = await decoder.hidden(text);
    const losses = await decoder.negativeLogLikelihood(x.subarray(0, x.length - config.hidden), text.subarray(1));
    sum += losses.reduce((total, loss) => total + loss, 0);
    count += losses.length;
  }
  await decoder.release();
  return sum / count;
}

const logMean = (values: readonly number[]): number => values.reduce((sum, v) => sum + Math.log(v), 0) / values.length;

/** The most frequent tokens, the most frequent first; of equally frequent ones the lower id. */
export function frequentTokens(samples: readonly Int32Array[], count: number): number[] {
  const counts = new Map<number, number>();
  for (const sample of samples) for (const token of sample) counts.set(token, (counts.get(token) ?? 0) + 1);
  return [...counts]
    .sort(([a, m], [b, n]) => n - m || a - b)
    .slice(0, count)
    .map(([token]) => token);
}

/** Texts, several to be read at once. */
function treesOf(texts: readonly Int32Array[]): TokenTree[] {
  const trees: TokenTree[] = [];
  let growing = growingTree();
  for (const text of texts) {
    if (growing.size() > 0 && growing.size() + growing.cost(text) > TREE_TOKENS) {
      trees.push(growing.tree());
      growing = growingTree();
    }
    growing.add(text);
  }
  return growing.size() > 0 ? [...trees, growing.tree()] : trees;
}

/** Short texts from places at even distances. */
function beginnings(samples: readonly Int32Array[], places: number, tokens: number): Int32Array[] {
  const each = Math.ceil(places / samples.length);
  return samples
    .flatMap((sample) => {
      const step = Math.max(1, Math.floor((sample.length - tokens) / each));
      return Array.from({ length: each }, (_, i) => sample.subarray(i * step, i * step + tokens));
    })
    .filter((text) => text.length === tokens)
    .slice(0, places);
}
