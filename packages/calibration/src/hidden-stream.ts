/**
 * Samples on their way through the layers, and what any sites of the layer at hand make of them.
 *
 * A program runs the block only as far as the sites that are asked for: its tap reports the values there, and gives back values that are known
 * already, so that the graph in front of them and behind the sites falls away.
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
import { type Slab, slab } from './slab.ts';

export interface HiddenStream {
  /**
   * Reads the layer's tensors as they are now.
   *
   * @returns looks at some sites of a sample. The one that is to be kept is not computed again; a sample that goes on is through the layer, and
   *   nothing more is to be asked of it there.
   */
  sites(
    layer: number,
  ): Promise<(sample: number, sites: readonly string[], options?: SitesOptions) => Promise<SiteValues>>;
  /** Takes all samples through the layer that are not yet, and forgets what was kept. */
  pass(layer: number): Promise<void>;
}

export interface SitesOptions {
  readonly keep?: string | undefined;
  readonly goesOn?: boolean;
}

/** What a sample has at a site that was asked for, `[tokens, channels]`, behind the site's quantizer. */
export type SiteValues = (site: string) => Value;

/** What the layer puts out, as a site. */
export const LAYER_END = 'end';

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
  const states = slab(samples, config.hidden);
  const hidden: Value[] = [];
  for (const [i, sample] of samples.entries())
    hidden.push(states.put(i, (await embed(config, weights, sample)).data as Float32Array));
  const slabs = new Map<string, Slab>();
  let kept: Record<string, Value>[] = samples.map(() => ({}));
  const ahead = new Set<number>();

  /** The layer as far as some sites. */
  const run = async (
    layer: number,
    tensors: Values,
    sample: number,
    wanted: readonly string[],
  ): Promise<SiteValues> => {
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
        const found: Record<string, tf.Tensor> = {};
        const tap: Tap = {
          weight: quantized.weight,
          activation(site, y, hint) {
            const value = inputs[KNOWN + site] ?? quantized.activation(site, y, hint);
            if (wanted.includes(site)) found[site] = value;
            return value;
          },
        };
        const named = inputs as BlockInputs;
        const end = block(named.x, named, named, config, { tap, queryChunk: 128 }).x;
        return wanted.includes(LAYER_END) ? { ...found, [LAYER_END]: end } : found;
      },
    );
    const found: Values = await program.run({ ...given, x });
    return (site) => found[site] as Value;
  };

  const goOn = (sample: number, found: SiteValues): void => {
    hidden[sample] = states.put(sample, found(LAYER_END).data as Float32Array);
  };

  return {
    async sites(layer) {
      const tensors = await readLayer(weights, layer);
      return async (sample, sites, { keep, goesOn = false } = {}) => {
        const found = await run(layer, tensors, sample, goesOn ? [...sites, LAYER_END] : sites);
        if (goesOn) {
          goOn(sample, found);
          ahead.add(sample);
        } else if (keep) {
          const { data, shape } = found(keep);
          const own = slabs.get(keep) ?? slab(samples, shape[1] as number);
          slabs.set(keep, own);
          (kept[sample] as Record<string, Value>)[keep] = own.put(sample, data as Float32Array);
        }
        return found;
      };
    },
    async pass(layer) {
      const tensors = await readLayer(weights, layer);
      for (const sample of samples.keys())
        if (!ahead.has(sample)) goOn(sample, await run(layer, tensors, sample, [LAYER_END]));
      ahead.clear();
      kept = samples.map(() => ({}));
    },
  };
}
