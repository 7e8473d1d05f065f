import { expect, test } from 'vitest';
import { checkRecipe } from './check-recipe.ts';
import { RecipeError } from './errors.ts';
import type { Rule } from './recipe.ts';
import { gateOutput16, recipes, softmaxInput8, softmaxOutput8 } from './recipes.ts';
import { withRules } from './resolve-recipe.ts';
import type { QuantizerSpec } from './spec.ts';

const spec: QuantizerSpec = { bits: 8, symmetric: true, granularity: { kind: 'tensor' } };
const channel: QuantizerSpec = { ...spec, granularity: { kind: 'channel' } };
const checked = (...rules: Rule[]) => checkRecipe(withRules(recipes.w8a8, 'mine', rules), 2);

test.each(Object.values(recipes))('the built-in recipe $name can be carried out', (recipe) => {
  for (const layers of [1, 3]) checkRecipe(recipe, layers);
  checkRecipe(withRules(recipe, 'options', [...softmaxInput8, ...softmaxOutput8, ...gateOutput16]), 2);
});

test('a rule may name all sites, one layer, or leave sites in float', () => {
  checked({ site: '*', spec }, { site: 'model.layers.1.*.weight', spec: channel }, { site: 'lm_head.*', spec: null });
});

test('a rule that covers no site is refused by name', () => {
  expect(() => checked({ site: 'model.layers.*.mlp.gate_proj.weight', spec: null })).toThrow(RecipeError);
  expect(() => checked({ site: 'model.layers.*.mlp.gate_proj.weight', spec })).toThrowErrorMatchingInlineSnapshot(
    `[RecipeError: recipe 'mine', 'model.layers.*.mlp.gate_proj.weight': expected a site of a decoder with 2 layers, got a pattern that covers none. Correct the name or take the rule out. Examples: model.layers.*.mlp.w2.weight, lm_head.weight.]`,
  );
  expect(() => checked({ site: 'model.layers.2.mlp.w1.weight', spec })).toThrow('a decoder with 2 layers');
  expect(() => checked({ site: 'model.embed_tokens.*', spec })).toThrow('a site that can be quantized');
});

test('what no grid can do is refused', () => {
  const site = 'model.layers.*.mlp.w1.output';
  expect(() => checked({ site, spec: channel })).toThrow(
    "'model.layers.0.mlp.w1.output': expected an activation quantized per tensor, got per channel",
  );
  expect(() => checked({ site: 'lm_head.weight', spec: { ...spec, range: { min: 0, max: 1 } } })).toThrow('no range');
});

test('a range rule that covers no activation is refused by name', () => {
  const ranged = (site: string) => checkRecipe({ ...recipes.w8a8, ranges: [{ site, range: { kind: 'mse' } }] }, 2);
  ranged('*');
  ranged('model.layers.1.mlp.w2.input');
  expect(() => ranged('*.down_proj.input')).toThrowErrorMatchingInlineSnapshot(
    `[RecipeError: recipe 'w8a8', '*.down_proj.input': expected an activation of a decoder with 2 layers, got a range rule that covers none. The range of a weight is that of its values.]`,
  );
  expect(() => ranged('*.weight')).toThrow(RecipeError);
});
