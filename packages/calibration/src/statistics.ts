/**
 * What passes through a float model's sites on calibration text: ranges, channel maxima, channel shifts.
 *
 * One pass over the samples, all layers for each; what is kept is a few numbers a channel. Matrix sites are reduced
 * per channel in the graph, and the range of the tensor is the range of its channels.
 */

import {
  block,
  contextCache,
  type DecoderConfig,
  embed,
  headShapes,
  layerShapes,
  logits,
  type Part,
  readHead,
  readLayer,
  siteName,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import type { Range } from '@mobilequant/quantizer';
import { type Executor, programCache, type Value, type Values } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { type OnProgress, progressOf } from './progress.ts';

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

export interface StatisticsOptions {
  /** Observe the final norm and the head too. Default true. */
  readonly head?: boolean;
  readonly onProgress?: OnProgress;
}

/** A tap that reports extremes: per channel for matrices, one pair for everything else. */
function observer(report: Record<string, tf.Tensor>): Tap {
  return {
    weight: (_, w) => w,
    activation(site, x) {
      const axes = x.rank === 2 ? 0 : undefined;
      report[`${site}:min`] = tf.min(x, axes);
      report[`${site}:max`] = tf.max(x, axes);
      return x;
    },
  };
}

class Accumulator {
  readonly sites = new Map<string, SiteStatistics>();

  add(site: string, low: Float32Array, high: Float32Array): void {
    const known = this.sites.get(site);
    const channels = low.length > 1 ? mergeChannels(known?.channels, low, high) : undefined;
    const min = Math.min(known?.min ?? Infinity, extreme(low, Math.min));
    const max = Math.max(known?.max ?? -Infinity, extreme(high, Math.max));
    this.sites.set(site, channels ? { min, max, channels } : { min, max });
  }
}

const extreme = (values: Float32Array, pick: (a: number, b: number) => number): number =>
  values.reduce((a, b) => pick(a, b));

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
  { head = true, onProgress }: StatisticsOptions = {},
): Promise<Statistics> {
  const programs = programCache(executor);
  const context = contextCache(config);
  const accumulator = new Accumulator();
  const collect = (part: Part, results: Values): void => {
    for (const [name, { data }] of Object.entries(results)) {
      if (!name.endsWith(':min')) continue;
      const site = name.slice(0, -':min'.length);
      accumulator.add(siteName(part, site), data as Float32Array, results[`${site}:max`]?.data as Float32Array);
    }
  };
  const progress = progressOf('statistics', samples.length, onProgress);

  for (const sample of samples) {
    const tokens = sample.length;
    let x: Value = await embed(config, weights, sample);
    for (let layer = 0; layer < config.layers; layer++) {
      const shapes = layerShapes(weights, layer);
      const program = await programs.program(
        `block ${tokens} ${JSON.stringify(shapes)}`,
        () => ({ x: [tokens, config.hidden], ...specsOf(context(tokens, layer)), ...shapes }),
        (inputs) => {
          const report: Record<string, tf.Tensor> = {};
          const y = block(inputs.x, inputs, inputs, config, { tap: observer(report) }).x;
          return { y, ...report };
        },
      );
      const results = await program.run({ ...context(tokens, layer), ...(await readLayer(weights, layer)), x });
      collect(layer, results);
      x = results.y;
    }
    if (head) collect('head', await observeHead(x, tokens));
    progress.step();
  }
  await programs.release();
  return accumulator.sites;

  async function observeHead(x: Value, tokens: number): Promise<Values> {
    const program = await programs.program(
      `head ${tokens}`,
      () => ({ x: [tokens, config.hidden], ...headShapes(weights) }),
      (inputs) => {
        const report: Record<string, tf.Tensor> = {};
        logits(inputs.x, inputs, config, observer(report));
        return report;
      },
    );
    return program.run({ x, ...(await readHead(weights)) });
  }
}

/** The ranges of statistics, as `quantize` takes them. */
export const rangesOf = (statistics: Statistics): Map<string, Range> =>
  new Map([...statistics].map(([site, { min, max }]) => [site, { min, max }]));
