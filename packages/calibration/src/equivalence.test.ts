/** Transformations that must not change what a float model computes: one test for each, on every kind of model. */
import {
  createDecoder,
  type DecoderConfig,
  deviceForm,
  layerTensorNames,
  readLayer,
  rowsOf,
  specsOf,
  type Weights,
} from '@mobilequant/core';
import { trace, type Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import type * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../test/architectures.ts';
import { normal, tinyWeights } from '../test/tiny-layer.ts';
import { availablePairs, type Conventions, initialLearnables, type Pair, transformOf } from './learnables.ts';
import { observedForm } from './methods.ts';
import { smooth } from './smooth-quant.ts';
import { collectStatistics } from './statistics.ts';
import { applyTransform } from './transform.ts';
import { type LayerScales, scaledWeights, viewWeights } from './transformed-weights.ts';

const runtime = nodeRuntime();
const tokens = Int32Array.from({ length: 9 }, (_, i) => (5 * i + 1) % 24);
const PAIRS: readonly Pair[] = ['qkv', 'out', 'qkt', 'fc1', 'fc2'];
const TOLERANCE = 2e-5;

/** Every architecture, and two with biases that their checkpoints have not. */
const models = [
  ...architectures.map((own) => ({ ...own, bias: {} })),
  { name: 'llama with every bias', config: architecture('llama'), bias: { bias: true, normBias: true } },
  { name: 'gemma3 with every bias', config: architecture('gemma3'), bias: { bias: true, normBias: true } },
];

async function logitsOf(config: DecoderConfig, weights: Weights): Promise<Float32Array> {
  const decoder = createDecoder(runtime, config, weights);
  const logits = await decoder.logits(await decoder.hidden(tokens));
  await decoder.release();
  return logits;
}

const change = (a: Float32Array, b: Float32Array): number =>
  Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number)))) / Math.max(...a.map(Math.abs));

/** LET of some pairs away from its start: scales around exp(0.3 N), shifts around 0.2 N. */
function randomParameters(
  config: DecoderConfig,
  pairs: readonly Pair[],
  { conventions = 'exact', shifted = [] }: { conventions?: Conventions; shifted?: readonly Pair[] } = {},
): Values {
  const next = normal(5);
  const targets = { pairs, shifts: shifted.length > 0, clipping: false, ranges: false };
  const start = initialLearnables({}, new Map(), { config, conventions, targets, resolve: () => undefined });
  const kept = Object.entries(start.parameters).filter(
    ([name]) => name.endsWith('.scale') || shifted.some((pair) => name === `${pair}.shift`),
  );
  const value = (name: string): number => {
    if (name.endsWith('.shift')) return 0.2 * next();
    return conventions === 'exact' ? 0.3 * next() : Math.exp(0.3 * next());
  };
  return Object.fromEntries(
    kept.map(([name, { data, shape }]) => [
      name,
      { data: Float32Array.from({ length: data.length }, () => value(name)), shape },
    ]),
  );
}

/** Weights whose layers are all transformed by the same parameters. */
async function transformed(
  config: DecoderConfig,
  weights: Weights,
  parameters: Values,
  conventions: Conventions = 'exact',
): Promise<Weights> {
  const transform = async (_: number, tensors: Values): Promise<Values> => {
    const given = { ...tensors, ...parameters };
    const graph = trace((inputs) => {
      const own = Object.fromEntries(Object.keys(tensors).map((name) => [name, inputs[name] as tf.Tensor]));
      const after = applyTransform(own, transformOf(inputs, conventions), config);
      return Object.fromEntries(Object.entries(after).map(([name, w]) => [`new:${name}`, w]));
    }, specsOf(given));
    const program = await runtime.compile(graph);
    const results = await program.run(given);
    await program.release();
    return Object.fromEntries(Object.entries(results).map(([name, v]) => [name.slice('new:'.length), v]));
  };
  return viewWeights(weights, transform, specsOf(await transform(0, await readLayer(weights, 0))));
}

/** Names of a layer's tensors that differ. */
async function changedTensors(before: Weights, after: Weights): Promise<string[]> {
  const [a, b] = [await readLayer(before, 0), await readLayer(after, 0)];
  const changed = (name: string) => !a[name] || change(a[name].data, (b[name] as (typeof a)[string]).data) > 0.01;
  return layerTensorNames(after, 0).filter(changed);
}

