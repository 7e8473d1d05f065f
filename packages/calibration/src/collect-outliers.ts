/**
 * Where the largest values pass: at every site of the float model its range, and the channel and the token that hold the most, beside
 * what channels and tokens hold as a rule.
 *
 * A channel's size is its largest magnitude over all tokens, a token's that over all channels; both are reduced in the graph.
 */
import type { DecoderConfig, Weights } from '@mobilequant/core';
import { type Range, siteInLayer, splitSite } from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { type ObserveOptions, type Observer, observeModel } from './observe.ts';
import { extremes, rangeOfSample } from './statistics.ts';

/** The largest of some magnitudes. */
export interface Peak {
  /** Which one: a channel, or a position in a sample. */
  readonly index: number;
  readonly largest: number;
  readonly median: number;
}

export interface SiteOutliers extends Range {
  /** Of sites that are matrices `[tokens, channels]`; where each head has its row, a token's are taken together. */
  readonly channel?: Peak;
  readonly token?: Peak & { readonly sample: number };
}

/** Full site name → its outliers over all samples. */
export type Outliers = ReadonlyMap<string, SiteOutliers>;

interface Sizes {
  range: Range;
  /** `[channels]`, the largest of all samples; none of a site that is no matrix. */
  channels: Float32Array;
  /** `[tokens]` of each sample. */
  readonly tokens: Float32Array[];
}

/**
 * Runs the float model over samples and looks at every site.
 *
 * @param samples token ids, each a text of its own.
 */
export async function collectOutliers(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  samples: readonly Int32Array[],
  options: ObserveOptions = {},
): Promise<Outliers> {
  const sites = new Map<string, Sizes>();
  const observer: Observer<'min' | 'max'> = {
    stage: 'outliers',
    key: () => '',
    report: (site, x) => ({
      ...extremes(x),
      ...(x.rank === 2 && sizesOf(x as tf.Tensor2D, rowsOfToken(site, config))),
    }),
    collect(site, reported) {
      const range = rangeOfSample(reported);
      const { channels, tokens } = reported as Partial<Record<string, { readonly data: unknown }>>;
      const found = channels?.data as Float32Array | undefined;
      const known = sites.get(site) ?? { range, channels: new Float32Array(found?.length ?? 0), tokens: [] };
      known.range = { min: Math.min(known.range.min, range.min), max: Math.max(known.range.max, range.max) };
      if (found) known.channels = known.channels.map((size, i) => Math.max(size, found[i] as number));
      if (tokens) known.tokens.push((tokens.data as Float32Array).slice());
      sites.set(site, known);
    },
  };
  await observeModel(executor, config, weights, samples, observer, options);
  return new Map([...sites].map(([site, sizes]) => [site, outliersOf(sizes)]));
}

/** @param rows of a token, one behind the other. */
function sizesOf(x: tf.Tensor2D, rows: number): Record<'channels' | 'tokens', tf.Tensor> {
  const size = tf.abs(x);
  return { channels: tf.max(size, 0), tokens: tf.max(tf.reshape(size, [-1, rows * x.shape[1]]), 1) };
}

/** Norms of queries and keys have a row for each head. */
function rowsOfToken(site: string, { heads, kvHeads }: DecoderConfig): number {
  const { module } = splitSite(siteInLayer(site));
  return module === 'self_attn.q_norm' ? heads : module === 'self_attn.k_norm' ? kvHeads : 1;
}

function outliersOf({ range, channels, tokens }: Sizes): SiteOutliers {
  if (channels.length === 0) return range;
  const token = peakOf(tokens.flatMap((sizes) => [...sizes]));
  let [sample, index] = [0, token.index];
  for (; index >= (tokens[sample] as Float32Array).length; sample++) index -= (tokens[sample] as Float32Array).length;
  return { ...range, channel: peakOf([...channels]), token: { ...token, index, sample } };
}

function peakOf(sizes: readonly number[]): Peak {
  const sorted = sizes.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1
      ? (sorted[middle] as number)
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
  const largest = sorted.at(-1) as number;
  return { index: sizes.indexOf(largest), largest, median };
}
