/** The paper's recipes against the configurations that the reference implementation used. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  decoderSites,
  rangesFromReference,
  recipeFromReferenceConfig,
  recipes,
  referenceConfigFromRecipe,
  resolveRecipe,
} from '../src/index.ts';

const golden = process.env.MOBILEQUANT_GOLDEN;

describe.skipIf(!golden)('golden configurations (set MOBILEQUANT_GOLDEN to the folder of reference data)', () => {
  const read = (file: string) => JSON.parse(readFileSync(join(golden ?? '', 'llama-gqa', file), 'utf8'));

  test.each(['w8a8', 'w4a8', 'w4a8-sym'] as const)('paper-%s says the same of every site', (precision) => {
    const theirs = resolveRecipe(recipeFromReferenceConfig(read('quant_config.json')[precision], precision));
    const ours = resolveRecipe(recipes[`paper-${precision}`]);
    for (const site of decoderSites(2)) expect([site, ours(site)]).toEqual([site, theirs(site)]);
  });

  test.each(['w8a8', 'w4a8', 'w4a8-sym'] as const)('paper-%s is written as the reference writes it', (precision) => {
    expect(referenceConfigFromRecipe(recipes[`paper-${precision}`], 2)).toEqual(read('quant_config.json')[precision]);
  });

  test('calibrated ranges are read by site', () => {
    const file = read('act_ranges.json').calibration.none;
    const ranges = rangesFromReference(file);
    const [min, max] = file['model.layers.0.mlp.w2'].input;
    expect(ranges.get('model.layers.0.mlp.w2.input')).toEqual({ min, max });
    for (const site of ranges.keys()) expect(decoderSites(2)).toContain(site);
  });
});
