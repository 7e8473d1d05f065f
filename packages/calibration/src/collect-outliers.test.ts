import { createDecoder } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { collectOutliers } from './collect-outliers.ts';

const runtime = nodeRuntime();
const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4, layers: 2 });
const weights = tinyWeights(config, 4);
const samples = [Int32Array.of(1, 5, 2), Int32Array.of(7, 3, 3), Int32Array.of(0, 9, 4, 8)];

const median = (sizes: readonly number[]): number => {
  const sorted = [...sizes].sort((a, b) => a - b);
  return ((sorted[(sorted.length - 1) >> 1] as number) + (sorted[sorted.length >> 1] as number)) / 2;
};

test('the largest channel and token of a site are those of its own values', async () => {
  const found = (await collectOutliers(runtime, config, weights, samples)).get('model.layers.1.input_layernorm.input');
  const decoder = createDecoder(runtime, config, weights);
  const inputs: Float32Array[] = []; // what enters the second layer, [tokens, hidden] of each sample
  for (const sample of samples) inputs.push(await decoder.block(0, await decoder.embed(sample)));
  await decoder.release();

  const rows = inputs.flatMap((x, sample) =>
    Array.from({ length: x.length / config.hidden }, (_, index) => {
      const row = x.subarray(index * config.hidden, (index + 1) * config.hidden);
      return { sample, index, row, size: Math.max(...row.map(Math.abs)) };
    }),
  );
  const token = rows.reduce((a, b) => (b.size > a.size ? b : a));
  const channels = Array.from({ length: config.hidden }, (_, c) =>
    Math.max(...rows.map(({ row }) => Math.abs(row[c] as number))),
  );
  const largest = Math.max(...channels);
  const all = rows.flatMap(({ row }) => [...row]);
  expect(found).toEqual({
    min: Math.min(...all),
    max: Math.max(...all),
    channel: { index: channels.indexOf(largest), largest, median: median(channels) },
    token: { sample: token.sample, index: token.index, largest, median: median(rows.map(({ size }) => size)) },
  });
  expect(found?.token?.sample).toBeGreaterThan(0); // else the counting over samples is not tested
});

test('a token that has a row for each head is taken together', async () => {
  const normed = architecture('qwen3');
  const found = await collectOutliers(runtime, normed, tinyWeights(normed, 4), samples);
  for (const module of ['q', 'k']) {
    const normOf = (port: string) => found.get(`model.layers.1.self_attn.${module}_norm.${port}`);
    const before = found.get(`model.layers.1.self_attn.${module}_proj.output`); // the same values, heads side by side
    expect(normOf('input')?.token).toEqual(before?.token);
    expect(normOf('output')?.token?.index).toBeLessThan(4);
    expect(normOf('output')?.channel?.index).toBeLessThan(normed.headDim);
  }
});

test('sites that are no matrices have a range alone', async () => {
  const found = await collectOutliers(runtime, config, weights, samples);
  expect(found.get('model.layers.0.self_attn.pv_bmm.input')).toEqual({ min: 0, max: 1 });
  expect(found.get('lm_head.output')?.channel?.index).toBeLessThan(config.vocab);
});
