/**
 * What the values of all items come to, and how sure that is, as the harness computes both (`lm_eval/api/metrics.py`).
 *
 *     mean                 Σ v / n                 error √(Σ (v − mean)² / (n − 1) / n)
 *     perplexity           exp(−mean)              error by bootstrap, with the harness's own random numbers
 *     weighted perplexity  exp(−Σ l / Σ w)         error by the linearized ratio; the harness has none here
 *     bits                 −Σ l / Σ w / log 2      likewise
 */
import { pythonRandom } from './python-random.ts';

export type MetricName =
  | 'acc'
  | 'acc_norm'
  | 'acc_bytes'
  | 'exact_match'
  | 'perplexity'
  | 'token_perplexity'
  | 'word_perplexity'
  | 'byte_perplexity'
  | 'bits_per_byte';

/** What one item gives to a metric: a number, or a log-likelihood and what it is divided by. */
export type ItemValue = number | readonly [logLikelihood: number, weight: number];

export interface MetricResult {
  readonly value: number;
  /** Absent for a single item. */
  readonly standardError?: number;
}

interface Aggregation {
  value(items: readonly ItemValue[]): number;
  standardError(items: readonly ItemValue[]): number;
}

/** Samples of a bootstrap, and how many come from one seed. */
const [BOOTSTRAPS, PER_SEED] = [100_000, 1000];

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const meanOf = (values: readonly number[]): number => sum(values) / values.length;

function deviation(values: readonly number[]): number {
  const mean = meanOf(values);
  return Math.sqrt(sum(values.map((value) => (value - mean) ** 2)) / (values.length - 1));
}

const mean: Aggregation = {
  value: (items) => meanOf(items as readonly number[]),
  standardError: (items) => deviation(items as readonly number[]) / Math.sqrt(items.length),
};

const perplexity: Aggregation = {
  value: (items) => Math.exp(-meanOf(items as readonly number[])),
  standardError(items) {
    const values = Float64Array.from(items as readonly number[]);
    const found: number[] = [];
    for (let seed = 0; seed < BOOTSTRAPS / PER_SEED; seed++) {
      const { random } = pythonRandom(seed);
      for (let i = 0; i < PER_SEED; i++) {
        let total = 0;
        for (let k = 0; k < values.length; k++) total += values[Math.floor(random() * values.length)] as number;
        found.push(Math.exp(-total / values.length));
      }
    }
    return deviation(found);
  },
};

type Pairs = readonly (readonly [logLikelihood: number, weight: number])[];

/** Σ l / Σ w */
const ratio = (items: Pairs): number => sum(items.map(([l]) => l)) / sum(items.map(([, w]) => w));

function ratioError(items: Pairs): number {
  const r = ratio(items);
  const n = items.length;
  return Math.sqrt((n / (n - 1)) * sum(items.map(([l, w]) => (l - r * w) ** 2))) / sum(items.map(([, w]) => w));
}

const weightedPerplexity: Aggregation = {
  value: (items) => Math.exp(-ratio(items as Pairs)),
  standardError: (items) => Math.exp(-ratio(items as Pairs)) * ratioError(items as Pairs),
};

const bits: Aggregation = {
  value: (items) => -ratio(items as Pairs) / Math.LN2,
  standardError: (items) => ratioError(items as Pairs) / Math.LN2,
};

const AGGREGATIONS: Readonly<Record<MetricName, Aggregation>> = {
  acc: mean,
  acc_norm: mean,
  acc_bytes: mean,
  exact_match: mean,
  perplexity,
  token_perplexity: weightedPerplexity,
  word_perplexity: weightedPerplexity,
  byte_perplexity: weightedPerplexity,
  bits_per_byte: bits,
};

export const isMetric = (name: unknown): name is MetricName =>
  typeof name === 'string' && Object.hasOwn(AGGREGATIONS, name);

/** A metric from what its items gave, at least one. */
export const metricOf = (name: MetricName, items: readonly ItemValue[]): MetricResult =>
  aggregated(AGGREGATIONS[name], items);

/** The mean of some numbers, at least one. */
export const meanResult = (values: readonly number[]): MetricResult => aggregated(mean, values);

const aggregated = ({ value, standardError }: Aggregation, items: readonly ItemValue[]): MetricResult => ({
  value: value(items),
  ...(items.length > 1 && { standardError: standardError(items) }),
});

/**
 * Metrics of tasks counted together, each with the weight of its items: the mean, and the pooled standard error
 * √(Σ (nᵢ − 1) nᵢ eᵢ² / (n − k) / n) for k tasks of n items together; absent where a task has none.
 */
export function pooled(results: readonly (MetricResult & { readonly items: number })[]): MetricResult {
  const items = sum(results.map((result) => result.items));
  const value = sum(results.map((result) => result.value * result.items)) / items;
  if (results.some(({ standardError }) => standardError === undefined)) return { value };
  const squares = sum(results.map(({ items: n, standardError = 0 }) => (n - 1) * standardError ** 2 * n));
  return { value, standardError: Math.sqrt(squares / (items - results.length) / items) };
}
