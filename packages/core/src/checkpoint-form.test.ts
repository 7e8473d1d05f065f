import { expect, test } from 'vitest';
import { fromCheckpoint, storedName, toCheckpoint, unifiedName } from './checkpoint-form.ts';
import { checkpointForm } from './parse-config.ts';
import { weightsFrom } from './weights.ts';

// biome-ignore format: a table
const PAIRS = [
  ['llama', 'model.layers.3.mlp.gate_proj.weight', 'model.layers.3.mlp.w1.weight'],
  ['llama', 'model.layers.3.mlp.up_proj.bias', 'model.layers.3.mlp.w3.bias'],
  ['qwen3', 'model.layers.30.mlp.down_proj.weight', 'model.layers.30.mlp.w2.weight'],
  ['llama', 'model.layers.0.post_attention_layernorm.weight', 'model.layers.0.post_attention_layernorm.weight'],
  ['llama', 'lm_head.weight', 'lm_head.weight'],
  ['gemma2', 'model.layers.0.post_attention_layernorm.weight', 'model.layers.0.attention_output_layernorm.weight'],
  ['gemma2', 'model.layers.0.pre_feedforward_layernorm.weight', 'model.layers.0.post_attention_layernorm.weight'],
  ['gemma3_text', 'model.layers.0.post_feedforward_layernorm.weight', 'model.layers.0.mlp_output_layernorm.weight'],
  ['phi', 'model.layers.0.self_attn.dense.bias', 'model.layers.0.self_attn.o_proj.bias'],
  ['phi', 'model.layers.0.mlp.fc2.weight', 'model.layers.0.mlp.w2.weight'],
  ['phi', 'model.final_layernorm.bias', 'model.norm.bias'],
  ['hfmodel', 'model.layers.0.mlp.w1.weight', 'model.layers.0.mlp.w1.weight'],
] as const;

test.each(PAIRS)('%s: %s is %s', (type, theirs, ours) => {
  const form = checkpointForm({ model_type: type });
  expect(unifiedName(form, theirs)).toBe(ours);
  expect(storedName(form, ours)).toBe(theirs);
});

test('only whole segments are names of modules', () => {
  const form = checkpointForm({ model_type: 'llama' });
  expect(storedName(form, 'mlp.w10.weight')).toBe('mlp.w10.weight');
  expect(unifiedName(form, 'my_mlp.gate_proj.weight')).toBe('my_mlp.gate_proj.weight');
});

test('norms of gemma are stored less one, and nothing else is', async () => {
  const form = checkpointForm({ model_type: 'gemma' });
  const tensor = (...values: number[]) => ({ shape: [values.length], data: Float32Array.from(values) });
  const stored = weightsFrom(
    new Map([
      ['model.layers.0.input_layernorm.weight', tensor(-0.5, 2)],
      ['model.norm.weight', tensor(0.25, 0)],
      ['model.layers.0.mlp.up_proj.weight', tensor(3, 4)],
    ]),
  );
  const weights = fromCheckpoint(form, stored);
  expect([...(await weights.read('model.layers.0.input_layernorm.weight'))]).toEqual([0.5, 3]);
  expect([...(await weights.read('model.norm.weight'))]).toEqual([1.25, 1]);
  expect([...(await weights.read('model.layers.0.mlp.w3.weight'))]).toEqual([3, 4]);
  const back = toCheckpoint(form, weights);
  expect(back.names()).toEqual(stored.names());
  for (const name of stored.names()) expect(await back.read(name)).toEqual(await stored.read(name));
});

test('two tensors of a checkpoint for one of the decoder are refused', () => {
  const tensor = { shape: [1], data: new Float32Array(1) };
  const weights = weightsFrom(new Map(['mlp.w1.weight', 'mlp.gate_proj.weight'].map((name) => [name, tensor])));
  expect(() => fromCheckpoint(checkpointForm({ model_type: 'llama' }), weights)).toThrow(
    "expected one tensor for 'mlp.w1.weight', got 'mlp.w1.weight' and 'mlp.gate_proj.weight'",
  );
});
