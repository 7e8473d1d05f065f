/**
 * From the `config.json` of a Hugging Face checkpoint to a decoder's switches. What an architecture is lies in `ARCHITECTURES`:
 * which keys it knows, and what they say. Defaults of absent keys are those of the transformers library.
 */
import { type CheckpointForm, LLAMA_FORM } from './checkpoint-form.ts';
import { ConfigError, type DecoderConfig, decoderConfig, type RopeConfig } from './config.ts';
import { type ConfigJson, type ConfigReader, configReader } from './config-reader.ts';
import { checkWholeHeadTurns, globalRope, rotaryDim, slidingRope } from './parse-rope.ts';

/** One kind of checkpoint. */
interface Architecture {
  /** Keys that it understands beside the common ones. */
  readonly keys: readonly string[];
  /** Keys that it understands with some values only: another would change the result. */
  readonly fixed?: Readonly<Record<string, readonly unknown[]>>;
  /** Defaults of absent common keys, where they differ from llama's. */
  readonly defaults?: {
    readonly kvHeads?: number;
    readonly headDim?: number;
    readonly maxPositions?: number;
    readonly tied?: boolean;
    readonly theta?: number;
  };
  /** What differs from a llama of the same sizes. */
  switches(read: ConfigReader, sizes: Sizes): Partial<DecoderConfig>;
  readonly form?: Partial<CheckpointForm>;
}

type Sizes = Pick<DecoderConfig, 'layers' | 'hidden' | 'heads' | 'headDim'>;

/** Keys that say nothing about what the decoder computes. */
// biome-ignore format: a list
const IRRELEVANT = new Set([
  'architectures', 'attention_dropout', 'bos_token_id', 'dtype', 'embd_pdrop', 'eos_token_id', 'hidden_dropout', 'id2label', 'initializer_range',
  'is_llama_config', 'label2id', 'model_type', 'name_or_path', '_name_or_path', 'pad_token_id', 'producer', 'resid_pdrop', 'torch_dtype',
  'transformers_version', 'unk_token_id', 'use_cache', 'cache_implementation', 'transformers.js_config', '_attn_implementation_autoset',
  'attn_implementation', 'auto_map', '_sliding_window_pattern',
]);

/** Keys that every architecture has. */
// biome-ignore format: a list
const COMMON = [
  'vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'num_key_value_heads', 'head_dim',
  'max_position_embeddings', 'rope_theta', 'rope_scaling', 'rope_parameters', 'tie_word_embeddings', 'mobilequant',
];

const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  pretraining_tp: [1],
  rope_interleaved: [false],
  use_bidirectional_attention: [false, null],
  qk_layernorm: [false],
};

const SILU = { silu: 'silu', swish: 'silu' } as const;
const ACTIVATIONS = {
  ...SILU,
  gelu: 'gelu',
  gelu_new: 'gelu-tanh',
  gelu_fast: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
} as const;

const QKV = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];
const ATTENTION = [...QKV, 'self_attn.o_proj'];
const GATED_MLP = ['mlp.w1', 'mlp.w3', 'mlp.w2'];
const NORMS = ['input_layernorm', 'post_attention_layernorm', 'model.norm'];

/** The linears of attention that `attention_bias` gives biases to. */
const attentionBiases = (read: ConfigReader, modules = ATTENTION): string[] =>
  read.flag('attention_bias', false) ? modules : [];

const rms = (read: ConfigReader) => ({ normEpsilon: read.positive('rms_norm_eps', 1e-6) });
const layerNorm = (read: ConfigReader) =>
  ({ norm: 'layer', finalNorm: 'layer', normEpsilon: read.positive('layer_norm_eps', 1e-5) }) as const;

const llama: Architecture = {
  keys: ['hidden_act', 'rms_norm_eps', 'attention_bias', 'mlp_bias'],
  fixed: { sliding_window: [null] },
  switches: (read) => ({
    ...rms(read),
    activation: read.oneOf('hidden_act', SILU, 'silu'),
    biases: [...attentionBiases(read), ...(read.flag('mlp_bias', false) ? GATED_MLP : [])],
  }),
};

