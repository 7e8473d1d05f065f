import { describe, expect, test } from 'vitest';
import { ConfigError } from './config.ts';
import { parseConfig } from './parse-config.ts';
import { inverseFrequencies, ropeTables } from './rope.ts';

const llama = {
  model_type: 'llama',
  vocab_size: 128,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  hidden_act: 'silu',
};

const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};

function messageOf(json: unknown): string {
  try {
    parseConfig(json);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return 'no error';
}

describe('parseConfig', () => {
  test('reads a llama', () => {
    expect(parseConfig(llama)).toMatchObject({
      layers: 2,
      hidden: 64,
      ffn: 96,
      heads: 4,
      kvHeads: 2,
      headDim: 16,
      vocab: 128,
      rope: { theta: 500000 },
      tiedEmbeddings: false,
      norm: 'epsilon',
      scoreScale: 'explicit',
    });
    expect(parseConfig({ ...llama, head_dim: 32, tie_word_embeddings: true })).toMatchObject({
      headDim: 32,
      tiedEmbeddings: true,
    });
  });

  test('reads the prefix of a model that was written here', () => {
    expect(parseConfig({ ...llama, mobilequant: { prefix: [1, 5] } }).prefix).toEqual([1, 5]);
    expect(parseConfig(llama).prefix).toEqual([]);
    expect(messageOf({ ...llama, mobilequant: { prefix: [128] } })).toContain('token ids below 128');
  });

  test('as many key heads as query heads when none are given', () => {
    const { num_key_value_heads: _, ...plain } = llama;
    expect(parseConfig(plain).kvHeads).toBe(4);
  });

  test('reads rope scaling of both generations of transformers', () => {
    const scaling = {
      kind: 'llama3',
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalMaxPositions: 8192,
    };
    expect(parseConfig({ ...llama, rope_scaling: llama3 }).rope).toEqual({ theta: 500000, scaling });
    const { rope_theta: theta, ...others } = llama;
    expect(parseConfig({ ...others, rope_parameters: { ...llama3, rope_theta: theta } }).rope).toEqual({
      theta: 500000,
      scaling,
    });
    expect(parseConfig({ ...llama, rope_scaling: { type: 'linear', factor: 2 } }).rope.scaling).toEqual({
      kind: 'linear',
      factor: 2,
    });
    expect(parseConfig({ ...llama, rope_scaling: null }).rope).toEqual({ theta: 500000 });
  });

  test('refuses, naming the key, what it expected, and what it got', () => {
    expect(messageOf({ ...llama, model_type: 'mamba' })).toMatchInlineSnapshot(
      `"config.json: expected model_type to be one of 'llama', 'mistral', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3_text', 'stablelm', 'phi', 'hfmodel', got "mamba". Other architectures are not covered."`,
    );
    expect(messageOf({ ...llama, attention_sinks: 4 })).toMatchInlineSnapshot(
      `"config.json: expected attention_sinks to be a key that is understood, got 4. It may change what the model computes; remove it if it does not."`,
    );
    expect(messageOf({ ...llama, hidden_act: 'gelu' })).toMatchInlineSnapshot(
      `"config.json: expected hidden_act to be 'silu' or 'swish', got "gelu"."`,
    );
    expect(messageOf({ ...llama, num_key_value_heads: 3 })).toMatchInlineSnapshot(
      `"config.json: expected num_key_value_heads to be a divisor of 4, got 3."`,
    );
    expect(messageOf({ ...llama, head_dim: 15 })).toMatchInlineSnapshot(
      `"config.json: expected head_dim to be such that an even number of channels turns, got 15."`,
    );
    expect(messageOf({ ...llama, vocab_size: '128' })).toMatchInlineSnapshot(
      `"config.json: expected vocab_size to be a positive integer, got "128"."`,
    );
    expect(messageOf({ ...llama, num_attention_heads: 3, num_key_value_heads: 1 })).toMatchInlineSnapshot(
      `"config.json: expected head_dim to be a positive integer, got undefined."`,
    );
    expect(messageOf({ ...llama, rope_scaling: { rope_type: 'yarn', factor: 4 } })).toMatchInlineSnapshot(
      `"config.json: expected rope_scaling.rope_type to be 'default' or 'linear' or 'llama3', got "yarn"."`,
    );
    expect(messageOf({ ...llama, rope_scaling: { ...llama3, factor: 0 } })).toMatchInlineSnapshot(
      `"config.json: expected rope_scaling.factor to be a positive number, got 0."`,
    );
    expect(messageOf([])).toMatchInlineSnapshot(`"config.json: expected the file to be an object, got []."`);
  });
});

describe('what would be computed differently is refused by name', () => {
  const { rms_norm_eps: _, ...sizes } = llama;
  const nested = (kind: string, value: object) => ({
    rope_parameters: {
      full_attention: { rope_type: 'default' },
      sliding_attention: { rope_type: 'default' },
      [kind]: value,
    },
  });

  // biome-ignore format: a table
  test.each([
    ['mixtral', 'model_type', {}],
    ['phi3', 'model_type', {}],
    ['gpt2', 'model_type', {}],
    ['falcon', 'model_type', {}],
    ['qwen2_moe', 'model_type', {}],
    ['gemma3', 'model_type', { text_config: { model_type: 'gemma3_text' }, vision_config: {} }],
    ['constructor', 'model_type', {}],
    ['llama', 'rope_scaling.rope_type', { rope_scaling: { rope_type: 'yarn', factor: 4 } }],
    ['llama', 'rope_scaling.rope_type', { rope_scaling: { rope_type: 'longrope', short_factor: [1], long_factor: [2] } }],
    ['llama', 'rope_scaling.rope_type', { rope_scaling: { rope_type: 'dynamic', factor: 2 } }],
    ['qwen2', 'rope_scaling.type', { rope_scaling: { type: 'yarn', factor: 4 } }],
    ['qwen2', 'rope_scaling.type', { rope_scaling: { type: 'mrope', mrope_section: [16, 24, 24] } }],
    ['llama', 'quantization_config', { quantization_config: { quant_method: 'gptq', bits: 4 } }],
    ['gemma2', 'quantization_config', { quantization_config: { quant_method: 'bitsandbytes' } }],
    ['qwen2', 'dual_chunk_attention_config', { dual_chunk_attention_config: { chunk_size: 8192 } }],
    ['qwen2', 'use_sliding_window', { layer_types: ['full_attention', 'sliding_attention'] }],
    ['qwen3', 'num_experts', { num_experts: 8 }],
    ['stablelm', 'qk_layernorm', { qk_layernorm: true }],
    ['phi', 'qk_layernorm', { qk_layernorm: true }],
    ['phi', 'partial_rotary_factor', { partial_rotary_factor: 0.45 }], // 7 channels
    ['llama', 'partial_rotary_factor', { partial_rotary_factor: 0.5 }],
    ['llama', 'sliding_window', { sliding_window: 128 }],
    ['llama', 'logits_scaling', { logits_scaling: 8 }],
    ['mistral', 'sliding_window', { sliding_window: 2.5 }],
    ['gemma', 'hidden_activation', { hidden_activation: 'relu' }],
    ['gemma3_text', 'use_bidirectional_attention', { use_bidirectional_attention: true }],
    ['gemma3_text', 'attn_logit_softcapping', { attn_logit_softcapping: 50 }],
    ['gemma3_text', 'layer_types', { layer_types: ['chunked_attention', 'full_attention'] }],
    ['gemma2', 'layer_types', { layer_types: ['full_attention'] }],
    ['mistral', 'sliding_window', { sliding_window: 0 }],
    ['gemma2', 'final_logit_softcapping', { final_logit_softcapping: 0 }],
    ['llama', 'rope_parameters.partial_rotary_factor', { rope_parameters: { partial_rotary_factor: 0.5 } }],
    ['llama', 'rope_scaling.type', { rope_scaling: { rope_type: 'default', type: 'linear', factor: 2 } }],
    ['gemma', 'hidden_activation', { hidden_act: 'silu', hidden_activation: 'gelu_pytorch_tanh' }],
    ['gemma3_text', 'rope_parameters.sliding_attention.rope_type', nested('sliding_attention', { rope_type: 'yarn' })],
    ['gemma3_text', 'rope_parameters.full_attention.rope_type', nested('full_attention', { rope_type: 'yarn', factor: 2 })],
  ] as const)('%s: %s', (type, key, keys) => {
    const { hidden_act: __, ...plain } = sizes;
    const given = { ...plain, model_type: type, ...keys };
    expect(() => parseConfig(given)).toThrow(expect.objectContaining({ name: 'ConfigError', key }));
  });
});

describe('rotary frequencies', () => {
  /** As transformers' `_compute_llama3_parameters` says it, with wavelengths. */
  const slow = (i: number, headDim: number): number => {
    const frequency = 1 / 500000 ** ((2 * i) / headDim);
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < 8192 / 4) return frequency;
    if (wavelength > 8192 / 1) return frequency / 8;
    const smooth = (8192 / wavelength - 1) / (4 - 1);
    return ((1 - smooth) * frequency) / 8 + smooth * frequency;
  };

  test('of llama 3 equal the formula: low ones are divided, high ones kept, those between blended', () => {
    const { rope } = parseConfig({ ...llama, rope_scaling: llama3 });
    const frequencies = inverseFrequencies(rope, 64);
    const plain = inverseFrequencies({ theta: rope.theta }, 64);
    const ratios = [...frequencies].map((f, i) => f / (plain[i] as number));
    expect(ratios.filter((r) => Math.abs(r - 1) < 1e-6).length).toBeGreaterThan(3);
    expect(ratios.filter((r) => Math.abs(r - 1 / 8) < 1e-6).length).toBeGreaterThan(3);
    expect(ratios.filter((r) => r > 0.13 && r < 0.99).length).toBeGreaterThan(1);
    frequencies.forEach((f, i) => expect(Math.abs(f / slow(i, 64) - 1)).toBeLessThan(1e-6));
  });

  test('scaled linearly are those of positions that many times closer', () => {
    const half = inverseFrequencies({ theta: 10000, scaling: { kind: 'linear', factor: 2 } }, 16);
    const full = inverseFrequencies({ theta: 10000 }, 16);
    expect([...half]).toEqual([...full].map((f) => Math.fround(f / 2)));
  });

  test('give tables that start anywhere, with the first half of the sines negated', () => {
    const config = parseConfig(llama);
    const [all, later] = [ropeTables(config, 6), ropeTables(config, 2, 4)];
    expect([...later.cos]).toEqual([...all.cos.subarray(4 * 16)]);
    expect([...later.sin]).toEqual([...all.sin.subarray(4 * 16)]);
    for (let i = 0; i < 8; i++) expect(all.sin[16 + i]).toBe(-(all.sin[16 + i + 8] as number));
    expect(all.cos[16]).toBeCloseTo(Math.cos(1), 7);
  });
});

