/**
 * Samples on their way through the layers, and what any site of the layer at hand makes of them.
 *
 * A program runs the block only as far as one site: its tap reports the value there, and gives back values that are known already, so that
 * the graph in front of them and behind the site falls away.
 */
import {
  block,
  contextCache,
  type DecoderConfig,
  embed,
  layerShapes,
  type Reading,
  readLayer,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import type { ProgramCache, Value, Values } from '@mobilequant/tracer';
import type * as tf from '@tensorflow/tfjs';

export interface HiddenStream {
  /**
   * Reads the layer's tensors as they are now.
   *
   * @returns what a sample has at a site, `[tokens, channels]`, behind the site's quantizer, or without one at the layer's end; what is kept is
   *   not computed again.
   */
  sites(layer: number): Promise<(sample: number, site?: string, options?: { keep?: boolean }) => Promise<Value>>;
  /** Takes all samples through the layer, and forgets what was kept. */
  pass(layer: number): Promise<void>;
}

const KNOWN = 'known:';

type BlockInputs = Readonly<Record<'x' | 'cos' | 'sin' | 'mask', tf.Tensor>> & Readonly<Record<string, tf.Tensor>>;

/** The samples before the first layer of a model, run as `reading` says. */
export async function hiddenStream(
  programs: ProgramCache,
  config: DecoderConfig,
  weights: Weights,
  reading: Reading,
  samples: readonly Int32Array[],
): Promise<HiddenStream> {
  const context = contextCache(config);
  const hidden: Value[] = await Promise.all(samples.map((sample) => embed(config, weights, sample)));
  let kept: Record<string, Value>[] = samples.map(() => ({}));

  /** The layer as far as a site, or to its end. */
  const run = async (layer: number, tensors: Values, sample: number, wanted?: string): Promise<Value> => {
    const x = hidden[sample] as Value;
    const tokens = x.shape[0] as number;
    const known = Object.entries(kept[sample] as Values).map(([site, value]) => [KNOWN + site, value]);
    const given: Values = {
      ...context(tokens, layer),
      ...tensors,
      ...reading.values(layer),
      ...Object.fromEntries(known),
    };
    const sites = known.map(([site]) => site);
    const program = await programs.program(
      `layer ${JSON.stringify([tokens, wanted, sites, layerShapes(weights, layer)])} ${reading.key(layer)}`,
      () => specsOf({ ...given, x }),
      (inputs) => {
        const quantized = reading.tap(layer, inputs);
        let found: tf.Tensor | undefined;
        const tap: Tap = {
          weight: quantized.weight,
          activation(site, y, hint) {
            const value = inputs[KNOWN + site] ?? quantized.activation(site, y, hint);
            if (site === wanted) found = value;
            return value;
          },
        };
        const named = inputs as BlockInputs;
        const end = block(named.x, named, named, config, { tap, queryChunk: 128 }).x;
        return { y: found ?? end };
      },
    );
    return (await program.run({ ...given, x })).y;
  };

  return {
    async sites(layer) {
      const tensors = await readLayer(weights, layer);
      return async (sample, site, { keep = false } = {}) => {
        const value = await run(layer, tensors, sample, site);
        if (keep && site) (kept[sample] as Record<string, Value>)[site] = value;
        return value;
      };
    },
    async pass(layer) {
      const tensors = await readLayer(weights, layer);
      for (const sample of samples.keys()) hidden[sample] = await run(layer, tensors, sample);
      kept = samples.map(() => ({}));
    },
  };
}