const mistral: Architecture = {
  keys: ['hidden_act', 'rms_norm_eps', 'sliding_window'],
  fixed: { attention_bias: [false, null] },
  defaults: { kvHeads: 8, maxPositions: 131072 },
  switches: (read, { layers }) => ({
    ...rms(read),
    activation: read.oneOf('hidden_act', ACTIVATIONS, 'silu'),
    ...slidingIn(read.optional('sliding_window', 4096), () => true, layers),
  }),
};

const qwen2: Architecture = {
  keys: ['hidden_act', 'rms_norm_eps', 'sliding_window', 'use_sliding_window', 'max_window_layers', 'layer_types'],
  defaults: { kvHeads: 32, maxPositions: 32768 },
  fixed: { attention_bias: [true, false, null], use_mrope: [false] }, // their biases are always there
  switches: (read, { layers }) => ({
    ...rms(read),
    activation: read.oneOf('hidden_act', ACTIVATIONS, 'silu'),
    biases: QKV,
    ...qwenWindows(read, layers),
  }),
};

const qwen3: Architecture = {
  ...qwen2,
  fixed: { use_mrope: [false] },
  keys: [...qwen2.keys, 'attention_bias'],
  defaults: { kvHeads: 32, headDim: 128, maxPositions: 32768 },
  switches: (read, sizes) => ({
    ...qwen2.switches(read, sizes),
    biases: attentionBiases(read),
    queryKeyNorms: true,
  }),
};

const gemma: Architecture = {
  keys: ['hidden_act', 'hidden_activation', 'rms_norm_eps', 'attention_bias'],
  defaults: { kvHeads: 16, headDim: 256, maxPositions: 8192, tied: true },
  switches: (read, { hidden }) => ({
    ...rms(read),
    activation: gemmaActivation(read),
    biases: attentionBiases(read),
    embeddingFactor: Math.fround(Math.sqrt(hidden)),
  }),
  form: { normOffset: 1 },
};

/** Two keys; the first configs said 'gelu' in one of them and meant the approximation. */
function gemmaActivation(read: ConfigReader): DecoderConfig['activation'] {
  const meant = read.oneOf('hidden_act', { ...ACTIVATIONS, gelu: 'gelu-tanh' }, 'gelu_pytorch_tanh');
  if (!read.has('hidden_activation')) return meant;
  const said = read.oneOf('hidden_activation', ACTIVATIONS, 'gelu_pytorch_tanh');
  const literal = read.oneOf('hidden_act', ACTIVATIONS, 'gelu_pytorch_tanh');
  if (read.has('hidden_act') && said !== meant && said !== literal)
    throw new ConfigError('hidden_activation', `the same as hidden_act, ${literal}`, read.json['hidden_activation']);
  return said;
}

/** Norms on both sides: in the checkpoint, the one before the MLP has a name of its own. */
const SANDWICH = [
  ['post_attention_layernorm', 'attention_output_layernorm'],
  ['pre_feedforward_layernorm', 'post_attention_layernorm'],
  ['post_feedforward_layernorm', 'mlp_output_layernorm'],
] as const;

const gemma2: Architecture = {
  keys: [
    ...gemma.keys,
    ...['query_pre_attn_scalar', 'attn_logit_softcapping', 'final_logit_softcapping', 'sliding_window', 'layer_types'],
  ],
  defaults: { kvHeads: 4, headDim: 256, maxPositions: 8192, tied: true },
  switches: (read, { layers, hidden }) => ({
    ...rms(read),
    activation: read.oneOf('hidden_activation', ACTIVATIONS, 'gelu_pytorch_tanh'),
    biases: attentionBiases(read),
    embeddingFactor: Math.fround(Math.sqrt(hidden)),
    outputNorms: true,
    scoreFactor: 1 / Math.sqrt(read.positive('query_pre_attn_scalar', 256)),
    ...cap('scoreCap', read.optional('attn_logit_softcapping', 50)),
    ...cap('logitCap', read.optional('final_logit_softcapping', 30)),
    ...slidingIn(read.optional('sliding_window', 4096), layerTypes(read, layers) ?? ((i) => i % 2 === 0), layers),
  }),
  form: { normOffset: 1, renames: [...LLAMA_FORM.renames, ...SANDWICH] },
};

