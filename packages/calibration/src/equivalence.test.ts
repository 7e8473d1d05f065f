/** Transformations that must not change what a float model computes: one test for each, on every kind of model. */
import {
  createDecoder,
  type DecoderConfig,
  deviceForm,
  layerTensorNames,
  readLayer,
  specsOf,
  type Weights,
} from '@mobilequant/core';
import { trace, type Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import type * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { normal, tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { smooth } from './smooth-quant.ts';
import { collectStatistics } from './statistics.ts';
import { applyTransform, type LayerTransform } from './transform.ts';
import { viewWeights } from './transformed-weights.ts';

const runtime = nodeRuntime();
const size = { hidden: 16, ffn: 24, headDim: 4, layers: 2 };
// biome-ignore format: a table
const MODELS = [
  { name: 'grouped heads', config: tinyConfig({ ...size, heads: 4, kvHeads: 2 }), bias: {} },
  { name: 'one key head', config: tinyConfig({ ...size, heads: 4, kvHeads: 1 }), bias: {} },
  { name: 'as many key heads, tied head', config: tinyConfig({ ...size, heads: 4, kvHeads: 4, tied: true }), bias: {} },
  { name: 'biases in linears and norms', config: tinyConfig({ ...size, heads: 4, kvHeads: 2 }), bias: { bias: true, normBias: true } },
  { name: 'epsilon norms', config: { ...tinyConfig({ ...size, heads: 4, kvHeads: 4 }), norm: 'epsilon' as const }, bias: {} },
];
const tokens = Int32Array.from({ length: 9 }, (_, i) => (5 * i + 1) % 24);

async function logitsOf(config: DecoderConfig, weights: Weights): Promise<Float32Array> {
  const decoder = createDecoder(runtime, config, weights);
  const logits = await decoder.logits(await decoder.hidden(tokens));
  await decoder.release();
  return logits;
}

const change = (a: Float32Array, b: Float32Array): number =>
  Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number)))) / Math.max(...a.map(Math.abs));

/** Weights whose layers are transformed by random scales exp(0.3 N) and shifts 0.2 N of the given pairs. */
function transformed(
  config: DecoderConfig,
  weights: Weights,
  pairs: Readonly<Record<string, number>>,
  shifted: readonly string[] = [],
): Weights {
  const next = normal(5);
  const random = (length: number, value: () => number) => ({
    data: Float32Array.from({ length }, value),
    shape: [length],
  });
  const scales: Record<string, ReturnType<typeof random>> = {};
  for (const [pair, length] of Object.entries(pairs)) {
    scales[`${pair}.scale`] = random(length, () => Math.exp(0.3 * next()));
    if (shifted.includes(pair)) scales[`${pair}.shift`] = random(length, () => 0.2 * next());
  }
  const graphOf = (tensors: Values) =>
    trace(
      (inputs) => {
        const own = Object.fromEntries(Object.keys(tensors).map((name) => [name, inputs[name] as tf.Tensor]));
        const { qkt, ...others } = Object.fromEntries(
          Object.keys(pairs).map((pair) => [
            pair,
            { scale: inputs[`${pair}.scale`] as tf.Tensor, shift: inputs[`${pair}.shift`] },
          ]),
        );
        const transform: LayerTransform = { ...others, ...(qkt && { qkt: qkt.scale }) };
        return Object.fromEntries(
          Object.entries(applyTransform(own, transform, config)).map(([name, w]) => [`new:${name}`, w]),
        );
      },
      specsOf({ ...tensors, ...scales }),
    );
  const transform = async (_: number, tensors: Values): Promise<Values> => {
    const program = await runtime.compile(graphOf(tensors));
    const results = await program.run({ ...tensors, ...scales });
    return Object.fromEntries(Object.entries(results).map(([name, v]) => [name.slice('new:'.length), v]));
  };
  const { hidden, ffn, heads, kvHeads, headDim } = config;
  const all: Record<string, number> = {
    input_layernorm: hidden,
    post_attention_layernorm: hidden,
    'self_attn.q_proj': heads * headDim,
    'self_attn.k_proj': kvHeads * headDim,
    'self_attn.v_proj': kvHeads * headDim,
    'self_attn.o_proj': hidden,
    'mlp.w1': ffn,
    'mlp.w3': ffn,
    'mlp.w2': hidden,
  };
  const affected = shifted.flatMap((pair) => {
    if (pair === 'out') return ['self_attn.v_proj', 'self_attn.o_proj'];
    return pair === 'qkv'
      ? ['input_layernorm', 'self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']
      : ['post_attention_layernorm', 'mlp.w1', 'mlp.w3'];
  });
  return viewWeights(
    weights,
    transform,
    Object.fromEntries(affected.map((module) => [`${module}.bias`, [all[module] as number]])),
  );
}

describe.each(MODELS)('$name', ({ config, bias }) => {
  const weights = tinyWeights(config, 21, bias);
  const { hidden, ffn, kvHeads, headDim } = config;
  const exact = { qkv: hidden, out: kvHeads * headDim, qkt: (kvHeads * headDim) / 2, fc1: hidden, fc2: ffn };

  test.each(Object.entries(exact))('scales of %s leave the logits', async (pair, length) => {
    const moved = transformed(config, weights, { [pair]: length });
    const names = layerTensorNames(weights, 0);
    const before = await readLayer(weights, 0);
    const after = await readLayer(moved, 0);
    expect(
      names.filter((name) => change(before[name]?.data as Float32Array, after[name]?.data as Float32Array) > 0.01)
        .length,
    ).toBeGreaterThan(1);
    expect(change(await logitsOf(config, weights), await logitsOf(config, moved))).toBeLessThan(2e-5);
  });

  test('all scales at once, and shifts of norms and of v → o, leave the logits', async () => {
    expect(
      change(
        await logitsOf(config, weights),
        await logitsOf(config, transformed(config, weights, exact, ['qkv', 'out', 'fc1'])),
      ),
    ).toBeLessThan(2e-5);
  });

  test.each(['original', 'modified', 'omniquant'] as const)('SmoothQuant %s leaves the logits', async (variant) => {
    const statistics = await collectStatistics(runtime, config, weights, [tokens]);
    const smoothed = smooth(runtime, config, weights, statistics, { variant });
    expect(
      change(await weights.read('model.layers.0.mlp.w1.weight'), await smoothed.read('model.layers.0.mlp.w1.weight')),
    ).toBeGreaterThan(0.01);
    expect(change(await logitsOf(config, weights), await logitsOf(config, smoothed))).toBeLessThan(2e-5);
  });

  test('the device form leaves the logits', async () => {
    const device = deviceForm(config, weights);
    expect(
      change(
        await logitsOf({ ...config, norm: 'l2', finalNorm: 'l2' }, weights),
        await logitsOf(device.config, device.weights),
      ),
    ).toBeLessThan(2e-5);
    const twice = deviceForm(device.config, device.weights);
    expect(await twice.weights.read('model.norm.weight')).toEqual(await device.weights.read('model.norm.weight'));
  });
});

test('free scales of q and k, as the reference learns them, do change a model with rotary embedding', async () => {
  const config = tinyConfig({ ...size, heads: 4, kvHeads: 4 });
  const weights = tinyWeights(config, 21);
  expect(
    change(await logitsOf(config, weights), await logitsOf(config, transformed(config, weights, { qkt: 16 }))),
  ).toBeGreaterThan(0.01);
});
