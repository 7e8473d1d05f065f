import { expect, test } from 'vitest';
import { checkedWeights, WeightsError } from './checked-weights.ts';
import { parseConfig } from './parse-config.ts';
import { headName, type Weights, weightsFrom } from './weights.ts';

const config = (changes = {}) =>
  parseConfig({
    model_type: 'llama',
    vocab_size: 11,
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    tie_word_embeddings: true,
    ...changes,
  });

/** A model of that config, with some tensors changed or (undefined) left out. */
function model(changes: Readonly<Record<string, number[] | undefined>> = {}): Weights {
  const layer = {
    'input_layernorm.weight': [8],
    'post_attention_layernorm.weight': [8],
    'self_attn.q_proj.weight': [8, 8],
    'self_attn.k_proj.weight': [4, 8],
    'self_attn.v_proj.weight': [4, 8],
    'self_attn.o_proj.weight': [8, 8],
    'mlp.w1.weight': [12, 8],
    'mlp.w3.weight': [12, 8],
    'mlp.w2.weight': [8, 12],
  };
  const layers = [0, 1].flatMap((n) =>
    Object.entries(layer).map(([name, shape]) => [`model.layers.${n}.${name}`, shape]),
  );
  const shapes: Record<string, number[] | undefined> = {
    'model.embed_tokens.weight': [11, 8],
    ...Object.fromEntries(layers),
    'model.norm.weight': [8],
    ...changes,
  };
  const tensors = Object.entries(shapes).flatMap(([name, shape]) =>
    shape ? [[name, { shape, data: new Float32Array(shape.reduce((n, d) => n * d, 1)) }] as const] : [],
  );
  return weightsFrom(new Map(tensors));
}

test('a model that fits its config is given as it is, biases and an untied head too', () => {
  const plain = model();
  expect(checkedWeights(config(), plain)).toBe(plain);
  const more = model({ 'model.layers.1.self_attn.k_proj.bias': [4], 'lm_head.weight': [11, 8] });
  expect(checkedWeights(config({ tie_word_embeddings: false }), more)).toBe(more);
});

test('a head of its own is hidden where the config ties it', () => {
  const weights = checkedWeights(config(), model({ 'lm_head.weight': [11, 8] }));
  expect(weights.names()).not.toContain('lm_head.weight');
  expect(headName(weights)).toBe('model.embed_tokens.weight');
});

test.each([
  [
    'a missing tensor',
    {},
    { 'model.layers.1.mlp.w2.weight': undefined },
    "a tensor 'model.layers.1.mlp.w2.weight' [8, 12]",
  ],
  ['a missing head', { tie_word_embeddings: false }, {}, 'Set tie_word_embeddings to true'],
  [
    'another size',
    { hidden_size: 16 },
    {},
    "'model.embed_tokens.weight' to be [11, 16], as config.json says, got [11, 8]",
  ],
  ['another vocabulary', { vocab_size: 12 }, {}, "'model.embed_tokens.weight' to be [12, 8]"],
  ['other heads', { num_key_value_heads: 4 }, {}, "'model.layers.0.self_attn.k_proj.weight' to be [8, 8]"],
  ['a bias of another size', {}, { 'model.layers.0.mlp.w1.bias': [3] }, "'model.layers.0.mlp.w1.bias' to be [12]"],
  ['more layers', { num_hidden_layers: 1e9 }, {}, "a tensor 'model.layers.2.input_layernorm.weight'"],
  [
    'fewer layers',
    { num_hidden_layers: 1 },
    {},
    "only tensors of a decoder of 1 layers with these switches, got 'model.layers.1.",
  ],
  [
    'an unknown tensor',
    {},
    { 'model.layers.0.self_attn.q_norm.weight': [2] },
    "got 'model.layers.0.self_attn.q_norm.weight'",
  ],
])('%s is an error that names it', (_, changes, tensors, message) => {
  expect(() => checkedWeights(config(changes), model(tensors))).toThrow(WeightsError);
  expect(() => checkedWeights(config(changes), model(tensors))).toThrow(message);
});
