import { expect, test } from 'vitest';
import { llamaShape } from '../test/llama-shape.ts';
import { FormatError, RecipeError } from './errors.ts';
import { recipes } from './recipes.ts';
import {
  rangesFromReference,
  recipeFromReferenceConfig,
  referenceConfigFromRecipe,
  referenceFromRanges,
} from './reference-files.ts';
import { resolveRecipe } from './resolve-recipe.ts';
import { decoderSites } from './sites.ts';

const settings = {
  bitwidth: '8',
  group_size: '-1',
  is_symmetric: 'False',
  is_per_channel: 'True',
  is_dynamic: 'False',
};
const config = (changes: object) => ({ 'model.layers.0.mlp.w1': { weight: { ...settings, ...changes } } });
const specOf = (changes: object) => recipeFromReferenceConfig(config(changes), 'theirs').rules[0]?.spec;

test('settings are read as a spec', () => {
  expect(specOf({})).toEqual({ bits: 8, symmetric: false, granularity: { kind: 'channel' } });
  expect(specOf({ is_symmetric: 'True', is_per_channel: 'False' })).toEqual({
    bits: 8,
    symmetric: true,
    granularity: { kind: 'tensor' },
  });
  expect(specOf({ group_size: '64' })).toEqual({ bits: 8, symmetric: false, granularity: { kind: 'group', size: 64 } });
  expect(specOf({ bitwidth: 4, is_per_channel: false })).toEqual({
    bits: 4,
    symmetric: false,
    granularity: { kind: 'tensor' },
  });
});

test('groups are those of channels, and a norm’s weight has one channel', () => {
  expect(specOf({ group_size: '64', is_per_channel: 'False' })?.granularity).toEqual({ kind: 'tensor' });
  const norm = { 'model.layers.0.input_layernorm': { weight: settings } };
  expect(recipeFromReferenceConfig(norm, 'theirs').rules[0]?.spec?.granularity).toEqual({ kind: 'tensor' });
  expect(specOf({ is_per_channel: 'false', is_symmetric: 'true' })).toMatchObject({
    symmetric: true,
    granularity: { kind: 'tensor' },
  });
});

test('above 16 bits the site is off', () => expect(specOf({ bitwidth: '32' })).toBeNull());

test.each(Object.values(recipes))('$name resolves the same after a round trip', (recipe) => {
  const back = recipeFromReferenceConfig(
    JSON.parse(JSON.stringify(referenceConfigFromRecipe(recipe, llamaShape(2)))),
    recipe.name,
  );
  for (const site of decoderSites(llamaShape(2)))
    expect([site, resolveRecipe(back)(site)]).toEqual([site, resolveRecipe(recipe)(site)]);
});

test('faults are said with the site', () => {
  expect(() => recipeFromReferenceConfig(config({ is_dynamic: 'True' }), 'theirs')).toThrow(RecipeError);
  expect(() => recipeFromReferenceConfig(config({ is_dynamic: 'True' }), 'theirs')).toThrowErrorMatchingInlineSnapshot(
    `[RecipeError: model.layers.0.mlp.w1.weight: expected a static quantizer, got is_dynamic "True". Calibrate a range for this site, or leave it in float (bitwidth "32").]`,
  );
  expect(() => recipeFromReferenceConfig(config({ bitwidth: '' }), 'theirs')).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: model.layers.0.mlp.w1.weight.bitwidth: expected an integer from 1 to 2147483647, got "".]`,
  );
  expect(() => recipeFromReferenceConfig(config({ is_symmetric: 'yes' }), 'theirs')).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: model.layers.0.mlp.w1.weight.is_symmetric: expected one of "True", "False", got "yes".]`,
  );
  expect(() =>
    recipeFromReferenceConfig({ lm_head: { wieght: settings } }, 'theirs'),
  ).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: lm_head: expected only the keys input, input2, weight, output, got "wieght". Remove or correct it.]`,
  );
});

test('ranges come and go by site', () => {
  const file = { 'model.layers.0.mlp.w2': { input: [-1.5, 2], output: [0, 1] }, lm_head: { input: [-3, 3] } } as const;
  const ranges = rangesFromReference(file);
  expect(ranges.get('model.layers.0.mlp.w2.input')).toEqual({ min: -1.5, max: 2 });
  expect(referenceFromRanges(ranges)).toEqual(file);
});

test('a range per channel is refused', () => {
  expect(() =>
    rangesFromReference({
      lm_head: {
        input: [
          [-1, -2],
          [1, 2],
        ],
      },
    }),
  ).toThrow(FormatError);
  expect(() =>
    rangesFromReference({
      lm_head: {
        input: [
          [-1, -2],
          [1, 2],
        ],
      },
    }),
  ).toThrowErrorMatchingInlineSnapshot(`[FormatError: lm_head.input[0]: expected a finite number, got [-1,-2].]`);
});
