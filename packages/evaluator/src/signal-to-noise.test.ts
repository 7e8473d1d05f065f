import { createDecoder, type Decoder, type DecoderConfig } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { expect, test } from 'vitest';
import { architecture } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import { layerSignalToNoise } from './signal-to-noise.ts';

/** Two layers that add `step` to every state. */
function adder(step: number): Decoder {
  const unused = () => Promise.reject(new Error('not to be called'));
  return {
    config: { layers: 2 } as DecoderConfig,
    embed: async (tokens) => Float32Array.from(tokens),
    block: async (_, x) => x.map((value) => value + step),
    hidden: unused,
    hiddenOfTree: unused,
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

test.each(['gemma', 'gemma3', 'phi'])('the states of %s are those that its decoder goes through', async (name) => {
  const config = architecture(name);
  const runtime = nodeRuntime();
  const decoders = [21, 22].map((seed) => createDecoder(runtime, config, tinyWeights(config, seed))) as [
    Decoder,
    Decoder,
  ];
  const text = Int32Array.from({ length: 9 }, (_, i) => (5 * i + 1) % config.vocab);
  const [a, b] = decoders.map(async (decoder) => {
    const states: Float32Array[] = [];
    await decoder.hidden(text, (_, x) => states.push(x));
    return states;
  }) as [Promise<Float32Array[]>, Promise<Float32Array[]>];
  const power = (x: Float32Array) => x.reduce((sum, v) => sum + v * v, 0);
  const [float, other] = [await a, await b];
  const wanted = float.map((x, layer) => {
    const noise = x.map((v, i) => v - (other[layer]?.[i] as number));
    return 10 * Math.log10(power(x) / power(noise));
  });
  const got = await layerSignalToNoise(...decoders, [text]);
  expect(got).toHaveLength(config.layers);
  got.forEach((ratio, layer) => expect(ratio).toBeCloseTo(wanted[layer] as number, 4));
});
