import { createDecoder, simulatedReading, type Weights } from '@mobilequant/core';
import { recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { learnRotation } from './learn-rotation.ts';
import { prepareModel, quantizePrepared } from './methods.ts';
import { randomRotation } from './random-rotation.ts';
import { rotateResidual } from './rotations.ts';
import { TransformError } from './transform-error.ts';

const runtime = nodeRuntime();
const recipe = recipes.w4a8;
const text = (seed: number) => Int32Array.from({ length: 24 }, (_, i) => (seed * i + 3 * seed) % 24);
const samples = [text(7), text(11)];
const config = tinyConfig({ hidden: 32, ffn: 48, layers: 3, heads: 4, kvHeads: 2, headDim: 8, norm: 'epsilon' });
const weights = tinyWeights(config, 3);
const learned = learnRotation(runtime, { config, weights, recipe, samples }, { steps: 90 });

describe('a learned rotation', () => {
  test('is orthogonal', async () => {
    const { rotation } = await learned;
    const n = config.hidden;
    const at = (i: number, j: number): number => rotation[i * n + j] as number;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        const dot = Array.from({ length: n }, (_, k) => at(i, k) * at(j, k)).reduce((a, b) => a + b);
        expect(Math.abs(dot - (i === j ? 1 : 0))).toBeLessThan(1e-5);
      }
    }
  });

  test('starts from the random one of its seed', async () => {
    const { rotation, losses } = await learnRotation(
      runtime,
      { config, weights, recipe, samples },
      { steps: 0, seed: 3 },
    );
    expect(rotation).toEqual(randomRotation(config.hidden, 3));
    expect(losses).toEqual([]);
  });

  test('is learned for weights that keep a part of their range only', async () => {
    const [own] = (await learned).losses;
    const clipped = await learnRotation(runtime, { config, weights, recipe, samples }, { steps: 60, kept: 0.9 });
    expect(clipped.losses[0]).not.toBeCloseTo(own as number, 5);
    expect(clipped.losses[57]).toBeLessThan(0.9 * (clipped.losses[0] as number)); // of the same layer
  });

  test('leaves smaller and smaller errors', async () => {
    const { losses } = await learned;
    const mean = (part: readonly number[]) => part.reduce((a, b) => a + b) / part.length;
    expect(mean(losses.slice(-3))).toBeLessThan(0.85 * mean(losses.slice(0, 3)));
  });

  test('makes the quantized model better than random ones do, on text it has not seen', async () => {
    const hiddenOf = async (of: Weights, reading?: ReturnType<typeof simulatedReading>) => {
      const decoder = createDecoder(runtime, config, of, reading ? { reading } : {});
      const result = (await Promise.all([text(5), text(13)].map((tokens) => decoder.hidden(tokens)))).flatMap((x) => [
        ...x,
      ]);
      await decoder.release();
      return result;
    };
    const error = async (rotation: Float32Array): Promise<number> => {
      const rotated = rotateResidual(runtime, config, weights, rotation);
      const prepared = await prepareModel(runtime, rotated.config, rotated.weights, samples, { smoothing: false });
      const { model } = await quantizePrepared(runtime, prepared, recipe, 'minmax', samples);
      const [wanted, got] = [
        await hiddenOf(rotated.weights),
        await hiddenOf(model.weights, simulatedReading(model.encodings)),
      ];
      return (
        wanted.reduce((sum, x, i) => sum + (x - (got[i] as number)) ** 2, 0) / wanted.reduce((sum, x) => sum + x * x, 0)
      );
    };
    const seeds = await Promise.all([0, 1, 2, 3].map((seed) => error(randomRotation(config.hidden, seed))));
    const own = await error((await learned).rotation);
    expect(own).toBeLessThan(0.9 * (seeds[0] as number)); // where it started
    expect(own).toBeLessThan(Math.min(...seeds));
  });
});

test.each(['phi', 'stablelm', 'qwen3'])('%s has one', async (name) => {
  const own = architecture(name);
  const { rotation, losses } = await learnRotation(
    runtime,
    { config: own, weights: tinyWeights(own, 5), recipe, samples },
    { steps: 4 },
  );
  expect(losses.every((loss) => loss > 0 && loss < 0.1)).toBe(true);
  expect(rotation).not.toEqual(randomRotation(own.hidden, 0));
});

test('a model that norms what attention and MLP give has none', async () => {
  const own = architecture('gemma2');
  const input = { config: own, weights: tinyWeights(own, 5), recipe, samples };
  await expect(learnRotation(runtime, input)).rejects.toThrow(TransformError);
});
