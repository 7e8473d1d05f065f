/**
 * A decoder's config as the reference implementation says it: `model_type: "hfmodel"`, a key for every switch that it has.
 * Whether that is all of the decoder is not listed here but tried: what is written is parsed again, and must be what was given.
 */
import type { JsonObject, JsonValue } from '@mobilequant/checkpoint/node';
import { type DecoderConfig, parseConfig } from '@mobilequant/core';

/** A model, or a part of it, that the reference implementation's files cannot say. */
export class ReferenceFormError extends Error {
  override readonly name = 'ReferenceFormError';
  /** A switch, a tensor or a site. */
  readonly what: string;

  constructor(what: string, expected: string, received: string, advice: string) {
    super(`reference form, ${what}: expected ${expected}, got ${received}. ${advice}`);
    this.what = what;
  }
}

/** Keys of the original config that say nothing about what is computed, and stay. */
const KEPT = ['bos_token_id', 'eos_token_id', 'pad_token_id', 'initializer_range', 'torch_dtype', 'dtype'];

const ACTIVATIONS = { silu: 'silu', gelu: 'gelu', 'gelu-tanh': 'gelu_pytorch_tanh' } as const;

/**
 * The reference's `config.json` of a decoder. Biases are those of whole groups of linears: q, k, v with or without o, and the MLP
 * with the head.
 *
 * @param original the config that the model came with.
 * @throws ReferenceFormError for a switch that the reference does not have.
 */
export function referenceConfig(config: DecoderConfig, original: JsonObject): JsonObject {
  const { hidden, heads, headDim, biases } = config;
  const biased = (...modules: string[]) => modules.some((module) => biases.includes(module));
  const output = biased('self_attn.o_proj');
  const json: Record<string, JsonValue> = {
    architectures: ['HFForCausalLM'],
    model_type: 'hfmodel',
    ...Object.fromEntries(KEPT.flatMap((key) => (original[key] === undefined ? [] : [[key, original[key]]]))),
    vocab_size: config.vocab,
    hidden_size: hidden,
    intermediate_size: config.ffn,
    head_dim: headDim === hidden / heads ? null : headDim,
    num_hidden_layers: config.layers,
    num_attention_heads: heads,
    num_key_value_heads: config.kvHeads,
    max_position_embeddings: config.maxPositions,
    tie_word_embeddings: config.tiedEmbeddings,
    rope_theta: config.rope.theta,
    rope_scaling: null,
    partial_rotary_factor: factorOf(config.rotaryDim, headDim),
    hidden_act: ACTIVATIONS[config.activation],
    norm_class: config.norm === 'layer' ? 'layernorm' : 'rmsnorm',
    layer_norm_eps: config.normEpsilon,
    l2norm_as_rmsnorm: config.norm === 'l2',
    num_linears_per_mlp: config.mlp === 'gated' ? 3 : 2,
    shared_attention_norm: config.residual === 'parallel',
    parallel_residual: config.residual === 'parallel',
    normalize_embed: config.embeddingFactor !== 1,
    attention_bias: output || biased('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'),
    use_qkv_bias_only: !output,
    mlp_bias: biased('mlp.w1', 'mlp.w3', 'mlp.w2', 'lm_head'),
    qk_layernorm: false,
    sliding_window: null,
    num_local_experts: 1,
    num_experts_per_tok: 1,
  };
  checkSame(config, parseConfig(json));
  return json;
}

/** The share of a head's channels that turn; the reference multiplies it out again, and truncates. */
function factorOf(turning: number, headDim: number): number {
  const factor = turning / headDim;
  return Math.trunc(factor * headDim) === turning ? factor : (turning + 0.5) / headDim;
}

function checkSame(wanted: DecoderConfig, said: DecoderConfig): void {
  const keys = new Set([...Object.keys(wanted), ...Object.keys(said)] as (keyof DecoderConfig)[]);
  keys.delete('biases'); // a group of linears has them where one has
  for (const key of keys) {
    const [expected, received] = [said, wanted].map((config) => JSON.stringify(config[key]) ?? 'nothing');
    if (expected === received) continue;
    const advice = 'The reference implementation has no switch for it.';
    throw new ReferenceFormError(key, expected as string, received as string, advice);
  }
}
