/**
 * One float layer on some texts: what comes out, what passes through the sites that are asked for, and the range that each quantized site
 * has, or would have if its channels were scaled.
 */
import {
  block,
  contextCache,
  type DecoderConfig,
  layerShapes,
  siteName,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import { layerSites, type QuantizerSpec, type Range, type ResolveSite } from '@mobilequant/quantizer';
import { type Executor, programCache, type Value, type Values } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { OutermostValues } from './outermost-values.ts';

export interface LayerObserverOptions {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** The recipe's, by full site name. */
  readonly resolve: ResolveSite;
  /** The share of a site's values that each end of its range covers, by full site name. */
  readonly coverage: (site: string, spec: QuantizerSpec) => number;
  /** Sites whose values are kept. */
  readonly kept: ReadonlySet<string>;
  /** Sites whose channels are told apart. */
  readonly channels: ReadonlySet<string>;
}

export interface LayerObservation {
  /** The layer's output, `[tokens, hidden]` of each text. */
  readonly outputs: readonly Value[];
  /** The values of a kept site, one of each text. */
  values(site: string): readonly Value[];
  /** The largest |x| of each channel. */
  absMax(site: string): Float32Array;
  /** The range of a quantized site, its channels multiplied by what `factors` says for their number. */
  range(site: string, factors?: (channels: number) => Float32Array): Range;
}

export interface LayerObserver {
  /**
   * Runs a layer over texts.
   *
   * @param tensors of the layer, by their names in it
   * @param texts `[tokens, hidden]` of each; those of equal length share a graph.
   */
  observe(layer: number, tensors: Values, texts: readonly Value[]): Promise<LayerObservation>;
  release(): Promise<void>;
}

/** Square in the tokens and computed in chunks: only their extremes are looked at. */
const SCORES: readonly string[] = ['self_attn.qk_bmm.output', 'self_attn.pv_bmm.input'];
const OUTPUT = 'output';

/** An observer of a model's layers. */
export function layerObserver(executor: Executor, options: LayerObserverOptions): LayerObserver {
  const { config, weights, resolve, coverage, kept, channels } = options;
  const programs = programCache(executor);
  const context = contextCache(config);

  /** The site's spec, if its range has to be found. */
  const specToRange = (layer: number, site: string): QuantizerSpec | undefined => {
    const spec = resolve(siteName(layer, site));
    return spec?.range ? undefined : spec;
  };
  const shareOf = (layer: number, site: string): number => {
    const spec = specToRange(layer, site);
    return spec && !SCORES.includes(site) ? coverage(siteName(layer, site), spec) : 1;
  };
  const run = async (layer: number, tensors: Values, x: Value, sites: readonly string[]): Promise<Values> => {
    const tokens = x.shape[0] as number;
    const shapes = layerShapes(weights, layer);
    const program = await programs.program(
      JSON.stringify([tokens, shapes, sites]),
      () => ({ x: x.shape, ...specsOf(context(tokens, layer)), ...shapes }),
      (inputs) => {
        const report: Record<string, tf.Tensor> = {};
        const tap = reportingTap(report, new Set(sites));
        return { [OUTPUT]: block(inputs.x, inputs, inputs, config, { tap, queryChunk: 128 }).x, ...report };
      },
    );
    return program.run({ ...context(tokens, layer), ...tensors, x });
  };

  return {
    async observe(layer, tensors, texts) {
      const sites = layerSites(config).filter(
        (site) => kept.has(site) || channels.has(site) || specToRange(layer, site) !== undefined,
      );
      const total = texts.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
      const values = new Map<string, Value[]>([OUTPUT, ...sites].map((site) => [site, []]));
      const outermost = new Map<string, OutermostValues>();
      for (const x of texts) {
        const results = await run(layer, tensors, x, sites);
        const growth = total / (x.shape[0] as number);
        for (const [site, value] of Object.entries(results)) {
          if (site === OUTPUT || kept.has(site)) values.get(site)?.push(value);
          if (!channels.has(site) && !specToRange(layer, site)) continue;
          let seen = outermost.get(site);
          if (!seen) {
            const cut = Math.floor((1 - shareOf(layer, site)) * value.data.length * growth);
            outermost.set(site, (seen = new OutermostValues(channels.has(site) ? channelsOf(value) : 1, cut + 2)));
          }
          seen.add(value);
        }
      }
      const found = <T>(map: ReadonlyMap<string, T>, site: string): T => {
        const own = map.get(site);
        if (own) return own;
        throw new Error(`observeLayer: expected '${site}' to be a site that is observed, got one that is not.`);
      };
      return {
        outputs: found(values, OUTPUT),
        values: (site) => found(values, site),
        absMax: (site) => found(outermost, site).absMax(),
        range(site, factors) {
          const own = found(outermost, site);
          return own.range(shareOf(layer, site), factors?.(own.channels));
        },
      };
    },
    release: () => programs.release(),
  };
}

/** Gives out the values of some sites, of scores the extremes of each chunk. */
function reportingTap(report: Record<string, tf.Tensor>, sites: ReadonlySet<string>): Tap {
  return {
    weight: (_, w) => w,
    activation(site, x) {
      if (!sites.has(site)) return x;
      if (!SCORES.includes(site)) report[site] = x;
      else report[site] = tf.concat([...(report[site] ? [report[site]] : []), ...[tf.min(x), tf.max(x)].map(asVector)]);
      return x;
    },
  };
}

const asVector = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [1]);

/** Of a matrix `[tokens, channels]`, or all heads of `[heads, tokens, headDim]`. */
const channelsOf = ({ shape }: Value): number =>
  (shape.at(-1) as number) * (shape.length > 2 ? (shape[0] as number) : 1);
