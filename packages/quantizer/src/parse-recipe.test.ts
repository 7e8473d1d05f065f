import { describe, expect, test } from 'vitest';
import { RecipeError } from './errors.ts';
import { describeRecipe, parseRecipe, recipeToJson } from './parse-recipe.ts';
import { recipes } from './recipes.ts';
import { resolveRecipe } from './resolve-recipe.ts';

test('a file in short form is a recipe in full', () => {
  const recipe = parseRecipe({
    name: 'mine',
    rules: [
      { site: '*.weight', spec: { bits: 4, symmetric: true, granularity: { group: 32 } } },
      { site: 'lm_head.weight', spec: { bits: 8, granularity: 'channel' } },
      { site: '*.act_fn.input2', spec: { bits: 8, range: [0, 1] } },
      { site: 'model.norm.weight', spec: null },
    ],
  });
  expect(recipe).toEqual({
    name: 'mine',
    rules: [
      { site: '*.weight', spec: { bits: 4, symmetric: true, granularity: { kind: 'group', size: 32 } } },
      { site: 'lm_head.weight', spec: { bits: 8, symmetric: false, granularity: { kind: 'channel' } } },
      {
        site: '*.act_fn.input2',
        spec: { bits: 8, symmetric: false, granularity: { kind: 'tensor' }, range: { min: 0, max: 1 } },
      },
      { site: 'model.norm.weight', spec: null },
    ],
    conventions: 'exact',
  });
});

test('a file that extends a recipe decides over it and keeps its conventions', () => {
  const recipe = parseRecipe({
    name: 'mine',
    extends: 'paper-w4a8',
    rules: [{ site: '*.w2.weight', spec: { bits: 8 } }],
  });
  expect(recipe.conventions).toBe('reference');
  expect(resolveRecipe(recipe)('model.layers.0.mlp.w2.weight')?.bits).toBe(8);
  expect(resolveRecipe(recipe)('model.layers.0.mlp.w1.weight')?.bits).toBe(4);
});

test.each(Object.values(recipes))('$name goes through JSON unchanged', (recipe) => {
  expect(parseRecipe(JSON.parse(JSON.stringify(recipeToJson(recipe))))).toEqual(recipe);
});

test('range rules go through JSON unchanged, and read as text', () => {
  const file = {
    name: 'mine',
    rules: [{ site: '*.w1.output', spec: { bits: 8 } }],
    ranges: [
      { site: '*', range: 'minmax' },
      { site: '*', maxBits: 8, range: { percentile: 99.99 } },
      { site: '*.w1.output', range: 'mse' },
    ],
    conventions: 'exact',
  };
  const recipe = parseRecipe(file);
  expect(recipe.ranges).toEqual([
    { site: '*', range: { kind: 'minmax' } },
    { site: '*', maxBits: 8, range: { kind: 'percentile', percent: 99.99 } },
    { site: '*.w1.output', range: { kind: 'mse' } },
  ]);
  expect(recipeToJson(recipe)).toEqual(file);
  expect(parseRecipe(JSON.parse(JSON.stringify(recipeToJson(recipe))))).toEqual(recipe);
  expect(parseRecipe({ name: 'none', rules: [], ranges: [] })).not.toHaveProperty('ranges');
  expect(describeRecipe(recipe)).toMatchInlineSnapshot(`
    "mine
    conventions: exact
    *.w1.output  8 bit asymmetric per tensor
    *            range by minmax
    *            range by percentile 99.99, up to 8 bit
    *.w1.output  range by mse"
  `);
});

