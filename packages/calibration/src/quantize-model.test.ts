import { createDecoder, languageModel, simulatedReading } from '@mobilequant/core';
import { rangesOf as extremesOf, type Rule, recipes, withRules } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { quantizeBy } from './methods.ts';
import { quantizeModel, withKnownRanges } from './quantize-model.ts';
import { collectStatistics, rangesOf } from './statistics.ts';

const runtime = nodeRuntime();
const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4, layers: 2 });
const weights = tinyWeights(config, 4);
const calibration = [Int32Array.of(1, 5, 2, 9), Int32Array.of(7, 3, 3, 0)];
const a8 = { bits: 8, symmetric: false, granularity: { kind: 'tensor' } } as const;
const withHead = (...sites: string[]) =>
  withRules(
    recipes.w8a8,
    'mine',
    sites.map((site): Rule => ({ site, spec: a8 })),
  );

describe('quantizeModel', () => {
  test('takes activations from ranges, known ranges before calibrated ones, and weights from themselves', async () => {
    const ranges = rangesOf(await collectStatistics(runtime, config, weights, calibration, { head: false }));
    const recipe = recipes.w8a8;
    const { model } = await quantizeModel({ config, weights, recipe, ranges: withKnownRanges(ranges, recipe) });
    const sigmoid = model.encodings.get('model.layers.1.mlp.act_fn.input2');
    expect(sigmoid?.scale[0]).toBe(Math.fround(1 / (2 ** (sigmoid?.spec.bits as number) - 1)));
    const site = 'model.layers.1.mlp.w2.weight';
    const { max, min } = extremesOf(await weights.read(site), [8, 12], { kind: 'channel' }, { site });
    const encoding = model.encodings.get(site);
    expect(encoding?.scale).toHaveLength(8);
    encoding?.scale.forEach((scale, i) =>
      expect(scale).toBeCloseTo(Math.max(max[i] as number, -(min[i] as number)) / 127, 6),
    );
  });

  test('names the site that has no range', async () => {
    const ranges = rangesOf(await collectStatistics(runtime, config, weights, calibration, { head: false }));
    const without = new Map([...ranges].filter(([site]) => site !== 'model.layers.1.mlp.w2.output'));
    const input = { config, weights, recipe: recipes.w8a8, ranges: without };
    await expect(quantizeModel(input)).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RecipeError: w8a8: expected a calibrated range of 'model.layers.1.mlp.w2.output', got none. Collect statistics of the same model, with its head if the recipe names it.]`,
    );
    const head = { config, weights, recipe: withHead('lm_head.output'), ranges };
    await expect(quantizeModel(head)).rejects.toThrow(`a calibrated range of 'lm_head.output'`);
  });
});

test('quantizeBy calibrates the head for a recipe that quantizes what passes there', async () => {
  const recipe = withHead('model.norm.output', 'lm_head.output');
  const { model } = await quantizeBy(runtime, { config, weights, recipe, method: 'minmax', calibration });
  const encoding = model.encodings.get('lm_head.output');
  expect(model.encodings.get('model.norm.output')?.spec).toEqual(a8);
  const decoder = createDecoder(runtime, model.config, model.weights, { reading: simulatedReading(model.encodings) });
  const logits = await languageModel(decoder).logits(calibration[0] as Int32Array);
  const steps = [...logits].map((v) => v / (encoding?.scale[0] as number));
  expect(Math.max(...steps.map((s) => Math.abs(s - Math.round(s))))).toBeLessThan(1e-4);
});
