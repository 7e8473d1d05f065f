import type { Decoder, DecoderConfig } from '@mobilequant/core';
import { expect, test } from 'vitest';
import { layerSignalToNoise } from './signal-to-noise.ts';

/** Two layers that add `step` to every state. */
function adder(step: number): Decoder {
  const unused = () => Promise.reject(new Error('not to be called'));
  return {
    config: { layers: 2 } as DecoderConfig,
    embed: async (tokens) => Float32Array.from(tokens),
    block: async (_, x) => x.map((value) => value + step),
    hidden: unused,
    logits: unused,
    negativeLogLikelihood: unused,
    release: async () => {},
  };
}

const samples = [Int32Array.of(1, 2), Int32Array.of(3)];

test('noise adds up along the layers and over the samples', async () => {
  const [first, second] = await layerSignalToNoise(adder(1), adder(1.5), samples);
  // the float states are 2, 3, 4 and then 3, 4, 5; the errors 0.5 and then 1
  expect(first).toBeCloseTo(10 * Math.log10(29 / 0.75), 10);
  expect(second).toBeCloseTo(10 * Math.log10(50 / 3), 10);
});

test('equal decoders have no noise', async () => {
  expect(await layerSignalToNoise(adder(1), adder(1), samples)).toEqual([Infinity, Infinity]);
});
