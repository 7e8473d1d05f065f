/** The graphs of one layer against each other: what a loss, its gradient, and a stored layer have to do with the forward pass. */
import { createDecoder, embed, specsOf, type Weights } from '@mobilequant/core';
import { type Recipe, recipes, withRules } from '@mobilequant/quantizer';
import type { Value, Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { type TinyLayer, tinyConfig, tinyLayer, tinyWeights } from '../test/tiny-layer.ts';
import { layerPrograms } from './layer-programs.ts';
import { parameterGroup } from './learnables.ts';
import { observedForm, quantizedForm } from './methods.ts';
import { viewWeights } from './transformed-weights.ts';

const runtime = nodeRuntime();
const config = tinyConfig({ hidden: 16, ffn: 24, heads: 4, kvHeads: 2, headDim: 4 });
const layerOf = (recipe: Recipe): Promise<TinyLayer> =>
  tinyLayer(runtime, {
    config,
    recipe,
    targets: { pairs: ['qkv', 'out', 'qkt', 'fc1', 'fc2'], shifts: false, clipping: true, ranges: true },
    tokens: 6,
    seed: 11,
  });

const PAIRS = ['qkv', 'out', 'qkt', 'fc1', 'fc2'] as const;

/** Weights with other tensors in layer 0. */
const fusedView = (weights: Weights, tensors: Values): Weights =>
  viewWeights(weights, async () => tensors, specsOf(tensors));

const floats = ({ data }: Value): Float32Array => data as Float32Array;
const distance = (a: Value, b: Value): number =>
  Math.max(...floats(a).map((v, i) => Math.abs(v - (floats(b)[i] as number))));

describe.each([recipes.w4a8, recipes['paper-w4a8'], recipes['paper-w4a8-sym']])('$name', (recipe) => {
  test('the loss is the mean squared error of the forward pass, added up over the targets, with its gradient', async () => {
    const { x, dy, learnables, programs } = await layerOf(recipe);
    const layer = programs(runtime);
    const y = floats(await layer.forward(0, x, learnables));
    const aims = [dy, { data: new Float32Array(y.length), shape: x.shape }];
    const errors = aims.map((aim) => y.map((v, i) => v - (floats(aim)[i] as number)));
    const squares = errors.map((error) => error.reduce((sum, e) => sum + e * e, 0) / y.length);

    const { loss, gradients } = await layer.loss(0, x, aims, learnables);
    expect(loss / ((squares[0] as number) + (squares[1] as number))).toBeCloseTo(1, 5);
    const back = {
      data: y.map((_, i) => (2 / y.length) * errors.reduce((sum, e) => sum + (e[i] as number), 0)),
      shape: x.shape,
    };
    const want = (await layer.vjp(0, x, back, learnables)).gradients;
    expect(Object.keys(gradients)).toEqual(Object.keys(learnables.parameters));
    for (const [name, gradient] of Object.entries(gradients)) {
      const size = Math.max(...(want[name] as Float32Array).map(Math.abs), 1e-3);
      const far = gradient.map((g, i) => Math.abs(g - (want[name]?.[i] as number)));
      expect(Math.max(...far) / size, name).toBeLessThan(2e-3);
    }
    await layer.release();
  });

  test('attention in chunks of queries is the same function', async () => {
    const { x, learnables, programs } = await layerOf(recipe);
    const whole = await programs(runtime, 0).forward(0, x, learnables);
    expect(distance(await programs(runtime, 4).forward(0, x, learnables), whole)).toBeLessThan(1e-4);
  });

  test("the float layer is the decoder's", async () => {
    const { x, weights, programs } = await layerOf(recipe);
    const decoder = createDecoder(runtime, config, weights);
    expect(floats(await programs(runtime).float(0, x))).toEqual(await decoder.block(0, floats(x)));
  });
});

test.each(['gemma2', 'gemma3'])('each layer of %s has its own window and rotary tables', async (name) => {
  const config = observedForm(architecture(name));
  const weights = tinyWeights(config, 21);
  const ranges = new Map();
  const targets = { pairs: [], shifts: false, clipping: false, ranges: false };
  const programs = layerPrograms(runtime, {
    config,
    weights,
    recipe: recipes.w8a8,
    resolve: () => undefined,
    ranges,
    targets,
  });
  const decoder = createDecoder(runtime, config, weights);
  const x = await embed(
    config,
    weights,
    Int32Array.from({ length: 9 }, (_, i) => i),
  );
  const outputs = [await programs.float(0, x), await programs.float(1, x)];
  for (const [layer, y] of outputs.entries()) expect(floats(y)).toEqual(await decoder.block(layer, floats(x)));
  const quantized = await programs.forward(1, x, programs.learnables(1));
  expect(distance(quantized, outputs[1] as Value)).toBeLessThan(1e-5); // nothing is rounded here
});

/** The reference's grid of a norm's weights, which are of one sign, is another once they are clamped. */
const floatNorms = withRules(recipes['paper-w4a8'], 'paper-w4a8 with float norms', [
  { site: 'model.layers.*.*norm.weight', spec: null },
]);

describe.each([recipes.w4a8, floatNorms])('$name', (recipe) => {
  test.each(['gemma3', 'stablelm', 'phi'])('a layer of %s is stored as it was trained', async (name) => {
    const exact = recipe.conventions === 'exact';
    const own = { ...quantizedForm(architecture(name), recipe.conventions), layers: 1 };
    const shifts = exact || own.norm === 'layer'; // the reference's training forgets the bias of other norms
    const targets = { pairs: PAIRS, shifts, clipping: true, ranges: true };
    const { x, weights, learnables, programs } = await tinyLayer(runtime, {
      config: own,
      recipe,
      targets,
      tokens: 6,
      seed: 11,
    });
    const layer = programs(runtime);
    const stored = await layer.stored(0, learnables);
    expect(distance(await stored(x), await layer.forward(0, x, learnables))).toBeLessThan(1e-4);

    const { tensors } = await layer.fuse(0, learnables);
    expect(Object.keys(tensors).includes('self_attn.o_proj.bias')).toBe(shifts);
    if (!exact) return; // clamped
    const fused = fusedView(weights, tensors);
    const [before, after] = [createDecoder(runtime, own, weights), createDecoder(runtime, own, fused)];
    const [a, b] = [await before.block(0, floats(x)), await after.block(0, floats(x))];
    expect(Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number)))) / Math.max(...a.map(Math.abs))).toBeLessThan(
      2e-5,
    );
  });
});

