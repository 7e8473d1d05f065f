import { createDecoder, weightsFrom } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { collectStatistics, rangesOf } from './statistics.ts';

const runtime = nodeRuntime();
const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4, layers: 2 });
const weights = tinyWeights(config, 4);
const samples = [Int32Array.of(1, 5, 2), Int32Array.of(7, 3, 3), Int32Array.of(0, 9, 4, 8)];
const site = 'model.layers.1.input_layernorm.input';

/** What enters the second layer, `[tokens, hidden]` of each sample, by the float model itself. */
async function inputs(): Promise<Float32Array[]> {
  const decoder = createDecoder(runtime, config, weights);
  return Promise.all(samples.map(async (sample) => decoder.block(0, await decoder.embed(sample))));
}

describe('collectStatistics', () => {
  test('keeps the smallest and largest of all samples, in all and per channel', async () => {
    const found = (await collectStatistics(runtime, config, weights, samples)).get(site);
    const all = await inputs();
    const column = (x: Float32Array, j: number) => [...x].filter((_, i) => i % config.hidden === j);
    expect(found?.min).toBe(Math.min(...all.flatMap((x) => [...x])));
    expect(found?.max).toBe(Math.max(...all.flatMap((x) => [...x])));
    for (let j = 0; j < config.hidden; j++) {
      const values = all.flatMap((x) => column(x, j));
      expect(found?.channels?.min[j]).toBe(Math.min(...values));
      expect(found?.channels?.max[j]).toBe(Math.max(...values));
      expect(found?.channels?.absMax[j]).toBe(Math.max(...values.map(Math.abs)));
      const middles = all.map((x) => (Math.max(...column(x, j)) + Math.min(...column(x, j))) / 2);
      const shift = middles.slice(1).reduce((average, middle) => 0.99 * average + 0.01 * middle, middles[0] as number);
      expect(found?.channels?.shift[j]).toBeCloseTo(shift, 5);
    }
  });

  test('sees scores above the diagonal, probabilities, and the head', async () => {
    const statistics = await collectStatistics(runtime, config, weights, samples);
    expect(statistics.get('model.layers.0.self_attn.pv_bmm.input')).toMatchObject({ min: 0, max: 1 });
    expect(statistics.get('model.layers.0.self_attn.qk_bmm.output')?.channels).toBeUndefined();
    expect([...rangesOf(statistics).keys()].filter((name) => !name.startsWith('model.layers.'))).toEqual([
      'model.norm.input',
      'model.norm.output',
      'lm_head.input',
      'lm_head.output',
    ]);
    expect((await collectStatistics(runtime, config, weights, samples, { head: false })).has('lm_head.input')).toBe(
      false,
    );
  });

  test('reports progress after each sample', async () => {
    const done: number[] = [];
    await collectStatistics(runtime, config, weights, samples, { onProgress: (progress) => done.push(progress.done) });
    expect(done).toEqual([1, 2, 3]);
  });

  test('does not need the head of a model that is not there', async () => {
    const body = weightsFrom(
      new Map(
        await Promise.all(
          weights
            .names()
            .filter((name) => name !== 'lm_head.weight' && name !== 'model.norm.weight')
            .map(async (name) => [name, { shape: weights.shape(name), data: await weights.read(name) }] as const),
        ),
      ),
    );
    expect((await collectStatistics(runtime, config, body, samples, { head: false })).has(site)).toBe(true);
  });
});
