import { describe, expect, test } from 'vitest';
import { bytesOf, file, u32, value } from '../test/gguf-bytes.ts';
import { FormatError } from './errors.ts';
import { type GgufHeader, parseGgufHeader } from './gguf.ts';
import { ggufModel, shortest } from './gguf-config.ts';
import type { JsonObject } from './json.ts';

const EPSILON = { rms: 'attention.layer_norm_rms_epsilon', layer: 'attention.layer_norm_epsilon' };

const LAYERS = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`blk.${i}.attn_norm.weight`, [1]]));

/** A header of an architecture: sizes and what is given, keys by their last part; `undefined` takes one away. */
function headerOf(
  name: string,
  keys: Readonly<Record<string, Uint8Array | undefined>> = {},
  tensors: Readonly<Record<string, readonly number[]>> = {},
  others: Readonly<Record<string, Uint8Array>> = {},
): GgufHeader {
  const all: Record<string, Uint8Array | undefined> = {
    context_length: value.u32(256),
    embedding_length: value.u32(64),
    block_count: value.u32(2),
    feed_forward_length: value.u32(96),
    'attention.head_count': value.u32(4),
    'attention.head_count_kv': value.u32(2),
    [EPSILON[['stablelm', 'phi2'].includes(name) ? 'layer' : 'rms']]: value.f32(1e-5),
    ...keys,
  };
  const entries = Object.entries(all).flatMap(([key, entry]) => (entry ? [[`${name}.${key}`, entry]] : []));
  const bytes = file(
    { 'general.architecture': value.text(name), ...Object.fromEntries(entries), ...others },
    { 'token_embd.weight': [10, 64], ...tensors, ...LAYERS },
  );
  return parseGgufHeader(bytes, bytes.length, 'x.gguf') as GgufHeader;
}

const configOf = (...args: Parameters<typeof headerOf>): JsonObject => ggufModel(headerOf(...args), 'x.gguf').config;

function messageOf(...args: Parameters<typeof headerOf>): string {
  try {
    configOf(...args);
  } catch (error) {
    if (error instanceof FormatError) return error.message;
    throw error;
  }
  return 'no error';
}

const COMMON = {
  vocab_size: 10,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  rope_theta: 10000,
  rope_scaling: null,
  tie_word_embeddings: true,
  torch_dtype: 'float32',
};

