/**
 * The device form, run as a device runs it: no batch, tables and masks from outside, a cache of keys and values.
 */
import {
  type BlockContext,
  type BlockWeights,
  block,
  type DecoderConfig,
  embed,
  type KeysValues,
  logits,
  readHead,
  readLayer,
  type Weights,
} from '@mobilequant/core';
import type { Runtime, Value, Values } from '@mobilequant/tracer';
import type * as tf from '@tensorflow/tfjs';
import { evaluate, type How } from './evaluate.ts';
import type { GoldenTensor } from './golden-case.ts';

export interface DeviceInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly tokens: Int32Array;
  /** cos, sin `[tokens, headDim]`, mask `[1, tokens, past + tokens]`. */
  readonly context: Readonly<Record<'cos' | 'sin' | 'mask', GoldenTensor>>;
  /** Keys and values of each layer, `[kvHeads, past, headDim]`. */
  readonly past?: readonly Readonly<Record<'keys' | 'values', Float32Array>>[];
}

export interface DeviceResult {
  readonly logits: Float32Array;
  /** Those of `tokens`, layer after layer: `[layers, kvHeads, tokens, headDim]`. */
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** Runs a model in device form. */
export async function runDevice(
  how: How,
  runtime: Runtime,
  { config, weights, tokens, context, past }: DeviceInput,
): Promise<DeviceResult> {
  const { kvHeads, headDim } = config;
  let x: Value = await embed(config, weights, tokens);
  const keys: number[] = [];
  const values: number[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const tensors = await readLayer(weights, layer);
    const cache = past?.[layer];
    const cached = (data: Float32Array): Value => ({
      data,
      shape: [kvHeads, data.length / kvHeads / headDim, headDim],
    });
    const before: Values = cache ? { 'past.keys': cached(cache.keys), 'past.values': cached(cache.values) } : {};
    const fn = (inputs: Record<string, tf.Tensor>): Record<string, tf.Tensor> => {
      const own: BlockWeights = Object.fromEntries(
        Object.keys(tensors).map((name) => [name, inputs[name] as tf.Tensor]),
      );
      const seen = cache && ({ keys: inputs['past.keys'], values: inputs['past.values'] } as KeysValues);
      const result = block(
        inputs['x'] as tf.Tensor,
        own,
        inputs as Record<string, tf.Tensor> & BlockContext,
        config,
        seen ? { past: seen } : {},
      );
      return { y: result.x, keys: result.keys, values: result.values };
    };
    const result = await evaluate(how, runtime, fn, { x, ...context, ...tensors, ...before });
    x = { data: result['y'] as Float32Array, shape: x.shape };
    keys.push(...(result['keys'] as Float32Array));
    values.push(...(result['values'] as Float32Array));
  }
  const parts: Values = { x, ...(await readHead(weights)) };
  const fn = (inputs: Record<string, tf.Tensor>) => ({ y: logits(inputs['x'] as tf.Tensor, inputs, config) });
  const { y } = await evaluate(how, runtime, fn, parts);
  return { logits: y as Float32Array, keys: Float32Array.from(keys), values: Float32Array.from(values) };
}
