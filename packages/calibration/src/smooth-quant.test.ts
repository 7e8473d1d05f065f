/** SmoothQuant's scales against the formula written out, one channel at a time. */
import { type DecoderConfig, type Weights, weightsFrom } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { normal, tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { type SmoothQuantOptions, smooth } from './smooth-quant.ts';
import type { SiteStatistics, Statistics } from './statistics.ts';

const runtime = nodeRuntime();
const size = { hidden: 8, ffn: 6, heads: 4, headDim: 4 };
const grouped = tinyConfig({ ...size, kvHeads: 2 });
const full = tinyConfig({ ...size, kvHeads: 4 });

/** Largest inputs of the linears, some of them large, one of them zero. */
function statisticsOf({ hidden, ffn, heads, headDim }: DecoderConfig): Statistics {
  const next = normal(8);
  const site = (length: number): SiteStatistics => {
    const absMax = Float32Array.from({ length }, (_, i) => (i === 2 ? 0 : Math.exp(2 * next())));
    return { min: -1, max: 1, channels: { absMax, min: absMax, max: absMax, shift: absMax } };
  };
  return new Map([
    ['model.layers.0.self_attn.q_proj.input', site(hidden)],
    ['model.layers.0.self_attn.o_proj.input', site(heads * headDim)],
    ['model.layers.0.mlp.w1.input', site(hidden)],
    ['model.layers.0.mlp.w2.input', site(ffn)],
  ]);
}

const read = (weights: Weights, module: string): Promise<Float32Array> =>
  weights.read(`model.layers.0.${module}.weight`);

/** s = max(act^α / max(max|W|, 1e-5)^(1-α), 1e-5) of every input channel of the modules. */
async function textbook(weights: Weights, activation: ArrayLike<number>, modules: readonly string[], alpha = 0.5) {
  const matrices = await Promise.all(modules.map((module) => read(weights, module)));
  return Array.from(activation, (act, j) => {
    const column = matrices.flatMap((w) => [...w].filter((_, i) => i % activation.length === j).map(Math.abs));
    return Math.max(act ** alpha / Math.max(...column, 1e-5) ** (1 - alpha), 1e-5);
  });
}

/** By how much each input channel of a module was multiplied. */
async function columnsScaledBy(before: Weights, after: Weights, module: string, columns: number): Promise<number[]> {
  const [a, b] = [await read(before, module), await read(after, module)];
  const ratios = Array.from(b, (v, i) => v / (a[i] as number));
  ratios.forEach((ratio, i) => expect(ratio / (ratios[i % columns] as number)).toBeCloseTo(1, 4)); // all rows alike
  return ratios.slice(0, columns);
}

const expectClose = (got: readonly number[], want: readonly number[]): void => {
  expect(got).toHaveLength(want.length);
  got.forEach((g, i) => expect(g / (want[i] as number), `channel ${i}`).toBeCloseTo(1, 4));
};

const absMax = (statistics: Statistics, module: string): Float32Array =>
  statistics.get(`model.layers.0.${module}.input`)?.channels?.absMax as Float32Array;

async function setUp(config: DecoderConfig, options: SmoothQuantOptions) {
  const weights = tinyWeights(config, 3);
  const statistics = statisticsOf(config);
  const smoothed = smooth(runtime, config, weights, statistics, options);
  const scaled = (module: string, columns: number) => columnsScaledBy(weights, smoothed, module, columns);
  return { weights, statistics, smoothed, scaled };
}

const QKV = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];