const gemma3: Architecture = {
  ...gemma2,
  keys: [...gemma2.keys, 'rope_local_base_freq', 'sliding_window_pattern'],
  fixed: { attn_logit_softcapping: [null] },
  defaults: { kvHeads: 4, headDim: 256, maxPositions: 131072, tied: true, theta: 1e6 },
  switches: (read, sizes) => {
    const { scoreCap: _, logitCap: __, ...shared } = gemma2.switches(read, sizes);
    const pattern = read.count('sliding_window_pattern', 6);
    const isLocal = layerTypes(read, sizes.layers) ?? ((i: number) => (i + 1) % pattern !== 0);
    return {
      ...shared,
      queryKeyNorms: true,
      ...cap('logitCap', read.optional('final_logit_softcapping')),
      ...slidingIn(read.optional('sliding_window', 4096), isLocal, sizes.layers, slidingRope(read)),
    };
  },
};

const stablelm: Architecture = {
  keys: [
    'hidden_act',
    'layer_norm_eps',
    'use_qkv_bias',
    'use_parallel_residual',
    'partial_rotary_factor',
    'rotary_scaling_factor',
  ],
  fixed: { rotary_scaling_factor: [1] },
  defaults: { kvHeads: 32, maxPositions: 4096 },
  switches: (read, { headDim }) => {
    const parallel = read.flag('use_parallel_residual', false);
    const norms = NORMS.filter((module) => !parallel || module !== 'post_attention_layernorm');
    return {
      ...layerNorm(read),
      activation: read.oneOf('hidden_act', ACTIVATIONS, 'silu'),
      residual: parallel ? 'parallel' : 'sequential',
      rotaryDim: rotaryDim(read, headDim, 0.25),
      biases: [...norms, ...(read.flag('use_qkv_bias', false) ? QKV : [])],
    };
  },
};

const phi: Architecture = {
  keys: ['hidden_act', 'layer_norm_eps', 'partial_rotary_factor'],
  switches: (read, { headDim }) => ({
    ...layerNorm(read),
    mlp: 'plain',
    activation: read.oneOf('hidden_act', ACTIVATIONS, 'gelu_new'),
    residual: 'parallel',
    rotaryDim: rotaryDim(read, headDim, 0.5),
    biases: ['input_layernorm', 'model.norm', ...ATTENTION, 'mlp.w1', 'mlp.w2', 'lm_head'],
  }),
  form: {
    renames: [
      ['self_attn.dense', 'self_attn.o_proj'],
      ['mlp.fc1', 'mlp.w1'],
      ['mlp.fc2', 'mlp.w2'],
      ['model.final_layernorm', 'model.norm'],
    ],
  },
};

