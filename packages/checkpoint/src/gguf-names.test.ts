import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { FormatError } from './errors.ts';
import type { GgufTensor } from './gguf.ts';
import type { GgmlType } from './gguf-blocks.ts';
import { ggufArchitectures, ggufViews, interleavedRow } from './gguf-names.ts';

const sizes = { layers: 2, heads: 4, kvHeads: 2, headDim: 8 };

const tensorOf = (shape: readonly number[], type: GgmlType = 'F32'): GgufTensor => ({
  type,
  shape,
  begin: 0,
  bytes: 0,
});

const fixture = new URL('../test/fixtures/gguf/names.json', import.meta.url);
const NAMES: Record<string, Record<string, string>> = JSON.parse(readFileSync(fixture, 'utf8'));

/** The views of tensors `[32, 32]`, or of the shapes that are given. */
const viewsOf = (architecture: string, names: readonly string[] | Readonly<Record<string, GgufTensor>>) => {
  const entries = Array.isArray(names)
    ? names.map((name): [string, GgufTensor] => [name, tensorOf([32, 32])])
    : Object.entries(names);
  return ggufViews(architecture, new Map(entries), sizes, 'x.gguf');
};

const named = (architecture: string, names: readonly string[]): string[] => [...viewsOf(architecture, names).keys()];

const blocks = (...kinds: readonly string[]): string[] => kinds.map((kind) => `blk.1.${kind}`);

test.each(Object.entries(NAMES))('%s has the names that the gguf package gives it', (architecture, names) => {
  expect(Object.keys(names).length).toBeGreaterThan(9);
  for (const [theirs, ours] of Object.entries(names))
    expect(named(architecture, [`${ours}.weight`])).toEqual([`${theirs}.weight`]);
});

test('all architectures are compared', () => {
  expect(Object.keys(NAMES)).toEqual(ggufArchitectures);
});

test('a llama has the names of Hugging Face, and interleaved rows in q and k, biases too', () => {
  const names = blocks('attn_q.weight', 'attn_k.weight', 'attn_k.bias', 'attn_v.weight', 'attn_output.weight');
  const views = viewsOf('llama', ['token_embd.weight', 'output_norm.weight', 'output.weight', ...names]);
  expect([...views.keys()]).toEqual([
    'model.embed_tokens.weight',
    'model.norm.weight',
    'lm_head.weight',
    'model.layers.1.self_attn.q_proj.weight',
    'model.layers.1.self_attn.k_proj.weight',
    'model.layers.1.self_attn.k_proj.bias',
    'model.layers.1.self_attn.v_proj.weight',
    'model.layers.1.self_attn.o_proj.weight',
  ]);
  const heads = [...views].flatMap(([name, { heads }]) => (heads ? [[name.split('.').at(-2), heads]] : []));
  expect(heads).toEqual([
    ['q_proj', 4],
    ['k_proj', 2],
    ['k_proj', 2],
  ]);
  expect(
    named(
      'llama',
      blocks('attn_norm.weight', 'ffn_norm.weight', 'ffn_gate.weight', 'ffn_up.weight', 'ffn_down.weight'),
    ),
  ).toEqual([
    'model.layers.1.input_layernorm.weight',
    'model.layers.1.post_attention_layernorm.weight',
    'model.layers.1.mlp.gate_proj.weight',
    'model.layers.1.mlp.up_proj.weight',
    'model.layers.1.mlp.down_proj.weight',
  ]);
});

test.each(['qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3', 'stablelm', 'phi2'])(
  '%s is not interleaved',
  (architecture) => {
    const views = viewsOf(architecture, blocks('attn_q.weight', 'attn_k.weight'));
    expect([...views.values()].map(({ heads }) => heads)).toEqual([undefined, undefined]);
  },
);

test('gemma stores the weights of its norms plus one, and nothing else', () => {
  const offsets = (architecture: string, names: readonly string[]) =>
    Object.fromEntries(
      [...viewsOf(architecture, names)].map(([name, { offset }]) => [name.replace(/^model\./, ''), offset]),
    );
  const norms = ['attn_q_norm', 'attn_k_norm', 'post_attention_norm', 'ffn_norm', 'post_ffw_norm', 'attn_norm'];
  expect(
    offsets('gemma3', [
      'output_norm.weight',
      'token_embd.weight',
      ...norms.map((kind) => `blk.0.${kind}.weight`),
      'blk.0.ffn_up.weight',
    ]),
  ).toEqual({
    'norm.weight': -1,
    'embed_tokens.weight': 0,
    'layers.0.self_attn.q_norm.weight': -1,
    'layers.0.self_attn.k_norm.weight': -1,
    'layers.0.post_attention_layernorm.weight': -1,
    'layers.0.pre_feedforward_layernorm.weight': -1,
    'layers.0.post_feedforward_layernorm.weight': -1,
    'layers.0.input_layernorm.weight': -1,
    'layers.0.mlp.up_proj.weight': 0,
  });
  expect(offsets('gemma', ['blk.0.ffn_norm.weight'])).toEqual({ 'layers.0.post_attention_layernorm.weight': -1 });
  expect(offsets('qwen3', ['output_norm.weight', 'blk.0.attn_q_norm.weight'])).toEqual({
    'norm.weight': 0,
    'layers.0.self_attn.q_norm.weight': 0,
  });
});

