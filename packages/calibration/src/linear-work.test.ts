import { decoderTensors } from '@mobilequant/core';
import type { Encoding } from '@mobilequant/quantizer';
import { expect, test } from 'vitest';
import { architecture, architectures } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { linearWork } from './linear-work.ts';

const encoded = (bits: number): Encoding => ({
  spec: { bits, symmetric: false, granularity: { kind: 'tensor' } },
  scale: Float32Array.of(1),
  zeroPoint: Int32Array.of(0),
});

test.each(architectures)('every matrix of a $name model is counted once', ({ config }) => {
  const weights = tinyWeights(config, 1);
  const work = linearWork(config, weights, new Map());
  const matrices = [...decoderTensors(config)].filter(
    ({ name, shape }) => shape.length === 2 && !/embed|prefix/.test(name),
  );
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  expect(work.reduce((sum, { products }) => sum + products, 0)).toBe(
    matrices.reduce((sum, { shape }) => sum + size(shape), 0),
  );
  expect(work.every(({ weightBits, inputBits }) => weightBits === 32 && inputBits === 32)).toBe(true);
});

test('widths are those of the weight and of what the linear reads', () => {
  const config = architecture('llama');
  const layer = (site: string) => `model.layers.1.${site}`;
  const encodings = new Map([
    [layer('input_layernorm.output'), encoded(8)],
    [layer('self_attn.q_proj.weight'), encoded(4)],
    [layer('self_attn.q_proj.output'), encoded(16)],
    [layer('self_attn.pv_bmm.output'), encoded(16)],
    [layer('mlp.w2.input'), encoded(8)],
    [layer('mlp.w2.weight'), encoded(4)],
  ]);
  const work = linearWork(config, tinyWeights(config, 1), encodings);
  const widths = Object.fromEntries(work.map(({ linear, weightBits, inputBits }) => [linear, [weightBits, inputBits]]));
  expect(widths[layer('self_attn.q_proj')]).toEqual([4, 8]);
  expect(widths[layer('self_attn.k_proj')]).toEqual([32, 8]);
  expect(widths[layer('self_attn.o_proj')]).toEqual([32, 16]);
  expect(widths[layer('mlp.w2')]).toEqual([4, 8]);
  expect(widths[layer('mlp.w1')]).toEqual([32, 32]);
  expect(widths['model.layers.0.self_attn.q_proj']).toEqual([32, 32]);
});