describe('a config', () => {
  test('of a llama', () => {
    const others = { 'tokenizer.ggml.bos_token_id': value.u32(1), 'tokenizer.ggml.eos_token_id': value.u32(2) };
    expect(
      configOf('llama', { 'rope.freq_base': value.f32(5e5), 'rope.dimension_count': value.u32(16) }, {}, others),
    ).toEqual({
      ...COMMON,
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      rms_norm_eps: 1e-5,
      rope_theta: 500000,
      hidden_act: 'silu',
      attention_bias: false,
      mlp_bias: false,
      bos_token_id: 1,
      eos_token_id: 2,
    });
    const biased = { 'output.weight': [10, 64], 'blk.0.attn_q.bias': [64], 'blk.0.ffn_up.bias': [96] };
    expect(configOf('llama', { 'attention.head_count_kv': undefined }, biased)).toMatchObject({
      num_key_value_heads: 4,
      tie_word_embeddings: false,
      attention_bias: true,
      mlp_bias: true,
    });
  });

  test('of qwen 2 and 3', () => {
    expect(configOf('qwen2')).toEqual({
      ...COMMON,
      architectures: ['Qwen2ForCausalLM'],
      model_type: 'qwen2',
      rms_norm_eps: 1e-5,
      hidden_act: 'silu',
      use_sliding_window: false,
    });
    const lengths = { 'attention.key_length': value.u32(32), 'attention.value_length': value.u32(32) };
    expect(configOf('qwen3', lengths)).toEqual({
      ...COMMON,
      architectures: ['Qwen3ForCausalLM'],
      model_type: 'qwen3',
      head_dim: 32,
      rms_norm_eps: 1e-5,
      hidden_act: 'silu',
      attention_bias: false,
      use_sliding_window: false,
    });
  });

  test('of gemma 1, 2 and 3', () => {
    expect(configOf('gemma')).toEqual({
      ...COMMON,
      architectures: ['GemmaForCausalLM'],
      head_dim: 16,
      model_type: 'gemma',
      rms_norm_eps: 1e-5,
      hidden_act: 'gelu_pytorch_tanh',
      hidden_activation: 'gelu_pytorch_tanh',
      attention_bias: false,
    });
    const caps = { attn_logit_softcapping: value.f32(40), 'attention.sliding_window': value.u32(32) };
    expect(configOf('gemma2', caps)).toEqual({
      ...COMMON,
      architectures: ['Gemma2ForCausalLM'],
      head_dim: 16,
      model_type: 'gemma2',
      rms_norm_eps: 1e-5,
      hidden_activation: 'gelu_pytorch_tanh',
      attention_bias: false,
      query_pre_attn_scalar: 16,
      attn_logit_softcapping: 40,
      final_logit_softcapping: 30,
      sliding_window: 32,
      layer_types: ['sliding_attention', 'full_attention'],
    });
    const scaled = {
      block_count: value.u32(7),
      'attention.sliding_window': value.u32(32),
      'rope.freq_base': value.f32(1e6),
      'rope.scaling.type': value.text('linear'),
      'rope.scaling.factor': value.f32(8),
    };
    const sliding = 'sliding_attention';
    expect(configOf('gemma3', scaled)).toEqual({
      ...COMMON,
      architectures: ['Gemma3ForCausalLM'],
      head_dim: 16,
      model_type: 'gemma3_text',
      num_hidden_layers: 7,
      rms_norm_eps: 1e-5,
      rope_theta: 1000000,
      rope_local_base_freq: 10000,
      rope_scaling: { rope_type: 'linear', factor: 8 },
      hidden_activation: 'gelu_pytorch_tanh',
      attention_bias: false,
      query_pre_attn_scalar: 16,
      attn_logit_softcapping: null,
      final_logit_softcapping: null,
      sliding_window: 32,
      sliding_window_pattern: 6,
      layer_types: [sliding, sliding, sliding, sliding, sliding, 'full_attention', sliding],
    });
    expect(configOf('gemma3')).toMatchObject({
      sliding_window: null,
      layer_types: ['full_attention', 'full_attention'],
    });
  });

  test('of the largest gemmas, whose scores are scaled by another size', () => {
    const wide = { 'attention.key_length': value.u32(32), 'attention.value_length': value.u32(32) };
    const scalarOf = (name: string, layers: number) =>
      configOf(name, { ...wide, block_count: value.u32(layers) }).query_pre_attn_scalar;
    expect([scalarOf('gemma2', 42), scalarOf('gemma2', 46)]).toEqual([32, 16]);
    expect([scalarOf('gemma3', 48), scalarOf('gemma3', 62)]).toEqual([32, 16]);
  });

  test('of stablelm and phi, of whose heads a part turns', () => {
    const quarter = { 'rope.dimension_count': value.u32(4) };
    const sequential = { 'blk.0.ffn_norm.weight': [64], 'blk.0.attn_q.bias': [64] };
    const stablelm = configOf('stablelm', { ...quarter, use_parallel_residual: value.bool(true) }, sequential);
    expect(stablelm).toEqual({
      ...COMMON,
      architectures: ['StableLmForCausalLM'],
      model_type: 'stablelm',
      layer_norm_eps: 1e-5,
      partial_rotary_factor: 0.25,
      hidden_act: 'silu',
      use_qkv_bias: true,
      use_parallel_residual: false,
    });
    expect(configOf('stablelm', quarter)).toMatchObject({ use_parallel_residual: true, use_qkv_bias: false });
    expect(configOf('phi2', { 'rope.dimension_count': value.u32(6) })).toEqual({
      ...COMMON,
      architectures: ['PhiForCausalLM'],
      model_type: 'phi',
      layer_norm_eps: 1e-5,
      partial_rotary_factor: 0.375,
      hidden_act: 'gelu_new',
    });
  });

  test('gives a part of a head that is the same number of channels again', () => {
    for (const headDim of [24, 49, 80, 96, 98, 120]) {
      const sizes = { 'attention.key_length': value.u32(headDim), 'attention.value_length': value.u32(headDim) };
      for (let turning = 2; turning <= headDim; turning++) {
        const { partial_rotary_factor } = configOf('phi2', { ...sizes, 'rope.dimension_count': value.u32(turning) });
        expect(Math.trunc(headDim * (partial_rotary_factor as number))).toBe(turning);
      }
    }
  });
});

