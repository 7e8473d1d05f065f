/**
 * Histograms of what passes through a float model's sites on calibration text, and the statistics beside them, in one pass.
 *
 * Values leave the graph and are counted at once, so that of a site nothing is kept but some thousand bins, however long the text.
 */
import { type DecoderConfig, type Part, siteName, type Weights } from '@mobilequant/core';
import { decoderSites, layerSites } from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { type Histogram, histogramOf, mergeHistograms } from './histogram.ts';
import { type ObserveOptions, type Observer, observeModel } from './observe.ts';
import { extremes, mergeExtremes, rangeOfSample, type SiteStatistics } from './statistics.ts';

/** Statistics of a site, and a histogram where one was asked for. */
export interface SiteHistogram extends SiteStatistics {
  readonly histogram?: Histogram;
}

/** Full site name → statistics and histogram: `Statistics` with something more. */
export type Histograms = ReadonlyMap<string, SiteHistogram>;

export interface HistogramOptions extends ObserveOptions {
  /**
   * Which sites (full names) get a histogram; the others have statistics alone, which is cheaper. All by default;
   * `needsHistogram` says which ones a recipe needs.
   */
  readonly count?: (site: string) => boolean;
  /** Which sites are looked at. All by default. */
  readonly asked?: (site: string) => boolean;
  /** Whether extremes are told apart by channel, which takes longer. Default true. */
  readonly channels?: boolean;
  /** What an earlier pass over other samples found; this one goes on from there. */
  readonly from?: Histograms;
}

/**
 * Runs the float model over samples and counts what passes.
 *
 * @param samples token ids, each a text of its own; samples of equal length share graphs.
 * @throws NonFiniteError when NaN or an infinity passes through a site that is counted.
 */
export async function collectHistograms(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  samples: readonly Int32Array[],
  { count = () => true, asked = () => true, channels = true, from = new Map(), ...options }: HistogramOptions = {},
): Promise<Histograms> {
  const sites = new Map<string, SiteHistogram>(from);
  const headSites = decoderSites({ ...config, layers: 0 });
  const key = (part: Part): string =>
    (part === 'head' ? headSites : layerSites(config))
      .map((site) => siteName(part, site))
      .map((site) => (asked(site) ? (count(site) ? 'c' : 'e') : '-'))
      .join('');
  const extremesOf = channels ? extremes : (x: tf.Tensor) => ({ min: tf.min(x), max: tf.max(x) });

  const observer: Observer<'min' | 'max'> = {
    stage: 'histograms',
    key,
    report: (site, x) => (asked(site) ? { ...extremesOf(x), ...(count(site) && { values: x }) } : undefined),
    collect(site, sample) {
      const known = sites.get(site);
      const { values } = sample;
      const fresh = values && histogramOf(values.data as Float32Array, { range: rangeOfSample(sample), site });
      const histogram =
        fresh && known?.histogram ? mergeHistograms(known.histogram, fresh) : (fresh ?? known?.histogram);
      sites.set(site, { ...mergeExtremes(known, sample), ...(histogram && { histogram }) });
    },
  };
  await observeModel(executor, config, weights, samples, observer, options);
  return sites;
}
