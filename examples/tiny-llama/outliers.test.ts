import { contextValues, type DecoderConfig, decoderConfig } from '@mobilequant/core';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { initialParameters, meanLoss, type Parameters } from './model.ts';
import { createOutliers } from './outliers.ts';
import { createRandom } from './random.ts';

const config: DecoderConfig = decoderConfig({
  layers: 2,
  hidden: 16,
  ffn: 24,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  vocab: 11,
  maxPositions: 32,
  normEpsilon: 1e-5,
  norm: 'epsilon',
  finalNorm: 'epsilon',
  scoreScale: 'explicit',
  activation: 'silu',
  rope: { theta: 10000 },
  tiedEmbeddings: true,
});
const none = { channels: 0, factors: [1] };
const all = {
  seed: 3,
  norms: { channels: 3, factors: [16, 64] },
  ffn: { channels: 3, factors: [8, 32] },
  keys: { channels: 2, factors: [4] },
  values: { channels: 2, factors: [8] },
};
const parameters = initialParameters(config, createRandom(5));

/** The loss, computed eagerly by tfjs. */
function loss(weights: Parameters): number {
  void tf.setBackend('cpu');
  return tf.tidy(() => {
    const tensors = (
      values: Iterable<readonly [string, { data: Float32Array | Int32Array; shape: readonly number[] }]>,
    ) => Object.fromEntries([...values].map(([name, { data, shape }]) => [name, tf.tensor(data, [...shape])]));
    const context = tensors(Object.entries(contextValues(config, 6)) as never) as Record<
      'cos' | 'sin' | 'mask',
      tf.Tensor
    >;
    const tokens = tf.tensor1d([1, 5, 2, 9, 0, 3], 'int32');
    const targets = tf.tensor1d([5, 2, 9, 0, 3, 7], 'int32');
    return meanLoss(config, tensors(weights), { ...context, tokens, targets }).dataSync()[0] as number;
  });
}

describe('createOutliers', () => {
  const before = loss(parameters);

  it.each(['norms', 'ffn', 'keys', 'values'] as const)('changes weights for %s, but not the function', (place) => {
    const changed = createOutliers(config, parameters, {
      ...all,
      norms: none,
      ffn: none,
      keys: none,
      values: none,
      [place]: all[place],
    });
    expect([...changed].some(([name, { data }]) => data.some((v, i) => v !== parameters.get(name)?.data[i]))).toBe(
      true,
    );
    expect(loss(changed)).toBeCloseTo(before, 6);
  });

  it('keeps the function with all of them together', () => {
    expect(loss(createOutliers(config, parameters, all))).toBeCloseTo(before, 6);
  });

  it('leaves what came in as it was, and does the same again for the same seed', () => {
    const copy = structuredClone(parameters);
    expect(createOutliers(config, parameters, all)).toEqual(createOutliers(config, parameters, all));
    expect(parameters).toEqual(copy);
  });

  it('makes the norm of the chosen channels large', () => {
    const norm = createOutliers(config, parameters, all).get('model.layers.1.input_layernorm.weight')?.data ?? [];
    expect([...norm].filter((w) => w >= 16)).toHaveLength(3);
  });
});
