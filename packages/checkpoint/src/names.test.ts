import { expect, test } from 'vitest';
import { isComputedBuffer } from './names.ts';

test('rotary frequencies are computed, not read', () => {
  expect(isComputedBuffer('model.layers.0.self_attn.rotary_emb.inv_freq')).toBe(true);
  expect(isComputedBuffer('model.norm.weight')).toBe(false);
});
