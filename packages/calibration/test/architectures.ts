/**
 * Small decoders, one for each combination of switches that checkpoints have. Norms are as the checkpoint says, so that a test
 * chooses the form that it quantizes.
 */
import type { DecoderConfig } from '@mobilequant/core';
import { tinyConfig } from './tiny-layer.ts';

export interface Architecture {
  readonly name: string;
  readonly config: DecoderConfig;
}

const size = { hidden: 16, ffn: 24, layers: 2, norm: 'epsilon' } as const;
const perHead = { heads: 4, kvHeads: 4, headDim: 4 } as const;
const grouped = { heads: 4, kvHeads: 2, headDim: 4 } as const;
const gemma = { tied: true, embeddingFactor: 4, activation: 'gelu-tanh' } as const;
const gemma2 = { ...gemma, ...grouped, headDim: 6, scoreFactor: 0.3, outputNorms: true } as const;
const layerNorm = { norm: 'layer', finalNorm: 'layer', heads: 2, kvHeads: 2, headDim: 8, rotaryDim: 4 } as const;
const normBiases = ['input_layernorm', 'post_attention_layernorm', 'model.norm'];
const queryKeyValue = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];
const everywhere = [
  ...queryKeyValue,
  'self_attn.o_proj',
  'mlp.w1',
  'mlp.w2',
  'input_layernorm',
  'model.norm',
  'lm_head',
];

// biome-ignore format: a table
export const architectures: readonly Architecture[] = [
  { name: 'llama', config: tinyConfig({ ...size, ...grouped }) },
  { name: 'llama, tied', config: tinyConfig({ ...size, ...perHead, tied: true }) },
  { name: 'gemma', config: tinyConfig({ ...size, ...gemma, heads: 4, kvHeads: 1, headDim: 6 }) },
  { name: 'gemma2', config: tinyConfig({ ...size, ...gemma2, scoreCap: 2, logitCap: 4, sliding: { window: 4, layers: [true, false] } }) },
  { name: 'gemma3', config: tinyConfig({ ...size, ...gemma2, queryKeyNorms: true, sliding: { window: 3, layers: [true, false], rope: { theta: 100 } } }) },
  { name: 'qwen2', config: tinyConfig({ ...size, ...grouped, tied: true, biases: queryKeyValue }) },
  { name: 'qwen3', config: tinyConfig({ ...size, ...grouped, headDim: 6, queryKeyNorms: true }) },
  { name: 'stablelm', config: tinyConfig({ ...size, ...layerNorm, biases: [...normBiases, ...queryKeyValue] }) },
  { name: 'stablelm, parallel', config: tinyConfig({ ...size, ...layerNorm, residual: 'parallel', biases: ['input_layernorm', 'model.norm'] }) },
  { name: 'phi', config: tinyConfig({ ...size, ...layerNorm, residual: 'parallel', mlp: 'plain', activation: 'gelu-tanh', biases: everywhere }) },
];

/** One of them. */
export function architecture(name: string): DecoderConfig {
  const found = architectures.find((one) => one.name === name);
  if (!found)
    throw new Error(`architecture: expected one of ${architectures.map((a) => a.name).join(', ')}, got ${name}.`);
  return found.config;
}
