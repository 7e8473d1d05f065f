/**
 * A reading is what a block is run as: extra inputs (scales, learnable parameters) and the tap made of them.
 * Layers with the same key share one compiled graph.
 */

import type { Encoding, Encodings } from '@mobilequant/quantizer';
import type { InputSpecs, Values } from '@mobilequant/tracer';
import type * as tf from '@tensorflow/tfjs';
import { quantizeAs } from './quantize-as.ts';
import { floatTap, type Tap } from './tap.ts';

/** The layer's number, or the head behind the last layer. */
export type Part = number | 'head';

export interface Reading {
  /** Parts with equal keys have equal graphs. */
  key(part: Part): string;
  /** Names and shapes of the inputs beside the weights. */
  inputs(part: Part): InputSpecs;
  /** Their values. */
  values(part: Part): Values;
  /** What happens at the sites, given the inputs as tensors. */
  tap(part: Part, inputs: Readonly<Record<string, tf.Tensor>>): Tap;
}

/** The float model. */
export const floatReading: Reading = {
  key: () => 'float',
  inputs: () => ({}),
  values: () => ({}),
  tap: () => floatTap,
};

/** A site's full name. */
export const siteName = (part: Part, site: string): string => (part === 'head' ? site : `model.layers.${part}.${site}`);

/** The quantized model, simulated: every encoded site is rounded to its grid, with scale and zero point as inputs. */
export function simulatedReading(encodings: Encodings): Reading {
  const sites = (part: Part): [string, Encoding][] => {
    const prefix = part === 'head' ? '' : `model.layers.${part}.`;
    const layers = 'model.layers.';
    return [...encodings].flatMap(([name, encoding]): [string, Encoding][] => {
      if (part === 'head' ? name.startsWith(layers) : !name.startsWith(prefix)) return [];
      return [[name.slice(prefix.length), encoding]];
    });
  };
  const cache = new Map<Part, ReadonlyMap<string, Encoding>>();
  const of = (part: Part): ReadonlyMap<string, Encoding> => {
    let found = cache.get(part);
    if (!found) cache.set(part, (found = new Map(sites(part))));
    return found;
  };
  return {
    key: (part) => JSON.stringify([...of(part)].map(([site, { spec, scale }]) => [site, spec, scale.length])),
    inputs: (part) =>
      Object.fromEntries(
        [...of(part)].flatMap(([site, { scale }]) => [
          [`${site}.scale`, scaleShape(scale.length)],
          [`${site}.offset`, scaleShape(scale.length)],
        ]),
      ),
    values: (part) =>
      Object.fromEntries(
        [...of(part)].flatMap(([site, { scale, zeroPoint }]) => [
          [`${site}.scale`, { data: scale, shape: scaleShape(scale.length) }],
          [`${site}.offset`, { data: Float32Array.from(zeroPoint), shape: scaleShape(scale.length) }],
        ]),
      ),
    tap: (part, inputs) => {
      const quantize = (site: string, x: tf.Tensor, weight: boolean, nonnegative = false): tf.Tensor => {
        const encoding = of(part).get(site);
        if (!encoding) return x;
        const scale = inputs[`${site}.scale`] as tf.Tensor;
        const offset = inputs[`${site}.offset`] as tf.Tensor;
        return quantizeAs(encoding.spec, x, scale, offset, { signed: weight, nonnegative, name: siteName(part, site) });
      };
      return {
        activation: (site, x, hint) => quantize(site, x, false, hint?.nonnegative),
        weight: (site, w) => quantize(site, w, true),
      };
    },
  };
}

/** One group: a scalar; several: a column. */
export const scaleShape = (groups: number): number[] => (groups === 1 ? [] : [groups, 1]);