/** What the reference implementation converts all of these to: tensors have the unified names, and every switch is a key. */
const hfmodel: Architecture = {
  // biome-ignore format: a list
  keys: [
    'hidden_act', 'layer_norm_eps', 'norm_class', 'num_linears_per_mlp', 'shared_attention_norm', 'parallel_residual', 'normalize_embed',
    'attention_bias', 'use_qkv_bias_only', 'mlp_bias', 'partial_rotary_factor', 'sliding_window', 'l2norm_as_rmsnorm',
    'static_causal_mask', 'use_matmul_as_module', 'use_megablocks', 'output_router_logits', 'router_aux_loss_coef', 'num_experts_per_tok',
    // Of the configs that it converts; it does not read them.
    'rms_norm_eps', 'hidden_activation', 'use_qkv_bias', 'use_parallel_residual', 'rotary_scaling_factor',
  ],
  fixed: {
    num_local_experts: [1],
    rope_scaling: [null], // checked there, and never computed
    attn_implementation: ['eager', 'sdpa', 'flash_attention_2'],
  },
  switches(read, { hidden, headDim, layers }) {
    const shared = read.flag('shared_attention_norm', false);
    const parallel = read.flag('parallel_residual', false);
    if (shared !== parallel)
      throw new ConfigError('parallel_residual', `${shared}, like shared_attention_norm`, parallel);
    const gated = read.count('num_linears_per_mlp', 3) === 3;
    const kind = read.oneOf('norm_class', { rmsnorm: 'rms', skiprms: 'rms', layernorm: 'layer' }, 'rmsnorm');
    const norms = NORMS.filter((module) => !parallel || module !== 'post_attention_layernorm');
    const window = read.optional('sliding_window');
    return {
      ...layerNorm(read),
      ...(kind === 'rms' && {
        norm: read.flag('l2norm_as_rmsnorm', false) ? 'l2' : 'epsilon',
        finalNorm: 'epsilon',
      }),
      mlp: gated ? 'gated' : 'plain',
      activation: read.oneOf('hidden_act', ACTIVATIONS, 'gelu_new'),
      residual: parallel ? 'parallel' : 'sequential',
      rotaryDim: rotaryDim(read, headDim, 1),
      embeddingFactor: read.flag('normalize_embed', false) ? Math.fround(Math.sqrt(hidden)) : 1,
      biases: [
        ...(kind === 'layer' ? norms : []),
        ...attentionBiases(read, read.flag('use_qkv_bias_only', false) ? QKV : ATTENTION),
        ...(read.flag('mlp_bias', false) ? [...GATED_MLP.filter((m) => gated || m !== 'mlp.w3'), 'lm_head'] : []),
      ],
      ...(window !== undefined && slidingIn(window + 1, () => true, layers)), // its mask leaves one token more
    };
  },
  form: { renames: [] },
};

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  llama,
  mistral,
  qwen2,
  qwen3,
  gemma,
  gemma2,
  gemma3_text: gemma3,
  stablelm,
  phi,
  hfmodel,
};

/** The `model_type`s that are covered. */
export const modelTypes: readonly string[] = Object.keys(ARCHITECTURES);

/**
 * Reads the `config.json` of a Hugging Face checkpoint, or of one that the reference implementation converted.
 *
 * @throws ConfigError for an architecture that is not covered, a value out of range, or a key that would change the
 *   result and is not understood.
 */
export function parseConfig(json: unknown): DecoderConfig {
  const { architecture, read } = open(json);
  checkKeys(read.json, architecture);
  const { defaults = {} } = architecture;
  const heads = read.count('num_attention_heads');
  const hidden = read.count('hidden_size');
  const sizes = {
    layers: read.count('num_hidden_layers'),
    hidden,
    heads,
    headDim: read.count('head_dim', defaults.headDim ?? hidden / heads),
  };
  const absent = read.json['num_key_value_heads'] === undefined;
  const config = decoderConfig({
    ...sizes,
    kvHeads: read.count('num_key_value_heads', (absent && defaults.kvHeads) || heads),
    ffn: read.count('intermediate_size'),
    vocab: read.count('vocab_size'),
    maxPositions: read.count('max_position_embeddings', defaults.maxPositions ?? 2048),
    tiedEmbeddings: read.flag('tie_word_embeddings', defaults.tied ?? false),
    rope: globalRope(read, defaults.theta ?? 10000),
    prefix: prefixOf(read),
    ...architecture.switches(read, sizes),
  });
  if (!architecture.keys.includes('partial_rotary_factor')) checkWholeHeadTurns(read);
  const { kvHeads, rotaryDim } = config;
  if (heads % kvHeads !== 0) throw new ConfigError('num_key_value_heads', `a divisor of ${heads}`, kvHeads);
  if (rotaryDim % 2 !== 0) {
    const partial = rotaryDim !== config.headDim;
    throw new ConfigError(
      partial ? 'partial_rotary_factor' : 'head_dim',
      'such that an even number of channels turns',
      rotaryDim,
    );
  }
  return config;
}

/**
 * How a checkpoint of this config names and stores its tensors.
 *
 * @throws ConfigError for an architecture that is not covered.
 */
