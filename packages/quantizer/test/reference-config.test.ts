/** The paper's recipes against the configurations that the reference implementation used. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  decoderSites,
  rangesFromReference,
  recipeFromReferenceConfig,
  recipes,
  referenceConfigFromRecipe,
  resolveRecipe,
} from '../src/index.ts';
import { llamaShape } from './llama-shape.ts';

const golden = process.env.MOBILEQUANT_GOLDEN;

const cases = golden ? globSync('*/quant_config.json', { cwd: golden }).map((path) => dirname(path)) : [];

describe.skipIf(cases.length === 0)(
  'golden configurations (set MOBILEQUANT_GOLDEN to the folder of reference data)',
  () => {
    if (cases.length === 0) test('are not there', () => {});
    describe.each(cases)('%s', compare);
  },
);

function compare(name: string): void {
  const read = (file: string) => JSON.parse(readFileSync(join(golden ?? '', name, file), 'utf8'));
  const { num_hidden_layers: layers, ...config } = read('config.json');
  const gelu = /gelu/.test(config.hidden_activation ?? config.hidden_act ?? config.model_type.replace('gemma', 'gelu'));
  const shape = { ...llamaShape(layers), activation: gelu ? 'gelu' : 'silu' };
  const precisions = Object.keys(read('quant_config.json')).filter((precision) => `paper-${precision}` in recipes);
  const ours = (precision: string) => recipes[`paper-${precision}` as 'paper-w8a8'];

  test.each(precisions)('paper-%s says the same of every site', (precision) => {
    const theirs = resolveRecipe(recipeFromReferenceConfig(read('quant_config.json')[precision], precision));
    const resolve = resolveRecipe(ours(precision));
    for (const site of decoderSites(shape)) expect([site, resolve(site)]).toEqual([site, theirs(site)]);
  });

  test.each(precisions)('paper-%s is written as the reference writes it', (precision) => {
    expect(referenceConfigFromRecipe(ours(precision), shape)).toEqual(read('quant_config.json')[precision]);
  });

  test('calibrated ranges are read by site', () => {
    const file = read('act_ranges.json').calibration.none;
    const ranges = rangesFromReference(file);
    const [min, max] = file['model.layers.0.mlp.w2'].input;
    expect(ranges.get('model.layers.0.mlp.w2.input')).toEqual({ min, max });
    for (const site of ranges.keys()) expect(decoderSites(shape)).toContain(site);
  });
}
