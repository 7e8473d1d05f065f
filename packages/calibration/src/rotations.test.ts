import {
  checkedWeights,
  createDecoder,
  type DecoderConfig,
  deriveWeights,
  deviceForm,
  type Weights,
  withPrefix,
} from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../test/architectures.ts';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { foldNorms } from './fold-norms.ts';
import { observedForm } from './methods.ts';
import { rotate } from './rotations.ts';
import { smooth } from './smooth-quant.ts';
import { collectStatistics } from './statistics.ts';
import { TransformError } from './transform-error.ts';

const runtime = nodeRuntime();
const tokens = Int32Array.from({ length: 9 }, (_, i) => (5 * i + 1) % 24);
const TOLERANCE = 2e-5;

const l2 = { norm: 'l2', finalNorm: 'l2' } as const;
const folded = { norm: 'l2-folded', finalNorm: 'l2-folded' } as const;
const models = [
  ...architectures.map((own) => ({ ...own, bias: {} })),
  { name: 'llama with every bias', config: architecture('llama'), bias: { bias: true, normBias: true } },
  { name: 'gemma3 with every bias', config: architecture('gemma3'), bias: { bias: true, normBias: true } },
  { name: 'phi with every bias', config: architecture('phi'), bias: { bias: true, normBias: true } },
  { name: 'gemma of L2 norms', config: { ...architecture('gemma'), ...l2 }, bias: {} },
  { name: 'qwen3 of folded L2 norms', config: { ...architecture('qwen3'), ...folded }, bias: {} },
  {
    name: 'stablelm with norms of queries and keys',
    config: { ...architecture('stablelm'), queryKeyNorms: true },
    bias: { bias: true },
  },
];
const rotatable = models.filter(({ config }) => !config.outputNorms);
const outputNormed = models.filter(({ config }) => config.outputNorms);

async function logitsOf(config: DecoderConfig, weights: Weights): Promise<Float32Array> {
  const decoder = createDecoder(runtime, config, checkedWeights(config, weights));
  const logits = await decoder.logits(await decoder.hidden(tokens));
  await decoder.release();
  return logits;
}

const change = (a: Float32Array, b: Float32Array): number =>
  Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number)))) / Math.max(...a.map(Math.abs));

/** Names of tensors that are the same in both. */
async function unchanged(before: Weights, after: Weights): Promise<string[]> {
  const names: string[] = [];
  for (const name of before.names()) {
    if (after.has(name) && change(await before.read(name), await after.read(name)) < 1e-3) names.push(name);
  }
  return names;
}

/** The weights of norms that stand before linears. */
const normsOf = (weights: Weights): string[] =>
  weights.names().filter((name) => /(model\.norm|input_layernorm|post_attention_layernorm)\.weight$/.test(name));

describe.each(models)('$name: folded norms', ({ config, bias }) => {
  const weights = tinyWeights(config, 21, bias);
  const result = foldNorms(config, weights);

  test('leave the logits', async () => {
    expect(change(await logitsOf(config, weights), await logitsOf(result.config, result.weights))).toBeLessThan(
      TOLERANCE,
    );
  });

  test('only normalise', async () => {
    const unit = Math.fround(config.norm === 'l2-folded' ? Math.sqrt(config.hidden) : 1);
    const norms = normsOf(result.weights);
    expect(norms).toHaveLength(1 + (config.residual === 'parallel' ? 1 : 2) * config.layers);
    for (const name of norms) expect(new Set(await result.weights.read(name))).toEqual(new Set([unit]));
    expect(
      result.weights.names().filter((name) => /(input|post_attention)_layernorm\.bias|model\.norm\.bias/.test(name)),
    ).toEqual([]);
    expect([result.config.norm, result.config.finalNorm]).not.toContain('layer');
    expect(result.config.tiedEmbeddings).toBe(false);
  });
});

