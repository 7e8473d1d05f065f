/**
 * How sure a ratio of perplexities is: both models read the same windows, and what makes a window hard is hard for both. So the error
 * is that of the differences from window to window, far smaller than that of either perplexity.
 */
import type { WindowScore } from './perplexity.ts';

export interface LogRatio {
  /** log(perplexity of b / perplexity of a). */
  readonly mean: number;
  /** Standard error of that over windows; absent for a single one. */
  readonly standardError?: number;
}

/**
 * The logarithm of the ratio of two perplexities on the same windows, and its standard error.
 *
 * With dᵢ = nll of b − nll of a in window i of nᵢ tokens: mean r = Σ d / Σ n, and by the linearized ratio estimator
 * error² = W / (W − 1) · Σ (dᵢ − r nᵢ)² / (Σ n)²; for windows of one size that of a mean of dᵢ / n.
 *
 * @throws RangeError for windows that are not the same ones.
 */
export function pairedLogRatio(a: readonly WindowScore[], b: readonly WindowScore[]): LogRatio {
  if (a.length !== b.length || a.some(({ tokens }, i) => tokens !== b[i]?.tokens))
    throw new RangeError(`pairedLogRatio: expected scores of the same windows, got ${a.length} and ${b.length}.`);
  const pairs = a.map(({ tokens, negativeLogLikelihood }, i) => ({
    tokens,
    difference: (b[i] as WindowScore).negativeLogLikelihood - negativeLogLikelihood,
  }));
  const tokens = pairs.reduce((sum, pair) => sum + pair.tokens, 0);
  const mean = pairs.reduce((sum, { difference }) => sum + difference, 0) / tokens;
  if (pairs.length < 2) return { mean };
  const squares = pairs.reduce((sum, pair) => sum + (pair.difference - mean * pair.tokens) ** 2, 0);
  return { mean, standardError: Math.sqrt((pairs.length / (pairs.length - 1)) * squares) / tokens };
}
