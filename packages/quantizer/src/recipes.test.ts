import { expect, test } from 'vitest';
import { llamaShape } from '../test/llama-shape.ts';
import { describeSpec } from './parse-recipe.ts';
import { gateOutput16, type RecipeName, recipeByName, recipes, softmaxInput8, softmaxOutput8 } from './recipes.ts';
import { resolveRecipe, unusedRules, withRules } from './resolve-recipe.ts';
import { decoderSites, layerSites } from './sites.ts';

const names = Object.keys(recipes) as RecipeName[];

/** What a recipe says of one layer, by site. */
const layerOf = (name: RecipeName) => {
  const resolve = resolveRecipe(recipes[name]);
  return Object.fromEntries(
    layerSites(llamaShape(1)).flatMap((site) => {
      const spec = resolve(`model.layers.7.${site}`);
      return spec ? [[site, describeSpec(spec)]] : [];
    }),
  );
};

test.each(names)('%s: every rule covers a site of the decoder', (name) => {
  expect(unusedRules(recipes[name], decoderSites(2))).toEqual([]);
  expect(recipes[name].name).toBe(name);
});

test('the device recipe, site by site', () =>
  expect(layerOf('w4a8')).toMatchInlineSnapshot(`
    {
      "input_layernorm.input": "16 bit asymmetric per tensor",
      "input_layernorm.output": "8 bit asymmetric per tensor",
      "input_layernorm.weight": "16 bit asymmetric per tensor",
      "mlp.act_fn.input2": "16 bit asymmetric per tensor, range [0, 1]",
      "mlp.act_fn.output": "16 bit asymmetric per tensor",
      "mlp.w1.output": "8 bit asymmetric per tensor",
      "mlp.w1.weight": "4 bit symmetric per channel",
      "mlp.w2.input": "16 bit asymmetric per tensor",
      "mlp.w2.output": "16 bit asymmetric per tensor",
      "mlp.w2.weight": "4 bit symmetric per channel",
      "mlp.w3.output": "8 bit asymmetric per tensor",
      "mlp.w3.weight": "4 bit symmetric per channel",
      "post_attention_layernorm.input": "16 bit asymmetric per tensor",
      "post_attention_layernorm.output": "8 bit asymmetric per tensor",
      "post_attention_layernorm.weight": "16 bit asymmetric per tensor",
      "self_attn.k_proj.output": "8 bit symmetric per tensor",
      "self_attn.k_proj.weight": "4 bit symmetric per channel",
      "self_attn.o_proj.output": "16 bit asymmetric per tensor",
      "self_attn.o_proj.weight": "4 bit symmetric per channel",
      "self_attn.pv_bmm.input": "16 bit asymmetric per tensor",
      "self_attn.pv_bmm.input2": "8 bit symmetric per tensor",
      "self_attn.pv_bmm.output": "16 bit asymmetric per tensor",
      "self_attn.q_proj.output": "8 bit asymmetric per tensor",
      "self_attn.q_proj.weight": "4 bit symmetric per channel",
      "self_attn.qk_bmm.input": "16 bit asymmetric per tensor",
      "self_attn.qk_bmm.input2": "8 bit symmetric per tensor",
      "self_attn.qk_bmm.output": "16 bit asymmetric per tensor",
      "self_attn.v_proj.output": "8 bit symmetric per tensor",
      "self_attn.v_proj.weight": "4 bit symmetric per channel",
    }
  `));

test('the device recipes differ in the bits of linear weights alone', () => {
  const [four, eight] = [layerOf('w4a8'), layerOf('w8a8')];
  const differ = Object.keys(four).filter((site) => four[site] !== eight[site]);
  expect(differ).toEqual(layerSites(llamaShape(1)).filter((site) => /(proj|w\d)\.weight$/.test(site)));
});

test('the device differs from the paper in keys and values, and in 16 bits where they cost nothing', () => {
  const differing = (a: RecipeName, b: RecipeName): string[] => {
    const [one, other] = [layerOf(a), layerOf(b)];
    return Object.keys(one).filter((site) => one[site] !== other[site]);
  };
  expect(differing('w4a8-strict', 'paper-w4a8-sym')).toEqual([
    'self_attn.k_proj.output',
    'self_attn.v_proj.output',
    'self_attn.qk_bmm.input2',
    'self_attn.pv_bmm.input2',
  ]);
  expect(differing('w4a8', 'w4a8-strict')).toEqual([
    'self_attn.qk_bmm.input',
    'self_attn.pv_bmm.output',
    'mlp.act_fn.output',
    'mlp.act_fn.input2',
    'mlp.w2.input',
  ]);
  expect(differing('w8a8', 'w8a8-strict')).toEqual(differing('w4a8', 'w4a8-strict'));
});

test('outside the layers only the device quantizes, and only the head’s weight', () => {
  const outside = decoderSites(0);
  for (const name of names) {
    const quantized = outside.filter((site) => resolveRecipe(recipes[name])(site));
    expect(quantized).toEqual(name.startsWith('paper') ? [] : ['lm_head.weight']);
  }
});

test('options are rules appended under a new name', () => {
  const recipe = withRules(recipes['paper-w8a8'], 'small softmax', [
    ...softmaxInput8,
    ...softmaxOutput8,
    ...gateOutput16,
  ]);
  const resolve = resolveRecipe(recipe);
  expect(recipe.name).toBe('small softmax');
  expect(resolve('model.layers.0.self_attn.qk_bmm.output')?.bits).toBe(8);
  expect(resolve('model.layers.0.self_attn.pv_bmm.input')?.bits).toBe(8);
  expect(resolve('model.layers.0.mlp.w1.output')?.bits).toBe(16);
  expect(resolve('model.layers.0.mlp.w3.output')?.bits).toBe(16);
  expect(resolve('model.layers.0.mlp.w2.output')?.bits).toBe(16);
});

test('the last rule that matches decides, null is float', () => {
  const recipe = withRules(recipes.w8a8, 'mine', [
    { site: 'model.layers.0.*', spec: null },
    {
      site: 'model.layers.0.mlp.w1.weight',
      spec: { bits: 3, symmetric: true, granularity: { kind: 'group', size: 32 } },
    },
  ]);
  const resolve = resolveRecipe(recipe);
  expect(resolve('model.layers.0.mlp.w2.weight')).toBeUndefined();
  expect(resolve('model.layers.0.mlp.w1.weight')?.bits).toBe(3);
  expect(resolve('model.layers.1.mlp.w1.weight')?.bits).toBe(8);
  expect(resolve('mlp.w1.weight')?.bits).toBe(8);
});

test('a misspelt rule is found', () => {
  const rule = { site: 'model.layers.*.mlp.w4.weight', spec: null };
  expect(unusedRules(withRules(recipes.w8a8, 'mine', [rule]), decoderSites(1))).toEqual([rule]);
});

test('an unknown name is answered with the known ones', () => {
  expect(recipeByName('w4a8')).toBe(recipes.w4a8);
  expect(() => recipeByName('toString')).toThrowErrorMatchingInlineSnapshot(
    `[RecipeError: recipe: expected one of w8a8, w4a8, w8a8-strict, w4a8-strict, paper-w8a8, paper-w4a8, paper-w4a8-sym, got "toString". Any other recipe is a JSON file that says what it extends.]`,
  );
});
