/**
 * The next token from logits: the likeliest one, or one drawn at random from those that are likely enough.
 *
 *     penalty      logits of tokens that were there are divided by it if positive, multiplied if negative (CTRL, arXiv 1909.05858)
 *     temperature  logits / temperature; 0 takes the likeliest token
 *     top-k        the k likeliest tokens
 *     top-p        of these the fewest that have a share p together (nucleus sampling, arXiv 1904.09751)
 */

export interface SamplingOptions {
  /** 0: the likeliest token. Default 0. */
  readonly temperature?: number;
  /** How many of the likeliest tokens may come; 0: all. Default 0. */
  readonly topK?: number;
  /** Share of the probability that the likeliest tokens must have together, to 1. Default 1. */
  readonly topP?: number;
  /** 1: none. Default 1. */
  readonly repetitionPenalty?: number;
}

/**
 * The next token.
 *
 * @param logits `[vocab]`
 * @param before tokens that are there already
 * @param random numbers in [0, 1)
 * @throws RangeError for options that are no such numbers, or logits that are none.
 */
export function sample(
  logits: Float32Array,
  before: ArrayLike<number>,
  random: () => number,
  { temperature = 0, topK = 0, topP = 1, repetitionPenalty = 1 }: SamplingOptions = {},
): number {
  check(temperature >= 0 && Number.isFinite(temperature), 'temperature', 'a number from 0', temperature);
  check(Number.isInteger(topK) && topK >= 0, 'topK', 'a whole number from 0', topK);
  check(topP > 0 && topP <= 1, 'topP', 'a share above 0, to 1', topP);
  check(
    repetitionPenalty > 0 && Number.isFinite(repetitionPenalty),
    'repetitionPenalty',
    'a number above 0',
    repetitionPenalty,
  );
  const scores = repetitionPenalty === 1 ? logits : penalized(logits, before, repetitionPenalty);
  const best = likeliest(scores);
  if (temperature === 0) return best;

  const top = scores[best] as number;
  const weights = Float64Array.from(scores, (score) => Math.exp((score - top) / temperature));
  let candidates = Int32Array.from(weights.keys());
  if (topK > 0 || topP < 1) {
    candidates.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
    if (topK > 0) candidates = candidates.subarray(0, topK);
    if (topP < 1) candidates = candidates.subarray(0, nucleus(candidates, weights, topP));
  }
  const total = candidates.reduce((sum, token) => sum + (weights[token] as number), 0);
  let left = random() * total;
  for (const token of candidates) {
    left -= weights[token] as number;
    if (left < 0) return token;
  }
  return best; // what rounding left over
}

/** The first of the largest. */
function likeliest(scores: Float32Array): number {
  let best = 0;
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number;
    if (Number.isNaN(score)) throw new RangeError(`sample: expected logits, got NaN for token ${i}.`);
    if (score > (scores[best] as number)) best = i;
  }
  return best;
}

function penalized(logits: Float32Array, before: ArrayLike<number>, penalty: number): Float32Array {
  const scores = logits.slice();
  for (const token of new Set(Array.from(before))) {
    const score = scores[token] as number;
    scores[token] = score > 0 ? score / penalty : score * penalty;
  }
  return scores;
}

/** How many of the tokens, likeliest first, have a share of `topP` together. */
function nucleus(tokens: Int32Array, weights: Float64Array, topP: number): number {
  const total = tokens.reduce((sum, token) => sum + (weights[token] as number), 0);
  let sum = 0;
  let count = 0;
  while (count < tokens.length && sum < topP * total) sum += weights[tokens[count++] as number] as number;
  return count;
}

function check(holds: boolean, name: string, expected: string, received: number): void {
  if (!holds) throw new RangeError(`sample: expected ${expected} as ${name}, got ${received}.`);
}
