/**
 * What passes through a float model's sites on calibration text: ranges, channel maxima, channel shifts.
 *
 * One pass over the samples, all layers for each; what is kept is a few numbers a channel. Matrix sites are reduced
 * per channel in the graph, and the range of the tensor is the range of its channels.
 */

import type { DecoderConfig, Weights } from '@mobilequant/core';
import type { Range } from '@mobilequant/quantizer';
import type { Executor, Results } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { type ObserveOptions, type Observer, observeModel } from './observe.ts';

/** Channel statistics of a matrix site `[tokens, channels]`. */
export interface ChannelStatistics {
  /** Running max |x|, `[channels]`. */
  readonly absMax: Float32Array;
  readonly min: Float32Array;
  readonly max: Float32Array;
  /** (max + min) / 2 of a sample, averaged exponentially over samples (0.99 old + 0.01 new), `[channels]`. */
  readonly shift: Float32Array;
}

export interface SiteStatistics extends Range {
  readonly channels?: ChannelStatistics;
}

/** Full site name → statistics. */
export type Statistics = ReadonlyMap<string, SiteStatistics>;

const SHIFT_DECAY = 0.99; // the reference's moving average

export type StatisticsOptions = ObserveOptions;

/** Extremes of a value, in the graph: per channel for matrices, one pair for everything else. */
export function extremes(x: tf.Tensor): { min: tf.Tensor; max: tf.Tensor } {
  const axes = x.rank === 2 ? 0 : undefined;
  return { min: tf.min(x, axes), max: tf.max(x, axes) };
}

/** What came of `extremes`. */
export type Extremes = Results<'min' | 'max'>;

/** What was known of a site, and one more sample. */
export function mergeExtremes(known: SiteStatistics | undefined, sample: Extremes): SiteStatistics {
  const [low, high] = [sample.min.data as Float32Array, sample.max.data as Float32Array];
  const channels = low.length > 1 ? mergeChannels(known?.channels, low, high) : undefined;
  const { min, max } = rangeOfSample(sample);
  const range = { min: Math.min(known?.min ?? Infinity, min), max: Math.max(known?.max ?? -Infinity, max) };
  return channels ? { ...range, channels } : range;
}

/** The range of the whole value. */
export function rangeOfSample(sample: Extremes): Range {
  let [min, max] = [Infinity, -Infinity];
  for (const low of sample.min.data as Float32Array) min = Math.min(min, low);
  for (const high of sample.max.data as Float32Array) max = Math.max(max, high);
  return { min, max };
}

function mergeChannels(known: ChannelStatistics | undefined, low: Float32Array, high: Float32Array): ChannelStatistics {
  const at = (i: number) => ({ min: low[i] as number, max: high[i] as number });
  const middle = low.map((_, i) => Math.fround(at(i).max + at(i).min) / 2);
  const size = low.map((_, i) => Math.max(Math.abs(at(i).min), Math.abs(at(i).max)));
  if (!known) return { absMax: size, min: low.slice(), max: high.slice(), shift: middle };
  return {
    absMax: size.map((s, i) => Math.max(s, known.absMax[i] as number)),
    min: low.map((v, i) => Math.min(v, known.min[i] as number)),
    max: high.map((v, i) => Math.max(v, known.max[i] as number)),
    shift: middle.map((m, i) => SHIFT_DECAY * (known.shift[i] as number) + (1 - SHIFT_DECAY) * m),
  };
}

/**
 * Runs the float model over samples and observes every site.
 *
 * @param samples token ids, each a text of its own; samples of equal length share graphs.
 */
export async function collectStatistics(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  samples: readonly Int32Array[],
  options: StatisticsOptions = {},
): Promise<Statistics> {
  const sites = new Map<string, SiteStatistics>();
  const observer: Observer<'min' | 'max'> = {
    stage: 'statistics',
    key: () => '',
    report: (_, x) => extremes(x),
    collect: (site, sample) => sites.set(site, mergeExtremes(sites.get(site), sample)),
  };
  await observeModel(executor, config, weights, samples, observer, options);
  return sites;
}

/** Full site name → range of activations, as observed; `withKnownRanges` puts in those that a recipe knows. */
export const rangesOf = (statistics: Statistics): Map<string, Range> =>
  new Map([...statistics].map(([site, { min, max }]) => [site, { min, max }]));