describe('a stored layer', () => {
  test('is the trained one under exact conventions: the float function, its clipping beside it', async () => {
    const { x, learnables, weights, programs } = await layerOf(recipes.w4a8);
    const layer = programs(runtime);
    const stored = await layer.stored(0, learnables);
    expect(await stored(x)).toEqual(await layer.forward(0, x, learnables));
    const { tensors, clipping } = await layer.fuse(0, learnables);
    const site = 'mlp.w1.weight';
    expect(clipping.get(site)?.max).toHaveLength(config.ffn);
    const largest = (row: number) =>
      Math.max(
        ...floats(tensors[site] as Value)
          .slice(row * 16, row * 16 + 16)
          .map(Math.abs),
      );
    clipping.get(site)?.max.forEach((max, row) => expect(max).toBeLessThan(largest(row))); // kept, not clamped
    expect(weights.shape(`model.layers.0.${site}`)).toEqual(tensors[site]?.shape);
  });

  test('is the trained one under reference conventions where grids are asymmetric, its weights clamped', async () => {
    const { x, learnables, programs } = await layerOf(recipes['paper-w4a8']);
    const layer = programs(runtime);
    expect(distance(await (await layer.stored(0, learnables))(x), await layer.forward(0, x, learnables))).toBeLessThan(
      1e-4,
    );
    const { tensors, clipping } = await layer.fuse(0, learnables);
    for (const [site, { min, max }] of clipping) {
      const data = floats(tensors[site] as Value);
      const columns = data.length / max.length;
      data.forEach((v, i) => {
        const group = Math.floor(i / columns);
        expect(v).toBeGreaterThanOrEqual(min[group] as number);
        expect(v).toBeLessThanOrEqual(max[group] as number);
      });
    }
  });

  test('is another than the trained one under reference conventions where grids are symmetric: the known fault', async () => {
    const { x, learnables, programs } = await layerOf(recipes['paper-w4a8-sym']);
    for (const [name, { data }] of Object.entries(learnables.parameters)) {
      if (parameterGroup(name) === 'lwc') floats({ data, shape: [] }).fill(name.endsWith('.lower') ? -1 : 3);
    }
    const layer = programs(runtime);
    const stored = await (await layer.stored(0, learnables))(x);
    expect(distance(stored, await layer.forward(0, x, learnables))).toBeGreaterThan(1e-2);
  });
});
