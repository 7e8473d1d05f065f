import { createDecoder, weightsFrom, withPrefix } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architectures } from '../test/architectures.ts';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { collectHistograms, type SiteHistogram } from './collect-histograms.ts';
import { histogramOf } from './histogram.ts';
import { collectStatistics } from './statistics.ts';

const runtime = nodeRuntime();
const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4, layers: 2 });
const weights = tinyWeights(config, 4);
const samples = [Int32Array.of(1, 5, 2), Int32Array.of(7, 3, 3), Int32Array.of(0, 9, 4, 8)];
const site = 'model.layers.1.input_layernorm.input';

describe('collectHistograms', () => {
  test('counts all that passes through a site', async () => {
    const decoder = createDecoder(runtime, config, weights);
    const inputs: number[] = [];
    for (const sample of samples) inputs.push(...(await decoder.block(0, await decoder.embed(sample))));
    await decoder.release();
    const found = await collectHistograms(runtime, config, weights, samples);
    expect(found.get(site)?.histogram).toEqual(histogramOf(Float32Array.from(inputs)));
    expect(found.get('lm_head.output')?.histogram?.total).toBe(10 * config.vocab);
    expect(found.get('model.layers.0.self_attn.qk_bmm.output')?.histogram?.total).toBe(2 * (9 + 9 + 16));
  });

  test.each(architectures.filter(({ name }) => ['llama', 'gemma3', 'phi'].includes(name)))(
    'finds the statistics that a pass for them alone finds: $name',
    async ({ config }) => {
      const weights = tinyWeights(config, 5);
      const found = await collectHistograms(runtime, config, weights, samples);
      const withoutHistograms = [...found].map(([name, { histogram, ...statistics }]) => {
        expect(histogram).toMatchObject({ min: statistics.min, max: statistics.max });
        return [name, statistics] as const;
      });
      expect(new Map(withoutHistograms)).toEqual(await collectStatistics(runtime, config, weights, samples));
    },
  );

  test('counts what follows a prefix, and of the prefix only its keys and values', async () => {
    const model = await withPrefix(runtime, config, weights, [1, 6]);
    const found = await collectHistograms(runtime, model.config, model.weights, samples);
    const total = (name: string) => found.get(`model.layers.1.${name}`)?.histogram?.total;
    expect(total('mlp.w1.output')).toBe(10 * config.ffn);
    expect(total('self_attn.k_proj.output')).toBe(10 * config.headDim);
    expect(total('self_attn.qk_bmm.input2')).toBe((10 + 2 * samples.length) * config.headDim);
  });

  test('goes on from an earlier pass as if there had been one', async () => {
    const whole = await collectHistograms(runtime, config, weights, samples);
    const first = await collectHistograms(runtime, config, weights, samples.slice(0, 1));
    const before = structuredClone(first);
    expect(await collectHistograms(runtime, config, weights, samples.slice(1), { from: first })).toEqual(whole);
    expect(first).toEqual(before);
  });

  test('counts only where it is told to, layer by layer', async () => {
    const wanted = [site, 'model.layers.0.mlp.w2.input', 'lm_head.input'];
    const found = await collectHistograms(runtime, config, weights, samples, {
      count: (name) => wanted.includes(name),
    });
    const whole = await collectHistograms(runtime, config, weights, samples);
    const counted = [...found].filter(([, { histogram }]) => histogram);
    expect(counted.map(([name]) => name).toSorted()).toEqual(wanted.toSorted());
    for (const [name, own] of counted) expect(own).toEqual(whole.get(name));
    expect([...found.keys()]).toEqual([...whole.keys()]);
  });

  test('looks only where it is asked to, at whole sites if channels are not wanted', async () => {
    const wanted = [site, 'model.layers.1.mlp.w2.input', 'model.norm.output'];
    const whole = await collectHistograms(runtime, config, weights, samples);
    const found = await collectHistograms(runtime, config, weights, samples, {
      asked: (name) => wanted.includes(name),
      channels: false,
    });
    expect([...found.keys()].toSorted()).toEqual(wanted.toSorted());
    for (const [name, own] of found) {
      const { channels: _, ...rest } = whole.get(name) as SiteHistogram;
      expect(own).toEqual(rest);
    }
  });

  test('names the site through which something passes that is not finite', async () => {
    const tensors = await Promise.all(
      weights.names().map(async (name) => {
        const data = (await weights.read(name)).slice();
        if (name === 'model.layers.1.mlp.w3.weight') data[3] = NaN;
        return [name, { shape: weights.shape(name), data }] as const;
      }),
    );
    await expect(collectHistograms(runtime, config, weightsFrom(new Map(tensors)), samples)).rejects.toThrow(
      'model.layers.1.mlp.w3.output: expected finite values',
    );
  });

  test('reports progress after each sample, and leaves the head out on request', async () => {
    const done: number[] = [];
    const found = await collectHistograms(runtime, config, weights, samples, {
      head: false,
      onProgress: (progress) => done.push(progress.done),
    });
    expect(done).toEqual([1, 2, 3]);
    expect(found.has('lm_head.input')).toBe(false);
  });
});
