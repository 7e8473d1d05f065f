/**
 * A recipe of one's own: plain data, made from a built-in one.
 *
 * Weights of 4 bits in groups of 32, but 8 bits in the first and the last layer, and the residual stream left in float.
 *
 *     pnpm exec node examples/custom-recipe.ts
 */
import { fileURLToPath } from 'node:url';
import { quantizeBy } from '@mobilequant/calibration';
import { cachedWeights, createDecoder, languageModel, simulatedReading } from '@mobilequant/core';
import { perplexity } from '@mobilequant/evaluator';
import { type QuantizerSpec, type Recipe, recipes, withRules } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { randomSamples, readModel } from 'mobilequant';
import { MODEL } from './tiny-llama/files.ts';
import { generateText, SPLITS } from './tiny-llama/generator.ts';

const grouped: QuantizerSpec = { bits: 4, symmetric: true, granularity: { kind: 'group', size: 32 } };
const careful: QuantizerSpec = { bits: 8, symmetric: true, granularity: { kind: 'channel' } };

/** The last rule that matches a site decides. */
export const recipe: Recipe = withRules(recipes.w4a8, 'w4-groups-of-32', [
  { site: 'model.layers.*.self_attn.*_proj.weight', spec: grouped },
  { site: 'model.layers.*.mlp.w*.weight', spec: grouped },
  ...['0', '3'].map((layer) => ({ site: `model.layers.${layer}.*_proj.weight`, spec: careful })),
  ...['0', '3'].map((layer) => ({ site: `model.layers.${layer}.mlp.w*.weight`, spec: careful })),
  { site: 'model.layers.*layernorm.input', spec: null },
]);

/** Perplexity of the float model and of the model quantized by the recipe. */
export async function run(): Promise<{ float: number; quantized: number }> {
  const runtime = nodeRuntime();
  const { checkpoint, config, weights } = await readModel(fileURLToPath(MODEL));
  const tokenizer = await checkpoint.tokenizer();
  const tokens = tokenizer.encode(generateText({ seed: SPLITS.calibration, characters: 20_000 }));
  const calibration = randomSamples({ kind: 'text', tokens }, { samples: 8, tokens: 128, seed: 1 });

  const { model } = await quantizeBy(runtime, {
    config,
    weights,
    recipe,
    method: 'smoothquant',
    calibration,
  });

  const text = tokenizer.encode(generateText({ seed: SPLITS.test, characters: 10_000 }));
  const window = { tokens: 128, windows: 8 };
  const float = createDecoder(runtime, config, cachedWeights(weights));
  const simulated = createDecoder(runtime, model.config, cachedWeights(model.weights), {
    reading: simulatedReading(model.encodings),
  });
  return {
    float: (await perplexity(languageModel(float), text, window)).tokenPerplexity,
    quantized: (await perplexity(languageModel(simulated), text, window)).tokenPerplexity,
  };
}

if (import.meta.main) {
  const { float, quantized } = await run();
  console.log(`float ${float.toFixed(3)}, ${recipe.name} ${quantized.toFixed(3)}`);
}