describe('a fault is said with its place', () => {
  const rule = (spec: unknown) => ({
    name: 'mine',
    rules: [
      { site: 'a', spec: null },
      { site: 'b', spec },
    ],
  });
  const ranged = (range: unknown) => ({ name: 'mine', rules: [], ranges: [range] });
  const messageOf = (json: unknown) => {
    try {
      parseRecipe(json);
    } catch (error) {
      if (error instanceof RecipeError) return error.message;
    }
    return expect.fail('expected a RecipeError');
  };
  test('each', () => {
    expect(
      [
        [],
        null,
        { rules: [] },
        { name: '', rules: [] },
        { name: 'mine', rule: [] },
        { name: 'mine' },
        { name: 'mine', extends: 'w2a8', rules: [] },
        { name: 'mine', rules: [], conventions: 'loose' },
        { name: 'mine', rules: [{ spec: null }] },
        { name: 'mine', rules: [{ site: 'a' }] },
        rule({}),
        rule({ bits: 17 }),
        rule({ bits: 7.5 }),
        rule({ bits: '8' }),
        rule({ bits: 8, symetric: true }),
        rule({ bits: 8, symmetric: 'yes' }),
        rule({ bits: 8, granularity: 'row' }),
        rule({ bits: 8, granularity: { group: 0 } }),
        rule({ bits: 8, granularity: { groups: 4 } }),
        rule({ bits: 8, range: [1, 0] }),
        rule({ bits: 8, range: [0] }),
        rule({ bits: 8, range: [0, null] }),
        ranged({ range: 'minmax' }),
        ranged({ site: 'a' }),
        ranged({ site: 'a', range: 'max' }),
        ranged({ site: 'a', range: { percent: 99 } }),
        ranged({ site: 'a', range: { percentile: 50 } }),
        ranged({ site: 'a', range: { percentile: '99' } }),
        ranged({ site: 'a', maxBits: 17, range: 'mse' }),
        ranged({ site: 'a', bits: 8, range: 'mse' }),
        { name: 'mine', rules: [], ranges: {} },
      ].map(messageOf),
    ).toMatchInlineSnapshot(`
      [
        "recipe: expected an object, got [].",
        "recipe: expected an object, got null.",
        "recipe.name: expected a text that is not empty, got nothing.",
        "recipe.name: expected a text that is not empty, got "".",
        "recipe: expected only the keys name, description, extends, rules, ranges, conventions, got "rule". Remove or correct it.",
        "recipe.rules: expected an array, got nothing.",
        "recipe: expected one of w8a8, w4a8, w8a8-strict, w4a8-strict, paper-w8a8, paper-w4a8, paper-w4a8-sym, got "w2a8". Any other recipe is a JSON file that says what it extends.",
        "recipe.conventions: expected one of "exact", "reference", got "loose".",
        "recipe.rules[0].site: expected a text that is not empty, got nothing.",
        "recipe.rules[0].spec: expected an object, got nothing.",
        "recipe.rules[1].spec.bits: expected an integer from 2 to 16, got nothing.",
        "recipe.rules[1].spec.bits: expected an integer from 2 to 16, got 17.",
        "recipe.rules[1].spec.bits: expected an integer from 2 to 16, got 7.5.",
        "recipe.rules[1].spec.bits: expected an integer from 2 to 16, got "8".",
        "recipe.rules[1].spec: expected only the keys bits, symmetric, granularity, range, got "symetric". Remove or correct it.",
        "recipe.rules[1].spec.symmetric: expected true or false, got "yes".",
        "recipe.rules[1].spec.granularity: expected "tensor", "channel" or {"group": size}, got "row".",
        "recipe.rules[1].spec.granularity.group: expected an integer from 1 to 2147483647, got 0.",
        "recipe.rules[1].spec.granularity: expected only the keys group, got "groups". Remove or correct it.",
        "recipe.rules[1].spec.range: expected min ≤ max, got [1,0]. Swap the two.",
        "recipe.rules[1].spec.range: expected [min, max], got [0].",
        "recipe.rules[1].spec.range[1]: expected a finite number, got null.",
        "recipe.ranges[0].site: expected a text that is not empty, got nothing.",
        "recipe.ranges[0].range: expected "minmax", "mse" or {"percentile": percent}, got nothing.",
        "recipe.ranges[0].range: expected "minmax", "mse" or {"percentile": percent}, got "max".",
        "recipe.ranges[0].range: expected only the keys percentile, got "percent". Remove or correct it.",
        "recipe.ranges[0].range.percentile: expected above 50, up to 100, got 50.",
        "recipe.ranges[0].range.percentile: expected a finite number, got "99".",
        "recipe.ranges[0].maxBits: expected an integer from 2 to 16, got 17.",
        "recipe.ranges[0]: expected only the keys site, maxBits, range, got "bits". Remove or correct it.",
        "recipe.ranges: expected an array, got {}.",
      ]
    `);
  });
});

test('a recipe reads as text', () => {
  const recipe = parseRecipe({
    name: 'mine',
    description: 'a test',
    rules: [
      { site: '*.weight', spec: { bits: 4, symmetric: true, granularity: { group: 32 } } },
      { site: 'lm_head.weight', spec: null },
      { site: '*.act_fn.input2', spec: { bits: 8, range: [0, 1] } },
    ],
  });
  expect(describeRecipe(recipe)).toMatchInlineSnapshot(`
    "mine: a test
    conventions: exact
    *.weight         4 bit symmetric per group of 32
    lm_head.weight   float
    *.act_fn.input2  8 bit asymmetric per tensor, range [0, 1]"
  `);
});