describe.each(models)('$name', ({ config, bias }) => {
  const weights = tinyWeights(config, 21, bias);
  const float = logitsOf(config, weights);
  const exactPairs = availablePairs(PAIRS, config, 'exact');
  const shiftedPairs = exactPairs.filter((pair) => pair === 'qkv' || pair === 'fc1' || pair === 'out');

  test.each(exactPairs)('scales of %s leave the logits', async (pair) => {
    const moved = await transformed(config, weights, randomParameters(config, [pair]));
    expect((await changedTensors(weights, moved)).length).toBeGreaterThan(1);
    expect(change(await float, await logitsOf(config, moved))).toBeLessThan(TOLERANCE);
  });

  test('all scales at once, and shifts of norms and of v → o, leave the logits', async () => {
    const parameters = randomParameters(config, exactPairs, { shifted: shiftedPairs });
    const moved = await transformed(config, weights, parameters);
    expect(await changedTensors(weights, moved)).toEqual(
      expect.arrayContaining(['input_layernorm.bias', 'self_attn.q_proj.bias', 'self_attn.o_proj.bias']),
    );
    expect(change(await float, await logitsOf(config, moved))).toBeLessThan(TOLERANCE);
  });

  test("the reference's scales of all pairs but q ↔ k, and its shifts of norms and v → o, leave the logits", async () => {
    const conventions = 'reference';
    const pairs = availablePairs(PAIRS, config, conventions).filter((pair) => pair !== 'qkt');
    const shifted = shiftedPairs.filter((pair) => pairs.includes(pair));
    const moved = await transformed(
      config,
      weights,
      randomParameters(config, pairs, { conventions, shifted }),
      conventions,
    );
    expect((await changedTensors(weights, moved)).length).toBeGreaterThan(4);
    expect(change(await float, await logitsOf(config, moved))).toBeLessThan(TOLERANCE);
  });

  test.each([
    { variant: 'original' },
    { variant: 'modified' },
    { variant: 'omniquant' },
    { variant: 'modified', groupedHeads: false },
  ] as const)('SmoothQuant leaves the logits: $variant, grouped heads $groupedHeads', async (options) => {
    const statistics = await collectStatistics(runtime, observedForm(config), weights, [tokens]);
    const smoothed = smooth(runtime, config, weights, statistics, options);
    const changed = await changedTensors(weights, smoothed);
    expect(changed).toEqual(
      expect.arrayContaining(['input_layernorm.weight', 'self_attn.k_proj.weight', 'mlp.w1.weight']),
    );
    const { heads, kvHeads, mlp } = config;
    const { variant, groupedHeads = true } = { groupedHeads: true, ...options };
    expect(changed.includes('self_attn.o_proj.weight')).toBe(
      variant !== 'original' && (heads === kvHeads || groupedHeads),
    );
    expect(changed.includes('mlp.w2.weight')).toBe(variant === 'modified' && mlp === 'gated');
    expect(change(await float, await logitsOf(config, smoothed))).toBeLessThan(TOLERANCE);
  });

  test('the device form leaves the logits, and is its own device form', async () => {
    const l2 = (form: DecoderConfig['norm']) => (form === 'epsilon' ? 'l2' : form);
    const withoutEpsilon = { ...config, norm: l2(config.norm), finalNorm: l2(config.finalNorm) };
    const device = deviceForm(config, weights);
    const wanted = await logitsOf(withoutEpsilon, weights);
    expect(change(wanted, await logitsOf(device.config, device.weights))).toBeLessThan(TOLERANCE);
    expect(change(await float, wanted)).toBeLessThan(1e-3); // all that an epsilon is worth

    const twice = deviceForm(device.config, device.weights);
    expect(twice.config).toEqual(device.config);
    expect(twice.weights.names()).toEqual(device.weights.names());
    for (const name of device.weights.names())
      expect(await twice.weights.read(name)).toEqual(await device.weights.read(name));
  });
});

test.each(['gemma', 'gemma3', 'stablelm', 'phi'])(
  '%s may be transformed before its device form or after',
  async (name) => {
    const config = architecture(name);
    const weights = tinyWeights(config, 21);
    const parameters = randomParameters(config, PAIRS, { shifted: ['qkv', 'out', 'fc1'] });
    const before = deviceForm(config, await transformed(config, weights, parameters));
    const device = deviceForm(config, weights);
    const after = await transformed(device.config, device.weights, parameters);
    const wanted = await logitsOf(device.config, device.weights);
    expect(change(wanted, await logitsOf(before.config, before.weights))).toBeLessThan(TOLERANCE);
    expect(change(wanted, await logitsOf(device.config, after))).toBeLessThan(TOLERANCE);
  },
);

