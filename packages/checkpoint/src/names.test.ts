import { expect, test } from 'vitest';
import { isComputedBuffer, toHuggingFace, toUnified } from './names.ts';

const PAIRS = [
  ['model.layers.3.mlp.gate_proj.weight', 'model.layers.3.mlp.w1.weight'],
  ['model.layers.3.mlp.up_proj.bias', 'model.layers.3.mlp.w3.bias'],
  ['model.layers.30.mlp.down_proj.weight', 'model.layers.30.mlp.w2.weight'],
  ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0.self_attn.q_proj.weight'],
  ['model.layers.0.post_attention_layernorm.weight', 'model.layers.0.post_attention_layernorm.weight'],
  ['model.embed_tokens.weight', 'model.embed_tokens.weight'],
  ['lm_head.weight', 'lm_head.weight'],
] as const;

test.each(PAIRS)('%s is %s', (theirs, ours) => {
  expect(toUnified(theirs)).toBe(ours);
  expect(toHuggingFace(ours)).toBe(theirs);
  expect(toUnified(ours)).toBe(ours);
});

test('a bare decoder gets its prefix, and only it', () => {
  expect(toUnified('layers.0.mlp.up_proj.weight')).toBe('model.layers.0.mlp.w3.weight');
  expect(toUnified('norm.weight')).toBe('model.norm.weight');
  expect(toUnified('normalizer.weight')).toBe('normalizer.weight');
});

test('only whole segments are names of modules', () => {
  expect(toHuggingFace('mlp.w10.weight')).toBe('mlp.w10.weight');
  expect(toUnified('my_mlp.gate_proj.weight')).toBe('my_mlp.gate_proj.weight');
});

test('rotary frequencies are computed, not read', () => {
  expect(isComputedBuffer('model.layers.0.self_attn.rotary_emb.inv_freq')).toBe(true);
  expect(isComputedBuffer('model.norm.weight')).toBe(false);
});