describe('smooth', () => {
  test.each([0.3, 0.5, 0.8])('scales norm → linears by the formula, with α = %d', async (alpha) => {
    const { weights, statistics, smoothed, scaled } = await setUp(grouped, { alpha, variant: 'original' });
    const qkv = await textbook(weights, absMax(statistics, 'self_attn.q_proj'), QKV, alpha);
    const fc1 = await textbook(weights, absMax(statistics, 'mlp.w1'), ['mlp.w1', 'mlp.w3'], alpha);
    for (const module of QKV) expectClose(await scaled(module, 8), qkv);
    for (const module of ['mlp.w1', 'mlp.w3']) expectClose(await scaled(module, 8), fc1);
    const norm = [await read(weights, 'input_layernorm'), await read(smoothed, 'input_layernorm')] as const;
    expectClose(
      Array.from(norm[0], (v, i) => v / (norm[1][i] as number)),
      qkv,
    );
    expect(qkv[2]).toBe(1e-5); // a channel that is always zero
  });

  test('original leaves v → o and w3 → w2', async () => {
    const { scaled } = await setUp(full, { variant: 'original' });
    expectClose(await scaled('self_attn.o_proj', 16), new Array(16).fill(1));
    expectClose(await scaled('mlp.w2', 6), new Array(6).fill(1));
  });

  test('modified scales v → o and w3 → w2 too, omniquant only v → o', async () => {
    for (const variant of ['modified', 'omniquant'] as const) {
      const { weights, statistics, scaled } = await setUp(full, { variant });
      const out = await textbook(weights, absMax(statistics, 'self_attn.o_proj'), ['self_attn.o_proj']);
      const fc2 = await textbook(weights, absMax(statistics, 'mlp.w2'), ['mlp.w2']);
      expectClose(await scaled('self_attn.o_proj', 16), out);
      expectClose(await scaled('mlp.w2', 6), variant === 'modified' ? fc2 : new Array(6).fill(1));
    }
  });

  test('under grouped heads, the heads of a group share the scale of their largest', async () => {
    const { weights, statistics, scaled } = await setUp(grouped, {});
    const activation = absMax(statistics, 'self_attn.o_proj');
    const o = await read(weights, 'self_attn.o_proj');
    const want = Array.from({ length: 16 }, (_, j) => {
      const group = Math.floor(j / 8); // 2 query heads of 4 channels
      const shared = [0, 1].map((head) => 8 * group + 4 * head + (j % 4));
      const act = Math.max(...shared.map((c) => activation[c] as number));
      const weight = Math.max(...shared.flatMap((c) => [...o].filter((_, i) => i % 16 === c).map(Math.abs)));
      return Math.sqrt(act / weight);
    });
    expectClose(await scaled('self_attn.o_proj', 16), want);
    const { scaled: asReference } = await setUp(grouped, { groupedHeads: false });
    expectClose(await asReference('self_attn.o_proj', 16), new Array(16).fill(1));
  });

  test('names the statistics that it misses', async () => {
    const { weights, statistics } = await setUp(full, {});
    const partial = new Map([...statistics].filter(([site]) => !site.includes('mlp.w2')));
    const smoothed = smooth(runtime, full, weights, partial);
    await expect(read(smoothed, 'mlp.w2')).rejects.toThrowErrorMatchingInlineSnapshot(
      `[Error: smooth: expected channel statistics of 'model.layers.0.mlp.w2.input', got none. Collect statistics of the same model first.]`,
    );
  });

  test('leaves what is outside the layers as it is', async () => {
    const { weights, smoothed } = await setUp(full, {});
    expect(await smoothed.read('lm_head.weight')).toBe(await weights.read('lm_head.weight'));
    expect(smoothed.names()).toEqual(weights.names());
  });
});

test('a weight column of zeros is floored like the reference floors it', async () => {
  const weights = tinyWeights(full, 3);
  const names = weights.names();
  const tensors = await Promise.all(
    names.map(async (name) => {
      const data = (await weights.read(name)).slice();
      if (/\.(w1|w3)\.weight$/.test(name)) data.forEach((_, i) => i % 8 === 5 && (data[i] = 0));
      return [name, { shape: weights.shape(name), data }] as const;
    }),
  );
  const statistics = statisticsOf(full);
  const zeroed = weightsFrom(new Map(tensors));
  const smoothed = smooth(runtime, full, zeroed, statistics);
  const norms = [
    await read(zeroed, 'post_attention_layernorm'),
    await read(smoothed, 'post_attention_layernorm'),
  ] as const;
  const scale = (norms[0][5] as number) / (norms[1][5] as number);
  expect(scale / Math.sqrt((absMax(statistics, 'mlp.w1')[5] as number) / 1e-5)).toBeCloseTo(1, 4);
});
