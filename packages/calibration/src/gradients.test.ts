/**
 * Every gradient of the quantized layer against finite differences of the same layer in float64, with the roundings frozen.
 * Sites of 16 bits have 10 here: in float32 the gradient of a 16-bit scale is mostly rounding of the forward pass.
 */
import { readLayer } from '@mobilequant/core';
import { type QuantizerSpec, type Recipe, recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { Frozen, type Given, slowBlock } from '../test/slow-block.ts';
import { type TinyLayer, tinyConfig, tinyLayer } from '../test/tiny-layer.ts';
import type { LearningTargets } from './learnables.ts';
import { quantizedForm } from './methods.ts';

const runtime = nodeRuntime();
const grouped = tinyConfig({ hidden: 16, ffn: 24, heads: 4, kvHeads: 2, headDim: 4 });
const plain = tinyConfig({ hidden: 16, ffn: 24, heads: 4, kvHeads: 4, headDim: 4 });
const everything: LearningTargets = {
  pairs: ['qkv', 'out', 'qkt', 'fc1', 'fc2'],
  shifts: false,
  clipping: true,
  ranges: true,
};

const coarser = (recipe: Recipe, weights?: QuantizerSpec): Recipe => ({
  ...recipe,
  rules: [
    ...recipe.rules.map((rule) => (rule.spec?.bits === 16 ? { ...rule, spec: { ...rule.spec, bits: 10 } } : rule)),
    ...(weights ? [{ site: 'model.layers.*.mlp.w*.weight', spec: weights }] : []),
  ],
});
const inGroups: QuantizerSpec = { bits: 4, symmetric: false, granularity: { kind: 'group', size: 8 } };
/** The first layer of an architecture, as it is quantized. */
const layerOf = (name: string, { conventions }: Recipe) => ({
  ...quantizedForm(architecture(name), conventions),
  layers: 1,
});
const shifting: LearningTargets = { ...everything, shifts: true };
const [w8a8, paper] = [coarser(recipes.w8a8), coarser(recipes['paper-w4a8'])];

// biome-ignore format: a table
const CASES = [
  { name: 'reference, 4 bits per channel, shifts', config: plain, recipe: coarser(recipes['paper-w4a8']), targets: { ...everything, shifts: true }, bias: {} },
  { name: 'reference, 4 bits symmetric', config: plain, recipe: coarser(recipes['paper-w4a8-sym']), targets: everything, bias: {} },
  { name: 'reference, 8 bits per tensor, grouped heads', config: grouped, recipe: coarser(recipes['paper-w8a8']), targets: everything, bias: {} },
  { name: 'exact, 4 bits symmetric, grouped heads', config: grouped, recipe: coarser(recipes.w4a8), targets: everything, bias: {} },
  { name: 'exact, gemma2', config: layerOf('gemma2', w8a8), recipe: w8a8, targets: everything, bias: {} },
  { name: 'reference, gemma3', config: layerOf('gemma3', paper), recipe: paper, targets: everything, bias: {} },
  { name: 'exact, gemma3, shifts', config: layerOf('gemma3', w8a8), recipe: w8a8, targets: shifting, bias: {} },
  { name: 'exact, stablelm, shifts', config: layerOf('stablelm', w8a8), recipe: w8a8, targets: shifting, bias: {} },
  { name: 'reference, stablelm, shifts', config: layerOf('stablelm', paper), recipe: paper, targets: shifting, bias: {} },
  { name: 'exact, phi, shifts', config: layerOf('phi', w8a8), recipe: w8a8, targets: shifting, bias: {} },
  { name: 'reference, phi', config: layerOf('phi', paper), recipe: paper, targets: everything, bias: {} },
  { name: 'exact, 4 bits in groups, shifts and biases', config: grouped, recipe: coarser(recipes.w8a8, inGroups), targets: { ...everything, shifts: true }, bias: { normBias: true, bias: true } },
] as const;

/** In float64, by name. */
async function given({ weights, learnables, x }: TinyLayer): Promise<Given> {
  const values = { ...(await readLayer(weights, 0)), ...learnables.parameters, ...learnables.constants, x };
  return Object.fromEntries(
    Object.entries(values).map(([name, { data }]) => [name, Float64Array.from(data as Float32Array)]),
  );
}

describe.each(CASES)('$name', ({ config, recipe, targets, bias }) => {
  test('the layer equals the slow one, and its gradients finite differences', async () => {
    const layer = await tinyLayer(runtime, { config, recipe, targets, tokens: 5, seed: 11, bias });
    const programs = layer.programs(runtime);
    const base = await given(layer);
    const frozen = new Frozen();
    const { cos, sin } = layer.context;
    const options = {
      config,
      conventions: recipe.conventions,
      resolve: layer.resolve,
      tokens: 5,
      cos: cos.data as Float32Array,
      sin: sin.data as Float32Array,
    };
    const y = slowBlock(base, frozen, options);
    const { data } = await programs.forward(0, layer.x, layer.learnables);
    const error = Math.max(...y.map((v, i) => Math.abs(v - (data[i] as number))));
    expect(error).toBeLessThan(1e-4); // no rounding differs

    const dy = layer.dy.data as Float32Array;
    const lossAt = (name: string, at: number, change: number): number => {
      frozen.replay();
      const moved = (base[name] as Float64Array).slice();
      moved[at] = (moved[at] as number) + change;
      return slowBlock({ ...base, [name]: moved }, frozen, options).reduce(
        (sum, v, i) => sum + v * (dy[i] as number),
        0,
      );
    };
    const { dx, gradients } = await programs.vjp(0, layer.x, layer.dy, layer.learnables);
    const wrong: string[] = [];
    const kinds = new Set<string>();
    for (const [name, gradient] of Object.entries({ ...gradients, x: dx.data as Float32Array })) {
      const scale = Math.max(...gradient.map(Math.abs), 0.01);
      for (const at of new Set([0, Math.floor(gradient.length / 2), gradient.length - 1])) {
        const step = 1e-6 * Math.max(Math.abs(base[name]?.[at] as number), 1e-3);
        const difference = (lossAt(name, at, step) - lossAt(name, at, -step)) / (2 * step);
        // Of a value in 16 bits, float32 knows how far it is from its level to a 256th of a step.
        const tolerance = name.endsWith('.scale') ? 6e-3 : 2e-3;
        if (Math.abs(difference - (gradient[at] as number)) > tolerance * scale)
          wrong.push(`${name}[${at}]: ${gradient[at]} instead of ${difference}`);
        if (difference !== 0) kinds.add(name.slice(name.lastIndexOf('.') + 1));
      }
    }
    expect(wrong).toEqual([]);
    const expected = recipe.conventions === 'reference' ? ['scale', 'offset'] : ['scale', 'low', 'high'];
    expect([...kinds].sort()).toEqual(
      expect.arrayContaining([...expected, 'upper', 'x', ...(targets.shifts ? ['shift'] : [])]),
    );
    await programs.release();
  });
});
