import { expect, test } from 'vitest';
import { tinyConfig } from '../test/tiny-layer.ts';
import { LAYER_END } from './hidden-stream.ts';
import { countsBeside, streamOf } from './token-counts.ts';

test('a token counts as RMSNorm scales it', () => {
  const stream = { data: Float32Array.from([3, 4, 0, 0, 0.5, 0.5]), shape: [3, 2] };
  const { data, shape } = countsBeside(stream, 0.25);
  expect(shape).toEqual([3, 1]);
  expect([...data]).toEqual([1 / 12.75, 4, 2].map(Math.fround));
});

test('what adds to the stream, and where the sum is seen', () => {
  const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4 });
  expect(streamOf('self_attn.o_proj', config)).toEqual({
    before: 'input_layernorm.input',
    behind: 'post_attention_layernorm.input',
  });
  expect(streamOf('mlp.w2', config)).toEqual({
    before: 'post_attention_layernorm.input',
    behind: LAYER_END,
  });
  expect(streamOf('mlp.w1', config)).toBeUndefined();
  const parallel = { ...config, residual: 'parallel' } as const;
  expect(streamOf('self_attn.o_proj', parallel)).toEqual({
    before: 'input_layernorm.input',
    behind: LAYER_END,
  });
  expect(streamOf('mlp.w2', parallel)).toEqual({ behind: LAYER_END });
  expect(streamOf('self_attn.o_proj', { ...config, outputNorms: true })).toBeUndefined();
});