test('a pair that a model does not have is refused, and rows of scaled weights are those of the whole', async () => {
  const scaled = (name: string, scales: LayerScales) => {
    const config = architecture(name);
    return scaledWeights(runtime, config, tinyWeights(config, 7), () => scales);
  };
  const [fc1, fc2] = [Float32Array.from({ length: 16 }, (_, i) => 1 + i), new Float32Array(24).fill(2)];
  const w1 = 'model.layers.0.mlp.w1.weight';
  await expect(scaled('stablelm, parallel', { fc1 }).read(w1)).rejects.toThrow(
    /applyTransform: expected a model with the pair fc1/,
  );
  await expect(scaled('phi', { fc2 }).read(w1)).rejects.toThrow(/applyTransform: expected a model with the pair fc2/);
  const weights = scaled('llama', { fc1 });
  expect(await weights.readRows(w1, [9, 2])).toEqual(rowsOf(await weights.read(w1), 16, [9, 2]));
});

test('the pairs of a decoder are those that its switches leave', () => {
  const pairs = (conventions: Conventions) =>
    Object.fromEntries(
      architectures.map(({ name, config }) => [name, availablePairs(PAIRS, config, conventions).join(' ')]),
    );
  expect(pairs('exact')).toMatchInlineSnapshot(`
    {
      "gemma": "qkv out qkt fc1 fc2",
      "gemma2": "qkv out qkt fc1 fc2",
      "gemma3": "qkv out qkt fc1 fc2",
      "llama": "qkv out qkt fc1 fc2",
      "llama, tied": "qkv out qkt fc1 fc2",
      "phi": "qkv out qkt",
      "qwen2": "qkv out qkt fc1 fc2",
      "qwen3": "qkv out qkt fc1 fc2",
      "stablelm": "qkv out qkt fc1 fc2",
      "stablelm, parallel": "qkv out qkt fc2",
    }
  `);
  expect(pairs('reference')).toMatchInlineSnapshot(`
    {
      "gemma": "qkv fc1 fc2",
      "gemma2": "qkv fc1 fc2",
      "gemma3": "qkv fc1 fc2",
      "llama": "qkv fc1 fc2",
      "llama, tied": "qkv out qkt fc1 fc2",
      "phi": "qkv out qkt",
      "qwen2": "qkv fc1 fc2",
      "qwen3": "qkv fc1 fc2",
      "stablelm": "qkv out qkt fc1 fc2",
      "stablelm, parallel": "qkv out qkt fc2",
    }
  `);
});

/** Weights with a head beside the embedding. */
const viewHead = (weights: Weights, head: Float32Array): Weights => ({
  ...weights,
  names: () => [...weights.names(), 'lm_head.weight'],
  has: (name) => name === 'lm_head.weight' || weights.has(name),
  read: async (name) => (name === 'lm_head.weight' ? head : weights.read(name)),
});

describe('the device form of a tied head under an embedding factor', () => {
  const config = architecture('gemma');
  const weights = tinyWeights(config, 21);

  test('is a head of its own, as the table was', async () => {
    const device = deviceForm(config, weights);
    expect(device.config).toMatchObject({ embeddingFactor: 1, tiedEmbeddings: false });
    const table = await weights.read('model.embed_tokens.weight');
    expect(await device.weights.read('lm_head.weight')).toEqual(table);
    expect(device.weights.shape('lm_head.weight')).toEqual([config.vocab, config.hidden]);
    expect(await device.weights.read('model.embed_tokens.weight')).toEqual(
      table.map((w) => w * config.embeddingFactor),
    );
    const rows = await device.weights.readRows('model.embed_tokens.weight', [3]);
    expect(rows).toEqual(table.slice(3 * config.hidden, 4 * config.hidden).map((w) => w * config.embeddingFactor));
  });

  test('is the head that a tied model has already, and the model says that it is not tied', async () => {
    const head = (await weights.read('model.embed_tokens.weight')).toReversed();
    const device = deviceForm(config, viewHead(weights, head));
    expect(device.config.tiedEmbeddings).toBe(false);
    expect(await device.weights.read('lm_head.weight')).toBe(head);
  });

  test('keeps a tied head tied where nothing is folded into the table', () => {
    const llama = architecture('llama, tied');
    const device = deviceForm(llama, tinyWeights(llama, 21));
    expect(device.config.tiedEmbeddings).toBe(true);
    expect(device.weights.has('lm_head.weight')).toBe(false);
  });
});

test.each(['llama, tied', 'stablelm'])(
  'free scales of q and k, as the reference learns them, do change %s',
  async (name) => {
    const config = architecture(name);
    const weights = tinyWeights(config, 21);
    const parameters = randomParameters(config, ['qkt'], { conventions: 'reference' });
    const moved = await transformed(config, weights, parameters, 'reference');
    expect(change(await logitsOf(config, weights), await logitsOf(config, moved))).toBeGreaterThan(0.01);
  },
);
