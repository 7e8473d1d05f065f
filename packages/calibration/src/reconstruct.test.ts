import {
  createDecoder,
  type DecoderConfig,
  type QuantizedModel,
  simulatedReading,
  type Weights,
} from '@mobilequant/core';
import { fakeQuantize, recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architectures } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { gptq } from './gptq.ts';
import { quantizedForm } from './methods.ts';
import type { Progress } from './progress.ts';
import { quantizeModel, withKnownRanges } from './quantize-model.ts';
import { type ReconstructedLayer, type ReconstructOptions, reconstruct } from './reconstruct.ts';
import { collectStatistics, rangesOf } from './statistics.ts';

const runtime = nodeRuntime();
const OPTIONS: ReconstructOptions = { epochs: 6, rate: 0.02 };

/** A model rounded by GPTQ, its weights before that, and texts. */
async function inputOf(config: DecoderConfig) {
  const weights = tinyWeights(config, 21);
  const texts = Array.from({ length: 10 }, (_, n) =>
    Int32Array.from({ length: 16 }, (_, i) => ((i + 1) * (7 + 3 * n) + i * i) % config.vocab),
  );
  const [samples, heldOut] = [texts.slice(0, 8), texts.slice(8)];
  const recipe = recipes.w4a8;
  const statistics = await collectStatistics(runtime, config, weights, samples, { head: false });
  const input = { config, weights, recipe, ranges: withKnownRanges(rangesOf(statistics), recipe), samples };
  const { unrounded, ...rounded } = await gptq(runtime, input, { fractions: true });
  const { model } = await quantizeModel({ ...rounded, weights: unrounded });
  return { model, float: { config, weights }, samples, heldOut };
}

/** Squared error of the last hidden states on some texts. */
async function errorOf(
  float: { config: DecoderConfig; weights: Weights },
  model: QuantizedModel,
  texts: readonly Int32Array[],
) {
  const exact = createDecoder(runtime, float.config, float.weights);
  const rounded = createDecoder(runtime, model.config, model.weights, { reading: simulatedReading(model.encodings) });
  let sum = 0;
  for (const text of texts) {
    const [x, y] = [await exact.hidden(text), await rounded.hidden(text)];
    x.forEach((v, i) => (sum += (v - (y[i] as number)) ** 2));
  }
  return sum;
}

const linears = (model: QuantizedModel): string[] =>
  model.weights.names().filter((name) => /layers.*(proj|mlp\.w\d)\.weight$/.test(name));

describe.each(architectures.filter(({ name }) => ['llama', 'gemma3', 'qwen2', 'stablelm', 'phi'].includes(name)))(
  '$name',
  ({ config: checkpoint }) => {
    test('brings every layer closer to the float one, with weights on the same grids', async () => {
      const input = await inputOf(quantizedForm(checkpoint, 'exact'));
      const layers: ReconstructedLayer[] = [];
      const model = await reconstruct(runtime, input, { ...OPTIONS, onLayer: (layer) => layers.push(layer) });
      expect(layers.map(({ layer }) => layer)).toEqual(Array.from({ length: model.config.layers }, (_, i) => i));
      expect(layers.some(({ before, after }) => after < before)).toBe(true);
      expect(layers.every(({ changed }) => changed > 0 && changed < 0.5)).toBe(true);
      expect(model.encodings).toBe(input.model.encodings);
      for (const name of linears(model)) {
        const values = await model.weights.read(name);
        const encoding = model.encodings.get(name);
        if (encoding) expect(fakeQuantize(values, encoding)).toEqual(values);
      }
      const texts = input.samples;
      expect(await errorOf(input.float, model, texts)).toBeLessThan(await errorOf(input.float, input.model, texts));
    });
  },
);

const llama = async () => inputOf(quantizedForm((architectures[0] as (typeof architectures)[number]).config, 'exact'));

test('a layer that has not become better on held-out text stays as it was', async () => {
  const input = await llama();
  const layers: ReconstructedLayer[] = [];
  const onLayer = (layer: ReconstructedLayer) => layers.push(layer);
  const model = await reconstruct(runtime, input, { epochs: 2, rate: 30, onLayer });
  expect(layers.every(({ before, after }) => after > before)).toBe(true);
  for (const name of linears(model)) {
    const encoding = input.model.encodings.get(name);
    if (!encoding) throw new Error(`no encoding of ${name}`);
    expect(await model.weights.read(name)).toEqual(fakeQuantize(await input.model.weights.read(name), encoding));
  }
});

test('is the same every time, another with another seed, and says how far it is', async () => {
  const input = await llama();
  const read = async (model: QuantizedModel) => Promise.all(linears(model).map((name) => model.weights.read(name)));
  const seen: Progress[] = [];
  const first = await read(
    await reconstruct(runtime, input, { ...OPTIONS, onProgress: (progress) => seen.push(progress) }),
  );
  expect(await read(await reconstruct(runtime, input, OPTIONS))).toEqual(first);
  expect(await read(await reconstruct(runtime, input, { ...OPTIONS, seed: 5 }))).not.toEqual(first);
  expect(seen.map(({ stage, done, total }) => [stage, done, total])).toEqual([
    ['reconstruction', 1, 2],
    ['reconstruction', 2, 2],
  ]);
});

test('stops between layers, and needs texts', async () => {
  const input = await llama();
  const stop = new AbortController();
  const running = reconstruct(runtime, input, { ...OPTIONS, signal: stop.signal, onProgress: () => stop.abort() });
  await expect(running).rejects.toThrow('abort');
  await expect(reconstruct(runtime, { ...input, heldOut: [] }, OPTIONS)).rejects.toThrow('some that are held out');
});
