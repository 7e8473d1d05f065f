/** Sensitivities: against finite differences of the loss, value by value. */
import { block, contextValues, createDecoder, readLayer, type Tap } from '@mobilequant/core';
import type { Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { architectures } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { collectSensitivities } from './collect-sensitivities.ts';
import { binEdge } from './histogram.ts';

const runtime = nodeRuntime();
const text = (first: number) => Int32Array.from({ length: 9 }, (_, i) => (5 * i + first * first) % 24);
const SITES = ['mlp.w1.output', 'self_attn.qk_bmm.input2', 'self_attn.v_proj.output', 'input_layernorm.output'];

const tensors = (values: Values): Record<string, tf.Tensor> =>
  Object.fromEntries(
    Object.entries(values).map(([name, { data, shape }]) => [name, tf.tensor(data as Float32Array, [...shape])]),
  );

describe.each(architectures.filter(({ name }) => ['llama', 'gemma3', 'stablelm', 'phi'].includes(name)))(
  '$name',
  ({ config }) => {
    const weights = tinyWeights(config, 5);

    test('is how much the loss changes with what passes a site', async () => {
      const sample = text(2);
      const decoder = createDecoder(runtime, config, weights);
      const layer = config.layers - 1;
      const x = await decoder.embed(sample);
      let y = x;
      for (let i = 0; i < layer; i++) y = await decoder.block(i, y);
      const own = tensors({ ...(await readLayer(weights, layer)), ...contextValues(config, sample.length, 0, layer) });
      const { cos, sin, mask } = own as Record<'cos' | 'sin' | 'mask', tf.Tensor>;

      /** The loss with a change of one site's values, which are given out. */
      const loss = async (site: string, change?: tf.Tensor) => {
        let values: tf.Tensor | undefined;
        const tap: Tap = {
          weight: (_, w) => w,
          activation(name, value) {
            if (name !== site) return value;
            values = value;
            return change ? tf.add(value, change) : value;
          },
        };
        const input = tf.tensor(y, [sample.length, config.hidden]);
        const out = block(input, own, { cos, sin, mask }, config, { tap }).x.dataSync() as Float32Array;
        const losses = await decoder.negativeLogLikelihood(out.subarray(0, -config.hidden), sample.subarray(1));
        return { loss: losses.reduce((a, b) => a + b, 0), values: values as tf.Tensor };
      };

      const found = await collectSensitivities(runtime, { config, weights, samples: [sample], asked: () => true });
      for (const site of SITES) {
        const histogram = found.get(`model.layers.${layer}.${site}`);
        const { values } = await loss(site);
        expect(histogram?.min).toBeCloseTo(Math.min(...values.dataSync()), 4);
        let sum = 0;
        const step = 1e-2;
        for (let i = 0; i < values.size; i++) {
          const unit = new Float32Array(values.size);
          unit[i] = step;
          const at = async (sign: number) => (await loss(site, tf.mul(tf.tensor(unit, values.shape), sign))).loss;
          sum += (((await at(1)) - (await at(-1))) / (2 * step)) ** 2;
        }
        expect(Math.abs((histogram?.total as number) / sum - 1), site).toBeLessThan(0.05);
        expect(histogram?.counts.reduce((a, b) => a + b, 0)).toBeCloseTo(histogram?.total as number, 6);
        expect(binEdge(histogram?.bins[0] as number)).toBeLessThanOrEqual(histogram?.min as number);
      }
    });
  },
);

test('adds up over samples, and asks where it is told to', async () => {
  const { config } = architectures.find(({ name }) => name === 'llama') as (typeof architectures)[number];
  const weights = tinyWeights(config, 5);
  const asked = (site: string) => site.endsWith('.w3.output');
  const of = (...samples: Int32Array[]) => collectSensitivities(runtime, { config, weights, samples, asked });
  const [both, one, other] = [await of(text(1), text(2)), await of(text(1)), await of(text(2))];
  expect([...both.keys()].sort()).toEqual(['model.layers.0.mlp.w3.output', 'model.layers.1.mlp.w3.output']);
  for (const [site, { total }] of both)
    expect(total).toBeCloseTo((one.get(site)?.total ?? 0) + (other.get(site)?.total ?? 0), 6);
});