export function checkpointForm(json: unknown): CheckpointForm {
  const { architecture, read } = open(json);
  const offset = read.json['norm_class'] === 'skiprms' ? { normOffset: 1 } : {};
  return { ...LLAMA_FORM, ...architecture.form, ...offset };
}

function open(json: unknown): { architecture: Architecture; read: ConfigReader } {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new ConfigError('the file', 'an object', json);
  const type = (json as ConfigJson)['model_type'];
  const architecture = typeof type === 'string' && Object.hasOwn(ARCHITECTURES, type) && ARCHITECTURES[type];
  if (!architecture) {
    const covered = modelTypes.map((name) => `'${name}'`).join(', ');
    throw new ConfigError('model_type', `one of ${covered}`, type, 'Other architectures are not covered.');
  }
  return { architecture, read: configReader(json as ConfigJson) };
}

function checkKeys(config: ConfigJson, { keys, fixed }: Architecture): void {
  const allowedValues = { ...FIXED, ...fixed };
  const understood = new Set([...COMMON, ...keys]);
  for (const [key, value] of Object.entries(config)) {
    const allowed = Object.hasOwn(allowedValues, key) ? allowedValues[key] : undefined;
    if (allowed && !allowed.includes(value))
      throw new ConfigError(key, allowed.map((v) => JSON.stringify(v)).join(' or '), value);
    if (!allowed && !understood.has(key) && !IRRELEVANT.has(key)) {
      const advice = 'It may change what the model computes; remove it if it does not.';
      throw new ConfigError(key, 'a key that is understood', value, advice);
    }
  }
}

/** The prefix of a model that was written here; Hugging Face's configs have no place for it. */
function prefixOf(read: ConfigReader): readonly number[] {
  const prefix = read.inside('mobilequant')?.json['prefix'] ?? [];
  const vocab = read.count('vocab_size');
  const isToken = (id: unknown): boolean => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocab;
  if (Array.isArray(prefix) && prefix.every(isToken)) return prefix;
  throw new ConfigError('mobilequant.prefix', `token ids below ${vocab}`, prefix);
}

const cap = (key: 'scoreCap' | 'logitCap', value: number | undefined): Partial<DecoderConfig> =>
  value === undefined ? {} : { [key]: value };

function slidingIn(
  window: number | undefined,
  slides: (layer: number) => boolean,
  layers: number,
  rope?: RopeConfig,
): Pick<DecoderConfig, 'sliding'> | undefined {
  if (window === undefined) return undefined;
  if (!Number.isInteger(window)) throw new ConfigError('sliding_window', 'a positive integer', window);
  const which = Array.from({ length: layers }, (_, layer) => slides(layer));
  if (!which.includes(true)) return undefined;
  return { sliding: { window, layers: which, ...(rope && { rope }) } };
}

/** What the list of layer types says of a layer: whether its attention slides. */
function layerTypes({ json }: ConfigReader, layers: number): ((layer: number) => boolean) | undefined {
  const types = json['layer_types'];
  if (types == null) return undefined;
  const known = ['full_attention', 'sliding_attention'];
  if (!Array.isArray(types) || types.length !== layers || types.some((type) => !known.includes(type)))
    throw new ConfigError('layer_types', `'full_attention' or 'sliding_attention' for each of ${layers} layers`, types);
  return (layer) => types[layer] === 'sliding_attention';
}

function qwenWindows(read: ConfigReader, layers: number): Pick<DecoderConfig, 'sliding'> | undefined {
  const types = layerTypes(read, layers);
  if (!read.flag('use_sliding_window', false)) {
    const listed = Array.from({ length: layers }, (_, i) => types?.(i) ?? false);
    if (listed.includes(true))
      throw new ConfigError('use_sliding_window', 'true, as layer_types has sliding layers', false);
    return undefined;
  }
  const first = read.json['max_window_layers'] === 0 ? 0 : read.count('max_window_layers', 28);
  return slidingIn(read.optional('sliding_window', 4096), types ?? ((i) => i >= first), layers);
}