test('phi has names of its own, and one matrix for q, k and v that is divided', () => {
  const views = viewsOf('phi2', {
    'blk.0.attn_qkv.weight': tensorOf([64, 32], 'Q8_0'),
    'blk.0.attn_qkv.bias': tensorOf([64]),
    'blk.0.attn_output.bias': tensorOf([32]),
    'blk.0.ffn_up.weight': tensorOf([64, 32]),
    'blk.0.ffn_down.weight': tensorOf([32, 64]),
    'output_norm.bias': tensorOf([32]),
    'output.bias': tensorOf([9]),
  });
  const parts = [...views].map(([name, { firstRow, shape }]) => [name, firstRow, shape]);
  expect(parts).toEqual([
    ['model.layers.0.self_attn.q_proj.weight', 0, [32, 32]],
    ['model.layers.0.self_attn.k_proj.weight', 32, [16, 32]],
    ['model.layers.0.self_attn.v_proj.weight', 48, [16, 32]],
    ['model.layers.0.self_attn.q_proj.bias', 0, [32]],
    ['model.layers.0.self_attn.k_proj.bias', 32, [16]],
    ['model.layers.0.self_attn.v_proj.bias', 48, [16]],
    ['model.layers.0.self_attn.dense.bias', 0, [32]],
    ['model.layers.0.mlp.fc1.weight', 0, [64, 32]],
    ['model.layers.0.mlp.fc2.weight', 0, [32, 64]],
    ['model.final_layernorm.bias', 0, [32]],
    ['lm_head.bias', 0, [9]],
  ]);
});

test('stablelm has norms with biases', () => {
  expect(named('stablelm', ['output_norm.bias', ...blocks('attn_norm.bias', 'ffn_norm.bias', 'attn_q.bias')])).toEqual([
    'model.norm.bias',
    'model.layers.1.input_layernorm.bias',
    'model.layers.1.post_attention_layernorm.bias',
    'model.layers.1.self_attn.q_proj.bias',
  ]);
});

test('what is computed from the config is left out', () => {
  expect(named('llama', ['rope_freqs.weight', 'blk.0.attn_rot_embd.weight'])).toEqual([]);
});

test.each([
  ['llama', 'blk.0.ffn_gate_inp.weight'],
  ['llama', 'blk.0.attn_q_norm.weight'],
  ['llama', 'blk.0.attn_qkv.weight'],
  ['llama', 'blk.2.attn_q.weight'],
  ['llama', 'blk.00.attn_q.weight'],
  ['llama', 'blk.0.__proto__.weight'],
  ['llama', 'blk.0.constructor.weight'],
  ['llama', 'mm.0.weight'],
  ['gemma2', 'blk.0.attn_q_norm.weight'],
  ['stablelm', 'blk.0.attn_q_norm.weight'],
  ['phi2', 'blk.0.ffn_norm.weight'],
])('%s has no tensor %s: it is refused by name', (architecture, name) => {
  expect(() => named(architecture, [name])).toThrow(`x.gguf: tensor '${name}': expected a tensor of a ${architecture}`);
});

test('tensors that cannot be divided into heads are refused', () => {
  const fail = (architecture: string, name: string, tensor: GgufTensor) => {
    try {
      viewsOf(architecture, { [name]: tensor });
    } catch (error) {
      if (error instanceof FormatError) return error.message.replace(/ The file is damaged .*/, '');
    }
    return 'no error';
  };
  expect(fail('llama', 'blk.0.attn_q.weight', tensorOf([30, 32]))).toMatchInlineSnapshot(
    `"x.gguf: tensor 'blk.0.attn_q.weight': expected 4 heads of even size, got 30 rows."`,
  );
  expect(fail('llama', 'blk.0.attn_k.weight', tensorOf([6, 32]))).toMatchInlineSnapshot(
    `"x.gguf: tensor 'blk.0.attn_k.weight': expected 2 heads of even size, got 6 rows."`,
  );
  expect(fail('phi2', 'blk.0.attn_qkv.weight', tensorOf([96, 32]))).toMatchInlineSnapshot(
    `"x.gguf: tensor 'blk.0.attn_qkv.weight': expected 64 rows of q, k and v, got 96."`,
  );
  expect(fail('phi2', 'blk.0.attn_qkv.bias', tensorOf([64], 'Q8_0'))).toMatchInlineSnapshot(
    `"x.gguf: tensor 'blk.0.attn_qkv.bias': expected a bias that can be divided, got Q8_0."`,
  );
  const both = { 'blk.0.attn_qkv.weight': tensorOf([64, 32]), 'blk.0.attn_v.weight': tensorOf([16, 32]) };
  expect(() => viewsOf('phi2', both)).toThrow(
    "expected one tensor for 'model.layers.0.self_attn.v_proj.weight', got another",
  );
});

test('interleaving is undone: each side of a head is together again', () => {
  const rows = Array.from({ length: 12 }, (_, row) => interleavedRow(row, 6));
  expect(rows).toEqual([0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
});
