/** Every method on every architecture, from end to end: what it encodes, and how far the quantized model is from the float one. */
import {
  createDecoder,
  type DecoderConfig,
  type QuantizedModel,
  simulatedReading,
  type Weights,
} from '@mobilequant/core';
import { decoderSites, type Recipe, recipes, resolveRecipe, splitSite } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architectures } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { observedForm, prepareModel, quantizePrepared } from './methods.ts';

const runtime = nodeRuntime();
const calibration = [1, 12].map((first) => Int32Array.from({ length: 8 }, (_, i) => (5 * i + first) % 24));
const training = calibration.slice(1);

async function logitsOf(config: DecoderConfig, weights: Weights, reading?: ReturnType<typeof simulatedReading>) {
  const decoder = createDecoder(runtime, config, weights, reading && { reading });
  const logits = await decoder.logits(await decoder.hidden(calibration[0] as Int32Array));
  await decoder.release();
  return logits;
}

const simulatedLogits = ({ config, weights, encodings }: QuantizedModel) =>
  logitsOf(config, weights, simulatedReading(encodings));

/** The root of the mean squared difference, relative to the logits. */
function relativeError(got: Float32Array, want: Float32Array): number {
  const squares = (x: Float32Array) => x.reduce((sum, v) => sum + v * v, 0);
  return Math.sqrt(squares(got.map((v, i) => v - (want[i] as number))) / squares(want));
}

/** The sites that a recipe names; the embedding is looked up, and has none of its own. */
function namedSites(config: DecoderConfig, recipe: Recipe): string[] {
  const resolve = resolveRecipe(recipe);
  return decoderSites(config).filter((site) => resolve(site) && splitSite(site).module !== 'model.embed_tokens');
}

describe.each(architectures)('$name', ({ config }) => {
  const weights = tinyWeights(config, 21);
  const own = observedForm(config);

  test.each([
    { conventions: 'exact', eight: recipes.w8a8, four: recipes.w4a8 },
    { conventions: 'reference', eight: recipes['paper-w8a8'], four: recipes['paper-w4a8-sym'] },
  ])('every method quantizes it, under $conventions conventions', async ({ conventions, eight, four }) => {
    const exact = conventions === 'exact';
    const float = await logitsOf(own, weights);
    const smoothing = { groupedHeads: exact };
    const plain = await prepareModel(runtime, config, weights, calibration, { smoothing: false });
    const smoothed = await prepareModel(runtime, config, weights, calibration, { smoothing });
    /** Bits of weights make no other graphs, so each way of learning is tried on one of the two. */
    const runs = [
      { recipe: eight, methods: ['minmax', 'smoothquant', 'mobilequant'] },
      { recipe: four, methods: ['minmax', 'smoothquant', 'omniquant'] },
    ] as const;
    for (const { recipe, methods } of runs) {
      for (const method of methods) {
        const prepared = method === 'minmax' ? plain : smoothed;
        const { model } = await quantizePrepared(runtime, prepared, recipe, method, training, { epochs: 1 });
        expect([...model.encodings.keys()].sort()).toEqual(namedSites(config, recipe).sort());
        const error = relativeError(await simulatedLogits(model), float);
        expect(error).toBeGreaterThan(1e-3); // something is rounded
        expect(error).toBeLessThan(recipe === eight ? 0.07 : 0.3);
        if (exact && (method === 'omniquant' || method === 'mobilequant'))
          expect(relativeError(await logitsOf(own, model.weights), float)).toBeLessThan(1e-5);
      }
    }
  });
});
