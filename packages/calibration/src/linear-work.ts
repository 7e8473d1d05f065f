/**
 * What a quantized model asks of a device for each token: the multiply-accumulates of its linears, by the widths of their two operands.
 *
 * Attention's own products grow with the text, and element-wise operators are passed over once: neither is counted.
 */
import { type DecoderConfig, headName, siteName, type Weights } from '@mobilequant/core';
import { type Encodings, layerSites, splitSite } from '@mobilequant/quantizer';
import { linearsAt, linearsOf } from './place-precision.ts';

/** One linear. Widths are in bits, 32 where a site is left in float. */
export interface LinearWork {
  /** Full name of the module. */
  readonly linear: string;
  /** Multiply-accumulates of one token. */
  readonly products: number;
  readonly weightBits: number;
  /** Of what it reads. */
  readonly inputBits: number;
}

const FLOAT = 32;

/** All linears of a model, the head included, in the order of computation. */
export function linearWork(config: DecoderConfig, weights: Weights, encodings: Encodings): LinearWork[] {
  const work = (linear: string, tensor: string, inputs: readonly string[]): LinearWork => ({
    linear,
    products: weights.shape(tensor).reduce((product, size) => product * size, 1),
    weightBits: encodings.get(`${linear}.weight`)?.spec.bits ?? FLOAT,
    inputBits: inputs.flatMap((site) => encodings.get(site)?.spec.bits ?? [])[0] ?? FLOAT,
  });
  const layers = Array.from({ length: config.layers }, (_, layer) =>
    linearsOf(config).map((linear) => {
      const name = siteName(layer, linear);
      const inputs = inputsOf(linear, config).map((site) => siteName(layer, site));
      return work(name, `${name}.weight`, inputs);
    }),
  );
  return [...layers.flat(), work('lm_head', headName(weights), ['lm_head.input', 'model.norm.output'])];
}

/** Sites at which what a linear reads can be rounded, the nearest first. */
const inputsOf = (linear: string, config: DecoderConfig): string[] => {
  const before = layerSites(config).filter(
    (site) => splitSite(site).module !== linear && linearsAt(site, config).includes(linear),
  );
  return [`${linear}.input`, ...before];
};