test('the reference’s config says every switch by a key', () => {
  const sizes = {
    ...{ model_type: 'hfmodel', hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4 },
    ...{ num_key_value_heads: 1, head_dim: 24, vocab_size: 128, hidden_act: 'gelu', static_causal_mask: true },
  };
  expect(parseConfig({ ...sizes, normalize_embed: true, l2norm_as_rmsnorm: true, tie_word_embeddings: true })).toEqual(
    expect.objectContaining({
      ...{ headDim: 24, kvHeads: 1, rotaryDim: 24, embeddingFactor: 8, tiedEmbeddings: true, activation: 'gelu' },
      ...{ norm: 'l2', finalNorm: 'epsilon', normEpsilon: 1e-5, mlp: 'gated', residual: 'sequential', biases: [] },
    }),
  );
  const phi = { norm_class: 'layernorm', num_linears_per_mlp: 2, shared_attention_norm: true, parallel_residual: true };
  const biases = { attention_bias: true, use_qkv_bias_only: true, mlp_bias: true };
  expect(parseConfig({ ...sizes, ...phi, ...biases, partial_rotary_factor: 0.5, sliding_window: 8 })).toEqual(
    expect.objectContaining({
      ...{
        norm: 'layer',
        mlp: 'plain',
        residual: 'parallel',
        rotaryDim: 12,
        sliding: { window: 9, layers: [true, true] },
      },
      biases: [
        ...['input_layernorm', 'model.norm', 'self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
        ...['mlp.w1', 'mlp.w2', 'lm_head'],
      ],
    }),
  );
  expect(() => parseConfig({ ...sizes, rope_scaling: { type: 'linear', factor: 2.5 } })).toThrow('rope_scaling');
  expect(() => parseConfig({ ...sizes, num_local_experts: 8 })).toThrow('num_local_experts');
});
