import { createDecoder, type DecoderConfig, decoderConfig, type Reading, weightsFrom } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { siteSignalToNoise } from './site-signal-to-noise.ts';

const config: DecoderConfig = decoderConfig({
  layers: 2,
  hidden: 8,
  ffn: 12,
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  vocab: 10,
  maxPositions: 16,
  normEpsilon: 1e-5,
  norm: 'l2',
  finalNorm: 'epsilon',
  scoreScale: 'explicit',
  activation: 'silu',
  rope: { theta: 10000 },
  tiedEmbeddings: true,
});

const shapes = {
  'input_layernorm.weight': [8],
  'self_attn.q_proj.weight': [8, 8],
  'self_attn.k_proj.weight': [4, 8],
  'self_attn.v_proj.weight': [4, 8],
  'self_attn.o_proj.weight': [8, 8],
  'post_attention_layernorm.weight': [8],
  'mlp.w1.weight': [12, 8],
  'mlp.w3.weight': [12, 8],
  'mlp.w2.weight': [8, 12],
};

const tensor = (shape: number[], seed: number) => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(3 * i + seed)),
});

const weights = weightsFrom(
  new Map([
    ['model.embed_tokens.weight', tensor([10, 8], 0)],
    ['model.norm.weight', tensor([8], 1)],
    ...[0, 1].flatMap((layer) =>
      Object.entries(shapes).map(
        ([name, shape], i) => [`model.layers.${layer}.${name}`, tensor(shape, layer + i)] as const,
      ),
    ),
  ]),
);

/** Makes what passes some sites larger by a hundredth, and nothing else. */
const louder = (...noisy: string[]): Reading => ({
  key: () => 'louder',
  inputs: () => ({}),
  values: () => ({}),
  tap: () => ({ activation: (site, x) => (noisy.includes(site) ? tf.mul(x, 1.01) : x), weight: (_, w) => w }),
});

const samples = [Int32Array.of(1, 2, 3), Int32Array.of(4, 5, 6)];

const SITE = 'input_layernorm.input';

test('a site is compared with the float model there, noise of the layers before included, and with itself before rounding', async () => {
  const runtime = nodeRuntime();
  const reading = louder(SITE, 'mlp.w2.output');
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
      sums.noise += (1.01 * (y[i] as number) - value) ** 2;
    });
  }
  const [first, second] = [0, 1].map((layer) => ratios.get(`model.layers.${layer}.${SITE}`));
  expect(first?.total).toBeCloseTo(40, 2);
  expect(second?.total).toBeCloseTo(10 * Math.log10(sums.signal / sums.noise), 2);
  expect(second?.total).not.toBeCloseTo(40, 1);
  for (const ratio of [first, second]) expect(ratio?.own).toBeCloseTo(40, 2);
});
