/**
 * Which quantizer costs what: signal against noise at every quantized site.
 *
 * One graph a layer holds the block twice, float and simulated, each on its own states, and reduces every site to four sums; so no
 * activation leaves it.
 */
import {
  block,
  contextValues,
  type DecoderConfig,
  embed,
  type Reading,
  readLayer,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import { type Executor, programCache, type TracedInputs, type Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { decibels } from './signal-to-noise.ts';

/** A site's ratios in dB; Infinity without any noise. */
export interface SiteRatio {
  /** Of what the site's own rounding adds. */
  readonly own: number;
  /** Of all that differs from the float model there, what came in included. */
  readonly total: number;
}

interface SiteInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** How the quantized model is read: `simulatedReading(encodings)`. */
  readonly reading: Reading;
  /** Token ids, each a text of its own. */
  readonly samples: readonly Int32Array[];
}

type BlockInputs = TracedInputs<Record<'x' | 'y' | 'cos' | 'sin' | 'mask', readonly number[]>>;

/** Full site name → ratios over all samples, of the layers' activation and weight sites that the reading changes. */
export async function siteSignalToNoise(
  executor: Executor,
  { config, weights, reading, samples }: SiteInput,
): Promise<Map<string, SiteRatio>> {
  const programs = programCache(executor);

  function bothBlocks(inputs: BlockInputs, layer: number): Record<'x:next' | 'y:next', tf.Tensor> {
    const float = new Map<string, tf.Tensor>();
    const keep = (site: string, value: tf.Tensor): tf.Tensor => {
      float.set(site, value);
      return value;
    };
    const x = block(inputs.x, inputs, inputs, config, { tap: { activation: keep, weight: keep } }).x;

    const tap = reading.tap(layer, inputs);
    const sums: Record<string, tf.Tensor> = {};
    const compare = (site: string, before: tf.Tensor, after: tf.Tensor): tf.Tensor => {
      if (after === before) return after;
      const exact = float.get(site) as tf.Tensor;
      sums[`${site}:float`] = tf.sum(tf.square(exact));
      sums[`${site}:total`] = tf.sum(tf.square(tf.sub(after, exact)));
      sums[`${site}:before`] = tf.sum(tf.square(before));
      sums[`${site}:own`] = tf.sum(tf.square(tf.sub(after, before)));
      return after;
    };
    const comparing: Tap = {
      activation: (site, value, hint) => compare(site, value, tap.activation(site, value, hint)),
      weight: (site, value) => compare(site, value, tap.weight(site, value)),
    };
    return { 'x:next': x, 'y:next': block(inputs.y, inputs, inputs, config, { tap: comparing }).x, ...sums };
  }

  const totals = new Map<string, number>();
  for (const sample of samples) {
    let x: Value = await embed(config, weights, sample);
    let y = x;
    for (let layer = 0; layer < config.layers; layer++) {
      const context = contextValues(config, sample.length, 0, layer);
      const values = { x, y, ...context, ...(await readLayer(weights, layer)), ...reading.values(layer) };
      const specs = specsOf(values);
      const program = await programs.program(
        `${JSON.stringify(specs)} ${reading.key(layer)}`,
        () => specs,
        (inputs) => bothBlocks(inputs, layer),
      );
      const { 'x:next': nextX, 'y:next': nextY, ...sums } = await program.run(values);
      for (const [name, { data }] of Object.entries(sums)) {
        const full = `model.layers.${layer}.${name}`;
        totals.set(full, (totals.get(full) ?? 0) + Number(data[0]));
      }
      [x, y] = [nextX, nextY];
    }
  }
  await programs.release();

  const at = (name: string): number => totals.get(name) as number;
  const sites = [...totals.keys()].flatMap((name) => (name.endsWith(':own') ? [name.slice(0, -':own'.length)] : []));
  return new Map(
    sites.map((site) => [
      site,
      {
        own: decibels(at(`${site}:before`), at(`${site}:own`)),
        total: decibels(at(`${site}:float`), at(`${site}:total`)),
      },
    ]),
  );
}
