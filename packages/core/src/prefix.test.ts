import { eagerExecutor } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { checkedWeights } from './checked-weights.ts';
import { type DecoderConfig, decoderConfig } from './config.ts';
import { createDecoder } from './decoder.ts';
import { decoderTensors } from './decoder-tensors.ts';
import { withPrefix } from './prefix.ts';
import { type Weights, weightsFrom } from './weights.ts';

const runtime = nodeRuntime();
const sizes = { layers: 3, hidden: 16, ffn: 24, heads: 4, kvHeads: 2, vocab: 20 };
const kinds: [string, DecoderConfig][] = [
  ['grouped heads', decoderConfig(sizes)],
  [
    'sliding layers with another rotary embedding',
    decoderConfig({
      ...sizes,
      queryKeyNorms: true,
      sliding: { window: 5, layers: [true, false, true], rope: { theta: 100 } },
    }),
  ],
  ['part of a head turns, one norm', decoderConfig({ ...sizes, rotaryDim: 2, residual: 'parallel', norm: 'layer' })],
];

function weightsOf(config: DecoderConfig): Weights {
  let state = 3;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
  const tensors = [...decoderTensors(config)].filter(({ optional }) => !optional);
  return weightsFrom(
    new Map(
      tensors.map(({ name, shape }) => {
        const length = shape.reduce((a, b) => a * b, 1);
        return [
          name,
          { shape, data: Float32Array.from({ length }, () => (shape.length === 1 ? 1 : 0) + 0.6 * next()) },
        ];
      }),
    ),
  );
}

const PREFIX = [7, 3];
const TEXT = Int32Array.from({ length: 9 }, (_, i) => (5 * i + 2) % 20);

test.each(kinds)('tokens behind a prefix are as far as they would be in one text: %s', async (_, config) => {
  const weights = weightsOf(config);
  const whole = createDecoder(runtime, config, weights);
  const expected = (await whole.hidden(Int32Array.from([...PREFIX, ...TEXT]))).subarray(PREFIX.length * config.hidden);

  const behind = await withPrefix(runtime, config, weights, PREFIX);
  expect(behind.config.prefix).toEqual(PREFIX);
  expect(checkedWeights(behind.config, behind.weights)).toBe(behind.weights);
  for (const queryChunk of [4, 128]) {
    const decoder = createDecoder(runtime, behind.config, behind.weights, { queryChunk });
    const hidden = await decoder.hidden(TEXT);
    hidden.forEach((x, i) => expect(Math.abs(x - (expected[i] as number))).toBeLessThan(1e-5));
  }
});

test('a prefix replaces the one before it, and none takes it away', async () => {
  const [, config] = kinds[0] as [string, DecoderConfig];
  const weights = weightsOf(config);
  const once = await withPrefix(runtime, config, weights, [1]);
  const twice = await withPrefix(runtime, once.config, once.weights, PREFIX);
  const direct = await withPrefix(runtime, config, weights, PREFIX);
  const name = 'model.layers.1.self_attn.prefix_keys';
  expect(await twice.weights.read(name)).toEqual(await direct.weights.read(name));
  expect(twice.weights.names()).toEqual(direct.weights.names());
  const none = await withPrefix(runtime, twice.config, twice.weights, []);
  expect(none.config).toEqual(config);
  expect(none.weights.names()).toEqual(weights.names());
});

test('eager and traced agree', async () => {
  const [, config] = kinds[0] as [string, DecoderConfig];
  const weights = weightsOf(config);
  await tf.setBackend('cpu');
  const [a, b] = [
    await withPrefix(runtime, config, weights, PREFIX),
    await withPrefix(eagerExecutor(), config, weights, PREFIX),
  ];
  const name = 'model.layers.2.self_attn.prefix_values';
  const [x, y] = [await a.weights.read(name), await b.weights.read(name)];
  x.forEach((v, i) => expect(Math.abs(v - (y[i] as number))).toBeLessThan(1e-5));
});