describe.each(rotatable)('$name: rotations', ({ config, bias }) => {
  const weights = tinyWeights(config, 21, bias);
  const float = logitsOf(config, weights);

  test.each([
    { residual: true, heads: false },
    { residual: false, heads: true },
    { residual: true, heads: true },
  ])('leave the logits: residual stream $residual, heads $heads', async (options) => {
    const rotated = rotate(runtime, config, weights, { seed: 5, ...options });
    expect(change(await float, await logitsOf(rotated.config, rotated.weights))).toBeLessThan(TOLERANCE);

    const folded = options.residual ? foldNorms(config, weights) : { weights };
    const own = /norm\.|[qk]_norm|[qk]_proj\.bias|w[13]\.bias|lm_head\.bias/; // never on the stream's side
    const onlyHeads = /embed_tokens|lm_head|[qk]_proj|mlp|o_proj\.bias/;
    const onlyResidual = /v_proj\.bias/;
    const kept = folded.weights
      .names()
      .filter(
        (name) =>
          own.test(name) || (!options.residual && onlyHeads.test(name)) || (!options.heads && onlyResidual.test(name)),
      );
    expect(await unchanged(folded.weights, rotated.weights)).toEqual(kept);
  });

  test('come before SmoothQuant as well as after it', async () => {
    const before = rotate(runtime, config, weights);
    const statistics = await collectStatistics(runtime, observedForm(before.config), before.weights, [tokens]);
    const smoothed = smooth(runtime, before.config, before.weights, statistics);
    expect(change(await float, await logitsOf(before.config, smoothed))).toBeLessThan(TOLERANCE);

    const observed = await collectStatistics(runtime, observedForm(config), weights, [tokens]);
    const after = rotate(runtime, config, smooth(runtime, config, weights, observed));
    expect(change(await float, await logitsOf(after.config, after.weights))).toBeLessThan(TOLERANCE);
  });

  test('come before the device form as well as after it', async () => {
    const epsilonless = (form: DecoderConfig['norm']) => (form === 'epsilon' ? 'l2' : form);
    const exact = { ...config, norm: epsilonless(config.norm), finalNorm: epsilonless(config.finalNorm) };
    const wanted = await logitsOf(exact, weights);
    const device = deviceForm(config, weights);
    const after = rotate(runtime, device.config, device.weights);
    expect(change(wanted, await logitsOf(after.config, after.weights))).toBeLessThan(1e-3); // what LayerNorm's epsilon is worth
    const rotated = rotate(runtime, config, weights);
    const before = deviceForm(rotated.config, rotated.weights);
    expect(change(wanted, await logitsOf(before.config, before.weights))).toBeLessThan(1e-3);
  });

  test('take the values of a prefix along, and leave what a prefix does', async () => {
    const behind = await withPrefix(runtime, config, weights, [3, 9]);
    const wanted = await logitsOf(behind.config, behind.weights);
    const after = rotate(runtime, behind.config, behind.weights);
    expect(change(wanted, await logitsOf(after.config, after.weights))).toBeLessThan(TOLERANCE);
    const values = 'model.layers.1.self_attn.prefix_values';
    expect(change(await behind.weights.read(values), await after.weights.read(values))).toBeGreaterThan(0.01);
    const rotated = rotate(runtime, config, weights);
    const before = await withPrefix(runtime, rotated.config, rotated.weights, [3, 9]);
    expect(change(wanted, await logitsOf(before.config, before.weights))).toBeLessThan(TOLERANCE);
    expect(change(await before.weights.read(values), await after.weights.read(values))).toBeLessThan(TOLERANCE);
  });

  test('give rows of the embedding as they give all of it', async () => {
    const rotated = rotate(runtime, config, weights);
    const name = 'model.embed_tokens.weight';
    const all = await rotated.weights.read(name);
    const some = await rotated.weights.readRows(name, [4, 0, 4]);
    const row = (i: number) => [...all.subarray(i * config.hidden, (i + 1) * config.hidden)];
    expect(change(some, Float32Array.from([row(4), row(0), row(4)].flat()))).toBeLessThan(1e-6);
  });
});

describe.each(outputNormed)('$name, which norms what attention and MLP give', ({ config, bias }) => {
  const weights = tinyWeights(config, 21, bias);

  test('has no rotation of the residual stream', () => {
    expect(() => rotate(runtime, config, weights)).toThrow(TransformError);
    expect(() => rotate(runtime, config, weights)).toThrowErrorMatchingInlineSnapshot(
      `[TransformError: rotateResidual: expected no norms behind attention and MLP, got a model that has them, whose weights belong to channels of the residual stream. Rotate its heads only.]`,
    );
  });

  test('keeps its logits when its heads are rotated', async () => {
    const rotated = rotate(runtime, config, weights, { residual: false });
    expect(await unchanged(weights, rotated.weights)).not.toContain('model.layers.0.self_attn.v_proj.weight');
    expect(change(await logitsOf(config, weights), await logitsOf(config, rotated.weights))).toBeLessThan(TOLERANCE);
  });
});

test.each([
  { config: { ...architecture('stablelm'), finalNorm: 'epsilon' } },
  { config: { ...architecture('stablelm'), outputNorms: true } },
] as const)('LayerNorms whose mean cannot be taken out are refused by name', ({ config }) => {
  expect(() => foldNorms(config, tinyWeights(config, 21))).toThrow(TransformError);
});

describe('a channel of the residual stream that is fifty times as large as the others', () => {
  const config = tinyConfig({ hidden: 64, ffn: 32, layers: 2, heads: 2, kvHeads: 1, headDim: 8, norm: 'epsilon' });
  const plain = tinyWeights(config, 4);
  const name = 'model.embed_tokens.weight';
  const enlarged = (data: Float32Array) => data.map((w, i) => (i % config.hidden === 7 ? 50 * w : w));
  const weights = deriveWeights(
    plain,
    new Map([
      [
        name,
        {
          shape: plain.shape(name),
          read: async () => enlarged(await plain.read(name)),
          readRows: async (rows) => enlarged(await plain.readRows(name, rows)),
        },
      ],
    ]),
  );

  /** The largest channel of a site over the root mean square of all channels' maxima. */
  async function peak(model: { config: DecoderConfig; weights: Weights }, site: string): Promise<number> {
    const statistics = await collectStatistics(runtime, model.config, model.weights, [tokens]);
    const sizes = statistics.get(`model.layers.1.${site}`)?.channels?.absMax as Float32Array;
    return Math.max(...sizes) / Math.sqrt(sizes.reduce((sum, size) => sum + size * size, 0) / sizes.length);
  }

  test.each(['input_layernorm.output', 'post_attention_layernorm.output'])('is gone from %s', async (site) => {
    expect(await peak(foldNorms(config, weights), site)).toBeGreaterThan(5);
    expect(await peak(rotate(runtime, config, weights), site)).toBeLessThan(2);
  });
});
