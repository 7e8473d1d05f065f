/**
 * The decoder's switches. Differences between architectures are values here, never branches on a name.
 */

/** Frequencies of the rotary embedding; `scaling` as in Hugging Face's `rope_scaling`. */
export interface RopeConfig {
  readonly theta: number;
  readonly scaling?:
    | { readonly kind: 'linear'; readonly factor: number }
    | {
        readonly kind: 'llama3';
        readonly factor: number;
        readonly lowFrequencyFactor: number;
        readonly highFrequencyFactor: number;
        readonly originalMaxPositions: number;
      };
}

export interface DecoderConfig {
  readonly layers: number;
  readonly hidden: number;
  readonly ffn: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  /**
   * How the norms of the layers are computed: `epsilon` is the checkpoint's `x * rsqrt(mean(x²) + ε)`; `l2` is
   * `sqrt(hidden) * x / max(‖x‖, 1e-12)`, the form an NPU has; `l2-folded` is `l2` with sqrt(hidden) already in the weight.
   */
  readonly norm: 'epsilon' | 'l2' | 'l2-folded';
  /** The same for the norm before the head. */
  readonly finalNorm: 'epsilon' | 'l2' | 'l2-folded';
  /** `folded`: 1/sqrt(headDim) is already in the query projection. */
  readonly scoreScale: 'explicit' | 'folded';
  readonly activation: 'silu';
  readonly rope: RopeConfig;
  readonly tiedEmbeddings: boolean;
}

/** A model configuration that is malformed, or that says something this decoder does not compute. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  /** The key of config.json. */
  readonly key: string;
  readonly expected: string;
  readonly received: unknown;

  constructor(key: string, expected: string, received: unknown, advice = '') {
    super(`config.json: expected ${key} to be ${expected}, got ${JSON.stringify(received)}.${advice && ` ${advice}`}`);
    this.key = key;
    this.expected = expected;
    this.received = received;
  }
}

/** Keys that say nothing about what the decoder computes. */
// biome-ignore format: a list
const IRRELEVANT = new Set([
  'architectures', 'attention_dropout', 'bos_token_id', 'dtype', 'eos_token_id', 'initializer_range', 'is_llama_config',
  'name_or_path', '_name_or_path', 'pad_token_id', 'producer', 'torch_dtype', 'transformers_version', 'unk_token_id', 'use_cache',
  'transformers.js_config', '_attn_implementation_autoset', 'auto_map',
]);

/** Keys that are understood with one value only: another would change the result. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  pretraining_tp: [1],
  rope_interleaved: [false],
  hidden_act: ['silu', 'swish'],
  sliding_window: [null],
};

// biome-ignore format: a list
const UNDERSTOOD = new Set([
  'model_type', 'vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'num_key_value_heads',
  'head_dim', 'max_position_embeddings', 'rms_norm_eps', 'rope_theta', 'rope_scaling', 'rope_parameters', 'tie_word_embeddings',
  'attention_bias', 'mlp_bias',
]);

type Json = Readonly<Record<string, unknown>>;

/**
 * Reads the `config.json` of a Hugging Face checkpoint.
 *
 * @throws ConfigError for an architecture that is not covered, a value out of range, or a key that would change the
 *   result and is not understood.
 */
export function parseConfig(json: unknown): DecoderConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new ConfigError('the file', 'an object', json);
  const config = json as Json;
  if (config['model_type'] !== 'llama')
    throw new ConfigError('model_type', "'llama'", config['model_type'], 'Other architectures are not covered.');
  for (const [key, value] of Object.entries(config)) {
    const allowed = FIXED[key];
    if (allowed && !allowed.includes(value))
      throw new ConfigError(key, allowed.map((v) => JSON.stringify(v)).join(' or '), value);
    if (!allowed && !UNDERSTOOD.has(key) && !IRRELEVANT.has(key)) {
      throw new ConfigError(
        key,
        'a key that is understood',
        value,
        'It may change what the model computes; remove it if it does not.',
      );
    }
  }
  const heads = count(config, 'num_attention_heads');
  const kvHeads = count(config, 'num_key_value_heads', heads);
  const hidden = count(config, 'hidden_size');
  const headDim = count(config, 'head_dim', hidden / heads);
  if (heads % kvHeads !== 0) throw new ConfigError('num_key_value_heads', `a divisor of ${heads}`, kvHeads);
  if (headDim % 2 !== 0) throw new ConfigError('head_dim', 'even', headDim);
  return {
    layers: count(config, 'num_hidden_layers'),
    hidden,
    ffn: count(config, 'intermediate_size'),
    heads,
    kvHeads,
    headDim,
    vocab: count(config, 'vocab_size'),
    maxPositions: count(config, 'max_position_embeddings', 2048),
    normEpsilon: positive(config, 'rms_norm_eps', 1e-6),
    norm: 'epsilon',
    finalNorm: 'epsilon',
    scoreScale: 'explicit',
    activation: 'silu',
    rope: ropeConfig(config),
    tiedEmbeddings: config['tie_word_embeddings'] === true,
  };
}

function ropeConfig(config: Json): RopeConfig {
  // transformers 5 moves theta and scaling into one object
  const nested = (config['rope_parameters'] ?? config['rope_scaling'] ?? {}) as Json;
  const theta = positive({ rope_theta: nested['rope_theta'] ?? config['rope_theta'] }, 'rope_theta', 10000);
  const kind = nested['rope_type'] ?? nested['type'] ?? 'default';
  if (kind === 'default') return { theta };
  if (kind === 'linear') return { theta, scaling: { kind, factor: positive(nested, 'factor') } };
  if (kind !== 'llama3') throw new ConfigError('rope_scaling.rope_type', "'default', 'linear' or 'llama3'", kind);
  return {
    theta,
    scaling: {
      kind,
      factor: positive(nested, 'factor'),
      lowFrequencyFactor: positive(nested, 'low_freq_factor'),
      highFrequencyFactor: positive(nested, 'high_freq_factor'),
      originalMaxPositions: positive(nested, 'original_max_position_embeddings'),
    },
  };
}

function positive(config: Json, key: string, otherwise?: number): number {
  const value = config[key] ?? otherwise;
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0)
    throw new ConfigError(key, 'a positive number', config[key]);
  return value;
}

function count(config: Json, key: string, otherwise?: number): number {
  const value = config[key] ?? otherwise;
  if (typeof value !== 'number' || !Number.isInteger(value) || value <= 0)
    throw new ConfigError(key, 'a positive integer', config[key]);
  return value;
}
