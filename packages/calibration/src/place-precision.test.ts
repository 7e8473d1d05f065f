import { type DecoderConfig, siteName } from '@mobilequant/core';
import { checkRecipe, type Recipe, recipes, resolveRecipe, softmaxInput8, withRules } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../test/architectures.ts';
import { random, tinyWeights } from '../test/tiny-layer.ts';
import { movableDivergences, movableSites, placePrecision } from './place-precision.ts';

const llama = architecture('llama');

/** Something for each movable site, a few times as much in one as in another. */
function divergencesOf(config: DecoderConfig, recipe: Recipe, seed: number): Map<string, number> {
  const next = random(seed);
  return new Map(movableSites(config, recipe).map((site) => [site, next() ** 2]));
}

const placement = (config: DecoderConfig, recipe: Recipe, budget: number, seed = 1) =>
  placePrecision(
    { config, weights: tinyWeights(config, 1), recipe, divergences: divergencesOf(config, recipe, seed) },
    budget,
  );

describe.each(architectures)('in a $name model', ({ config }) => {
  test.each(['w8a8', 'w8a8-strict', 'paper-w4a8'] as const)('%s keeps what a device has in 8 bits', (name) => {
    const recipe = recipes[name];
    const { recipe: widest, moved, cost, after } = placement(config, recipe, 1);
    expect(after).toBe(0);
    expect(cost).toBeLessThan(1);
    expect(() => checkRecipe(widest, config.layers)).not.toThrow();
    const [before, resolve] = [resolveRecipe(recipe), resolveRecipe(widest)];
    for (const site of movableSites(config, recipe)) {
      expect(site).not.toMatch(/_bmm.input2|weight/);
      expect(resolve(site)).toEqual({ ...before(site), bits: 16 });
    }
    for (let layer = 0; layer < config.layers; layer++)
      for (const end of ['qk_bmm.input2', 'pv_bmm.input2', 'q_proj.weight', 'qk_bmm.output'])
        expect(resolve(siteName(layer, `self_attn.${end}`))).toEqual(before(siteName(layer, `self_attn.${end}`)));
    expect(moved).toContain('model.layers.1.mlp.w1.output');
    expect(moved.some((site) => site.includes('w3'))).toBe(config.mlp === 'gated');
  });

  test('inputs have 16 bits only where all linears that read them have', () => {
    const readers = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];
    if (config.residual === 'parallel') readers.push('mlp.w1', ...(config.mlp === 'gated' ? ['mlp.w3'] : []));
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const resolve = resolveRecipe(placement(config, recipes.w8a8, 0.15, seed).recipe);
      for (let layer = 0; layer < config.layers; layer++) {
        const bits = (site: string) => resolve(siteName(layer, site))?.bits;
        const all = readers.every((module) => bits(`${module}.output`) === 16);
        expect(bits('input_layernorm.output')).toBe(all ? 16 : 8);
      }
    }
  });
});

