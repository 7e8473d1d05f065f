/** Ratios at sites against those of two decoders run side by side, on models with and without windows, factors and biases. */
import { createDecoder, type Reading } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { architecture } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import { siteSignalToNoise } from './site-signal-to-noise.ts';

/** Makes every other channel of what passes some sites larger by a hundredth, the rest smaller, and nothing else. */
const uneven = (x: tf.Tensor): tf.Tensor =>
  tf.mul(x, tf.tensor1d(Array.from({ length: x.shape.at(-1) as number }, (_, i) => (i % 2 === 0 ? 1.01 : 0.99))));

const noisy = (...sites: string[]): Reading => ({
  key: () => 'noisy',
  inputs: () => ({}),
  values: () => ({}),
  tap: () => ({ activation: (site, x) => (sites.includes(site) ? uneven(x) : x), weight: (_, w) => w }),
});

const samples = [Int32Array.of(1, 2, 3, 7, 9, 11), Int32Array.of(4, 5, 6)];

const SITE = 'input_layernorm.input';

test.each(['llama, tied', 'gemma', 'gemma2', 'gemma3', 'phi'])(
  'a site of %s is compared with the float model there, noise before it included, and with itself before rounding',
  async (name) => {
    const config = architecture(name);
    const weights = tinyWeights(config, 21);
    const runtime = nodeRuntime();
    const reading = noisy(SITE, 'mlp.w2.output');
    const ratios = await siteSignalToNoise(runtime, { config, weights, reading, samples });
    expect(ratios.size).toBe(4);

    const [float, simulated] = [
      createDecoder(runtime, config, weights),
      createDecoder(runtime, config, weights, { reading }),
    ];
    const sums = { signal: 0, noise: 0 };
    for (const sample of samples) {
      const x = await float.block(0, await float.embed(sample));
      const y = await simulated.block(0, await simulated.embed(sample));
      x.forEach((value, i) => {
        sums.signal += value ** 2;
        sums.noise += ((i % 2 === 0 ? 1.01 : 0.99) * (y[i] as number) - value) ** 2;
      });
    }
    const [first, second] = [0, 1].map((layer) => ratios.get(`model.layers.${layer}.${SITE}`));
    expect(first?.total).toBeCloseTo(40, 2);
    expect(second?.total).toBeCloseTo(10 * Math.log10(sums.signal / sums.noise), 2);
    expect(second?.total).not.toBeCloseTo(40, 1);
    for (const ratio of [first, second]) expect(ratio?.own).toBeCloseTo(40, 2);
    await float.release();
    await simulated.release();
  },
);
