/** The quantized layer and its gradients as a graph on ONNX Runtime, and operation by operation on tfjs: the same numbers. */
import { type BlockContext, block, type DecoderConfig, readLayer } from '@mobilequant/core';
import { recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { evaluate } from '../test/evaluate.ts';
import { tinyConfig, tinyLayer } from '../test/tiny-layer.ts';
import { type LearningTargets, learningTap, transformOf } from './learnables.ts';
import { observedForm } from './methods.ts';
import { applyTransform } from './transform.ts';

const runtime = nodeRuntime({ integerProducts: false });
const targets: LearningTargets = {
  pairs: ['qkv', 'out', 'qkt', 'fc1', 'fc2'],
  shifts: false,
  clipping: true,
  ranges: true,
};

const first = (name: string): DecoderConfig => ({ ...observedForm(architecture(name)), layers: 1 });

/** One of each kind of norm, MLP and residual stream. */
// biome-ignore format: a table
const MODELS = [
  { name: 'llama', config: tinyConfig({ hidden: 32, ffn: 64, heads: 4, kvHeads: 2, headDim: 8 }), queryChunk: 0 },
  { name: 'llama, queries in chunks', config: tinyConfig({ hidden: 32, ffn: 64, heads: 4, kvHeads: 2, headDim: 8 }), queryChunk: 5 },
  { name: 'gemma', config: first('gemma'), queryChunk: 0 },
  { name: 'gemma3, queries in chunks', config: first('gemma3'), queryChunk: 5 },
  { name: 'stablelm', config: first('stablelm'), queryChunk: 0 },
  { name: 'phi', config: first('phi'), queryChunk: 0 },
];

describe.each([recipes['paper-w4a8'], recipes.w4a8])('$name', (recipe) => {
  test.each(MODELS)('$name', async ({ config, queryChunk }) => {
    const layer = await tinyLayer(runtime, { config, recipe, targets, tokens: 16, seed: 3 });
    const tensors = await readLayer(layer.weights, 0);
    const { parameters, constants } = layer.learnables;
    const names = ['x', ...Object.keys(parameters)];
    const { conventions } = recipe;

    const fn = (inputs: Record<string, tf.Tensor>): Record<string, tf.Tensor> => {
      const forward = (...moved: tf.Tensor[]): tf.Tensor => {
        const all = { ...inputs, ...Object.fromEntries(names.map((name, i) => [name, moved[i] as tf.Tensor])) };
        const own = Object.fromEntries(Object.keys(tensors).map((name) => [name, all[name] as tf.Tensor]));
        const tap = learningTap(all, { resolve: layer.resolve, conventions, targets });
        return block(
          all['x'] as tf.Tensor,
          applyTransform(own, transformOf(all, conventions), config),
          all as typeof all & BlockContext,
          config,
          { tap, queryChunk },
        ).x;
      };
      const at = names.map((name) => inputs[name] as tf.Tensor);
      const gradients = tf.grads(forward)(at, inputs['dy'] as tf.Tensor);
      return {
        y: forward(...at),
        ...Object.fromEntries(names.map((name, i) => [`d:${name}`, gradients[i] as tf.Tensor])),
      };
    };
    const values = { ...tensors, ...parameters, ...constants, ...layer.context, x: layer.x, dy: layer.dy };
    const eager = await evaluate('eager on tfjs', runtime, fn, values);
    const traced = await evaluate('traced on onnxruntime', runtime, fn, values);

    // Bit for bit where every product is of 8-bit operands and ends on a grid; a sum of 16-bit ones, or a tanh, may end one step beside.
    const beside = Array.from(eager['y'] as Float32Array, (v, i) => Math.abs(v - (traced['y']?.[i] as number))).filter(
      (e) => e !== 0,
    );
    if (conventions === 'reference' && config.activation === 'silu') expect(beside).toEqual([]);
    expect(beside.length).toBeLessThan(0.1 * layer.x.data.length);
    expect(Math.max(0, ...beside)).toBeLessThan(2e-4);
    const far: string[] = [];
    for (const [name, want] of Object.entries(eager)) {
      const site = name.slice('d:'.length).replace(/\.(scale|offset|low|high)$/, '');
      if (layer.resolve(site)?.bits === 16 && !site.endsWith('weight')) continue; // what is left when two large sums cancel: compared in float64
      const size = Math.max(...want.map(Math.abs), 1e-2);
      const error = Math.max(...want.map((v, i) => Math.abs(v - (traced[name]?.[i] as number)))) / size;
      const bound = /\.(scale|offset|low|high)$/.test(name) && site.includes('.') ? 1e-3 : 1e-4; // of a range: a difference of two sums
      if (!(error <= bound)) far.push(`${name}: relative error ${error}`);
    }
    expect(far).toEqual([]);
  });
});