describe('a placement', () => {
  /** The multiply-accumulates of a llama's linears that are 8 bits wide in `w8a8`. */
  const { hidden, ffn, heads, kvHeads, headDim } = llama;
  const costs: Readonly<Record<string, number>> = {
    q: hidden * heads * headDim,
    k: hidden * kvHeads * headDim,
    v: hidden * kvHeads * headDim,
    w1: hidden * ffn,
    w3: hidden * ffn,
  };
  const total = 2 * (Object.values(costs).reduce((a, b) => a + b) + hidden * (heads * headDim + ffn));

  /** What a set of one layer's linears gains, site by site. */
  function gainOf(linears: readonly string[], layer: number, divergences: ReadonlyMap<string, number>): number {
    const has = (...names: string[]) => names.every((name) => linears.includes(name));
    const of = (site: string) => divergences.get(siteName(layer, site)) as number;
    let gain = has('q', 'k', 'v') ? of('input_layernorm.output') : 0;
    if (has('w1', 'w3')) gain += of('post_attention_layernorm.output');
    for (const name of linears)
      gain += of(name.startsWith('w') ? `mlp.${name}.output` : `self_attn.${name}_proj.output`);
    return gain;
  }

  const names = Object.keys(costs);
  const sets = Array.from({ length: 2 ** names.length }, (_, bits) => names.filter((_, i) => (bits >> i) & 1));
  const costOf = (linears: readonly string[]) => linears.reduce((sum, name) => sum + (costs[name] as number), 0);

  test.each([1, 2, 3])('is the best of all within the budget, whatever the sites cost (%i)', (seed) => {
    const divergences = divergencesOf(llama, recipes.w8a8, seed);
    const before = [...divergences.values()].reduce((a, b) => a + b);
    let last = before;
    for (const budget of [0, 0.03, 0.1, 0.15, 0.2, 0.3, 0.5, 1]) {
      let most = 0;
      for (const first of sets) {
        for (const second of sets) {
          if (costOf(first) + costOf(second) > budget * total) continue;
          most = Math.max(most, gainOf(first, 0, divergences) + gainOf(second, 1, divergences));
        }
      }
      const input = { config: llama, weights: tinyWeights(llama, 1), recipe: recipes.w8a8, divergences };
      const got = placePrecision(input, budget);
      expect(got.cost).toBeLessThanOrEqual(budget);
      expect(got.before).toBeCloseTo(before, 10);
      expect(got.after).toBeCloseTo(before - most, 10);
      expect(got.after).toBeLessThanOrEqual(last);
      last = got.after;
    }
  });

  test('without a budget moves what is free', () => {
    expect(placement(llama, recipes.w8a8, 0)).toMatchObject({ moved: [], cost: 0 });
    const { recipe, cost } = placement(llama, recipes['paper-w8a8'], 0);
    expect(cost).toBe(0);
    expect(recipe.rules.slice(recipes['paper-w8a8'].rules.length)).toEqual([
      expect.objectContaining({ site: 'model.layers.*.self_attn.qk_bmm.input' }),
      expect.objectContaining({ site: 'model.layers.*.self_attn.pv_bmm.output' }),
      expect.objectContaining({ site: 'model.layers.*.mlp.act_fn.output' }),
      expect.objectContaining({ site: 'model.layers.*.mlp.act_fn.input2' }),
      expect.objectContaining({ site: 'model.layers.*.mlp.w2.input' }),
    ]);
  });

  test('leaves queries in 8 bits where the scores have 8', () => {
    const { moved } = placement(llama, withRules(recipes['w8a8-strict'], 'scores in 8 bits', softmaxInput8), 1);
    expect(moved).toContain('model.layers.0.self_attn.q_proj.output');
    expect(moved).not.toContain('model.layers.0.self_attn.qk_bmm.input');
  });

  test('is a recipe that can be read: a rule for each site, or one for all layers', () => {
    const input = { config: llama, weights: tinyWeights(llama, 1), recipe: recipes.w8a8 };
    const high = new Map(movableSites(llama, recipes.w8a8).map((site) => [site, /k_proj|0.mlp.w1/.test(site) ? 1 : 0]));
    const { recipe } = placePrecision({ ...input, divergences: high }, 0.25);
    expect(recipe.name).toBe('w8a8+0.25');
    const spec = { bits: 16, symmetric: false, granularity: { kind: 'tensor' } };
    expect(recipe.rules.slice(recipes.w8a8.rules.length)).toEqual([
      { site: 'model.layers.*.self_attn.k_proj.output', spec: { ...spec, symmetric: true } },
      { site: 'model.layers.0.mlp.w1.output', spec },
    ]);
  });

  test('refuses a budget that is no share, and a site that was not measured', () => {
    const input = { config: llama, weights: tinyWeights(llama, 1), recipe: recipes.w8a8, divergences: new Map() };
    expect(() => placePrecision(input, 10)).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: budget: expected a share from 0 to 1, got 10. 0.1 is a good start.]`,
    );
    expect(() => placePrecision(input, 0.1)).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: placePrecision: expected the divergence of 'model.layers.0.mlp.w3.output', got none. Measure movableSites.]`,
    );
  });
});

test('movable sites are measured alone, from their ranges', async () => {
  const runtime = nodeRuntime();
  const weights = tinyWeights(llama, 1);
  const recipe = recipes.w8a8;
  const samples = [Int32Array.from({ length: 12 }, (_, i) => (7 * i) % llama.vocab)];
  const ranges = new Map(movableSites(llama, recipe).map((site) => [site, { min: -4, max: 4 }]));
  const found = await movableDivergences(runtime, { config: llama, weights, recipe, ranges, samples });
  expect([...found.keys()]).toEqual(movableSites(llama, recipe));
  for (const divergence of found.values()) expect(divergence).toBeGreaterThan(0);
  ranges.delete('model.layers.1.mlp.w1.output');
  const without = movableDivergences(runtime, { config: llama, weights, recipe, ranges, samples });
  await expect(without).rejects.toThrow(/'model.layers.1.mlp.w1.output'/);
});