describe("Llama 3's scaling", () => {
  /** As llama.cpp's converter computes it, with wavelengths. */
  const factorsOf = (theta: number, headDim: number, factor: number): Float32Array =>
    Float32Array.from({ length: headDim / 2 }, (_, i) => {
      const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
      if (wavelength < 8192 / 4) return 1;
      if (wavelength > 8192) return factor;
      return 1 / ((1 - (8192 / wavelength - 1) / 3) / factor + (8192 / wavelength - 1) / 3);
    });
  const keys = {
    embedding_length: value.u32(64),
    'attention.key_length': value.u32(64),
    'attention.value_length': value.u32(64),
    'rope.freq_base': value.f32(5e5),
  };
  const scalingOf = (factors: Float32Array) =>
    ggufModel(headerOf('llama', keys), 'x.gguf', factors).config.rope_scaling;

  test.each([8, 32])('by %d is recognized by what it does to the frequencies', (factor) => {
    expect(scalingOf(factorsOf(5e5, 64, factor))).toEqual({
      rope_type: 'llama3',
      factor,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
  });

  test('is not there when nothing is scaled', () => {
    expect(scalingOf(new Float32Array(32).fill(1))).toBeNull();
  });

  test('is the only one: other factors are refused', () => {
    const others = factorsOf(5e5, 64, 8);
    others[20] = 3;
    const message =
      "x.gguf: tensor 'rope_freqs.weight': expected the factors of Llama 3's scaling, got others. They are not covered.";
    expect(() => scalingOf(others)).toThrow(message);
    expect(() => scalingOf(factorsOf(5e5, 32, 8))).toThrow(message);
    expect(() => scalingOf(new Float32Array(32).fill(Number.NaN))).toThrow(message);
  });
});

test('a model that is not covered is refused by name', () => {
  expect(messageOf('mamba')).toMatchInlineSnapshot(
    `"x.gguf: metadata 'general.architecture': expected one of llama, qwen2, qwen3, gemma, gemma2, gemma3, stablelm, phi2, got 'mamba'. Other architectures are not covered."`,
  );
  expect(messageOf('__proto__')).toContain("got '__proto__'");
  expect(messageOf('llama', {}, {}, { 'general.type': value.text('adapter') })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'general.type': expected 'model', got 'adapter'. Name the model itself."`,
  );
  expect(messageOf('llama', {}, {}, { 'split.count': bytesOf(u32(2), Uint8Array.of(3, 0)) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'split.count': expected a model in one file, got 3. Join the parts with llama-gguf-split --merge."`,
  );
});

test('metadata that would change the result is refused by name', () => {
  expect(messageOf('llama', { expert_count: value.u32(8) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.expert_count': expected 0, got 8. It may change what the model computes."`,
  );
  expect(messageOf('llama', { 'rope.scaling.type': value.text('yarn') })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.rope.scaling.type': expected 'none' or 'linear', got 'yarn'. Other kinds are not covered."`,
  );
  expect(messageOf('qwen2', { 'attention.scale': value.f32(2) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'qwen2.attention.scale': expected a key that is understood, got 2. It may change what the model computes."`,
  );
  expect(messageOf('gemma3', { 'attention.causal': value.bool(false) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'gemma3.attention.causal': expected true, got false. It may change what the model computes."`,
  );
  expect(messageOf('llama', { 'attention.value_length': value.u32(8) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.attention.value_length': expected 16, as the keys, got 8. The file is damaged or not what it seems: get it again."`,
  );
  expect(messageOf('llama', { 'rope.dimension_count': value.u32(8) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.rope.dimension_count': expected 16, the size of a head, got 8. The file is damaged or not what it seems: get it again."`,
  );
  expect(messageOf('llama', { 'attention.sliding_window': value.u32(8) })).toContain(
    'expected a key that is understood',
  );
  expect(messageOf('llama', { expert_count: value.u32(0), 'attention.causal': value.bool(true) })).toBe('no error');
  expect(messageOf('llama', {}, {}, { 'qwen2.expert_count': value.u32(8) })).toBe('no error');
});

test('metadata that is missing, or of another kind, is named', () => {
  expect(messageOf('llama', { context_length: undefined })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.context_length': expected a number, got nothing. The file is damaged or not what it seems: get it again."`,
  );
  expect(messageOf('llama', { block_count: value.text('two') })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.block_count': expected a number, got 'two'. The file is damaged or not what it seems: get it again."`,
  );
  expect(messageOf('llama', { 'attention.head_count_kv': value.i32s([2, 2]) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.attention.head_count_kv': expected a number, got a list of 2. The file is damaged or not what it seems: get it again."`,
  );
  expect(messageOf('llama', { block_count: value.f32(Number.NaN) })).toContain('expected a number, got NaN');
  expect(messageOf('llama', { block_count: value.u32(0) })).toContain('expected a whole number from 1, got 0');
  expect(messageOf('llama', { block_count: value.u32(2 ** 31 - 1) })).toContain(
    'expected at most 65, as there are tensors',
  );
  expect(messageOf('llama', { embedding_length: value.u32(32) })).toMatchInlineSnapshot(
    `"x.gguf: metadata 'llama.embedding_length': expected 64, as the embedding, got 32. The file is damaged or not what it seems: get it again."`,
  );
  expect(messageOf('llama', {}, { 'token_embd.weight': [64] })).toMatchInlineSnapshot(
    `"x.gguf: tensor 'token_embd.weight': expected a matrix, got one of shape [64]. The file is damaged or not what it seems: get it again."`,
  );
});

test('numbers in float32 are read as they were written', () => {
  for (const number of [1e-5, 1e-6, 10000, 500000, 0.1, 1 / 3, 1e6, 8, 12345.678]) {
    expect(Math.fround(shortest(Math.fround(number)))).toBe(Math.fround(number));
  }
  expect([1e-5, 1e-6, 0.1, 500000].map((number) => shortest(Math.fround(number)))).toEqual([1e-5, 1e-6, 0.1, 500000]);
});
