/**
 * From a GGUF file's metadata to the `config.json` of the Hugging Face checkpoint that it was made from.
 *
 * A key of the architecture that is not named here may change what the model computes, so it is refused. What llama.cpp knows
 * of an architecture without being told (gemma's sliding layers, the scale of its largest models) is in its entry.
 */
import { FormatError } from './errors.ts';
import type { GgufHeader, GgufTensor } from './gguf.ts';
import { type GgufMetadata, ggufMetadata } from './gguf-metadata.ts';
import { ggufArchitectures, type ModelSizes } from './gguf-names.ts';
import type { JsonObject, JsonValue } from './json.ts';

/** A model as its GGUF file describes it. */
export interface GgufModel {
  /** Its name in GGUF files. */
  readonly architecture: string;
  /** What its `config.json` would say. */
  readonly config: JsonObject;
  readonly sizes: ModelSizes;
}

/** What an architecture adds to the entries that all have. */
interface Architecture {
  readonly modelType: string;
  readonly className: string;
  readonly norm: 'rms' | 'layer';
  /** Its keys beside the common ones. */
  readonly keys?: readonly string[];
  /** Only a part of each head turns. */
  readonly partialRotary?: true;
  entries(model: Reading): Readonly<Record<string, JsonValue>>;
}

/** What entries are made from. */
interface Reading extends ModelSizes {
  readonly meta: GgufMetadata;
  readonly hidden: number;
  /** The architecture's key by its last part. */
  key(name: string): string;
  hasTensor(name: string): boolean;
}

const GELU_TANH = 'gelu_pytorch_tanh';

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  llama: {
    modelType: 'llama',
    className: 'LlamaForCausalLM',
    norm: 'rms',
    entries: ({ hasTensor }) => ({
      hidden_act: 'silu',
      attention_bias: hasTensor('blk.0.attn_q.bias'),
      mlp_bias: hasTensor('blk.0.ffn_up.bias'),
    }),
  },
  qwen2: {
    modelType: 'qwen2',
    className: 'Qwen2ForCausalLM',
    norm: 'rms',
    entries: () => ({ hidden_act: 'silu', use_sliding_window: false }),
  },
  qwen3: {
    modelType: 'qwen3',
    className: 'Qwen3ForCausalLM',
    norm: 'rms',
    entries: ({ hasTensor }) => ({
      hidden_act: 'silu',
      attention_bias: hasTensor('blk.0.attn_q.bias'),
      use_sliding_window: false,
    }),
  },
  gemma: {
    modelType: 'gemma',
    className: 'GemmaForCausalLM',
    norm: 'rms',
    entries: () => ({ hidden_act: GELU_TANH, hidden_activation: GELU_TANH, attention_bias: false }),
  },
  gemma2: {
    modelType: 'gemma2',
    className: 'Gemma2ForCausalLM',
    norm: 'rms',
    keys: ['attn_logit_softcapping', 'final_logit_softcapping', 'attention.sliding_window'],
    entries: (model) => ({
      hidden_activation: GELU_TANH,
      attention_bias: false,
      query_pre_attn_scalar: queryScalar(model, 46),
      attn_logit_softcapping: shortest(model.meta.number(model.key('attn_logit_softcapping'), 50)),
      final_logit_softcapping: shortest(model.meta.number(model.key('final_logit_softcapping'), 30)),
      sliding_window: model.meta.count(model.key('attention.sliding_window'), 4096),
      layer_types: layerTypes(model.layers, 2),
    }),
  },
  gemma3: {
    modelType: 'gemma3_text',
    className: 'Gemma3ForCausalLM',
    norm: 'rms',
    keys: [
      'attention.sliding_window',
      'attention.sliding_window_pattern',
      'final_logit_softcapping',
      'rope.freq_base_swa',
    ],
    entries: gemma3Entries,
  },
  stablelm: {
    modelType: 'stablelm',
    className: 'StableLmForCausalLM',
    norm: 'layer',
    keys: ['use_parallel_residual'], // says true where nobody knew; llama.cpp goes by the tensors
    partialRotary: true,
    entries: ({ hasTensor }) => ({
      hidden_act: 'silu',
      use_qkv_bias: hasTensor('blk.0.attn_q.bias'),
      use_parallel_residual: !hasTensor('blk.0.ffn_norm.weight'),
    }),
  },
  phi2: {
    modelType: 'phi',
    className: 'PhiForCausalLM',
    norm: 'layer',
    partialRotary: true,
    entries: () => ({ hidden_act: 'gelu_new' }),
  },
};

/** Keys that are understood for every architecture, after its name. */
// biome-ignore format: a list
const COMMON = [
  'vocab_size', 'context_length', 'embedding_length', 'block_count', 'feed_forward_length',
  'attention.head_count', 'attention.head_count_kv', 'attention.key_length', 'attention.value_length',
  'attention.layer_norm_rms_epsilon', 'attention.layer_norm_epsilon', 'rope.dimension_count', 'rope.freq_base',
  'rope.scaling.type', 'rope.scaling.factor', 'rope.scale_linear', 'rope.scaling.original_context_length', 'rope.scaling.finetuned',
];

/** Keys that are understood with one value only: another would change the result. */
const FIXED: Readonly<Record<string, number | boolean | string>> = {
  'attention.causal': true,
  'attention.clamp_kqv': 0,
  'attention.max_alibi_bias': 0,
  expert_count: 0,
  expert_used_count: 0,
  pooling_type: 0,
  'rope.scaling.attn_factor': 1,
  tensor_data_layout: 'Meta AI original pth',
};

/**
 * A model's config from the header of its file.
 *
 * @param ropeFactors - What the frequencies of the rotary embedding are divided by, `[headDim / 2]`: the tensor `rope_freqs.weight`, if there is one.
 * @throws FormatError for an architecture that is not covered, a value that is missing or of the wrong kind, and a key that is not understood.
 */
export function ggufModel(header: GgufHeader, file: string, ropeFactors?: Float32Array): GgufModel {
  const meta = ggufMetadata(header.metadata, file);
  const { name, architecture } = architectureOf(meta);
  const key = (last: string): string => `${name}.${last}`;
  checkKeys(meta, name, architecture);

  const [vocab, hidden] = embeddingShape(header.tensors, file);
  if (hidden !== meta.count(key('embedding_length'))) meta.fail(key('embedding_length'), `${hidden}, as the embedding`);
  const heads = meta.count(key('attention.head_count'));
  const headDim = meta.count(key('attention.key_length'), Math.floor(hidden / heads));
  if (meta.number(key('attention.value_length'), headDim) !== headDim) {
    meta.fail(key('attention.value_length'), `${headDim}, as the keys`);
  }
  const kvHeads = meta.count(key('attention.head_count_kv'), heads);
  const layers = meta.count(key('block_count'));
  if (layers > header.tensors.size)
    meta.fail(key('block_count'), `at most ${header.tensors.size}, as there are tensors`);
  const hasTensor = (tensor: string): boolean => header.tensors.has(tensor);

  const epsilon = architecture.norm === 'rms' ? 'attention.layer_norm_rms_epsilon' : 'attention.layer_norm_epsilon';
  const dtype = storedDtype(header.tensors);
  const config: Record<string, JsonValue> = {
    architectures: [architecture.className],
    model_type: architecture.modelType,
    vocab_size: vocab,
    hidden_size: hidden,
    intermediate_size: meta.count(key('feed_forward_length')),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    ...(headDim * heads === hidden && !/^(qwen3|gemma)/.test(architecture.modelType) ? {} : { head_dim: headDim }), // for these, absent means 128 or 256
    max_position_embeddings: meta.count(key('context_length')),
    [architecture.norm === 'rms' ? 'rms_norm_eps' : 'layer_norm_eps']: shortest(meta.number(key(epsilon))),
    rope_theta: shortest(meta.number(key('rope.freq_base'), 10000)),
    rope_scaling: ropeScaling(meta, key, headDim, ropeFactors),
    ...rotaryEntry(meta, key('rope.dimension_count'), headDim, architecture),
    tie_word_embeddings: !hasTensor('output.weight'),
    ...architecture.entries({ meta, layers, hidden, heads, kvHeads, headDim, key, hasTensor }),
    ...specialTokens(meta),
    torch_dtype: dtype,
  };
  return { architecture: name, config, sizes: { layers, heads, kvHeads, headDim } };
}

function architectureOf(meta: GgufMetadata): { name: string; architecture: Architecture } {
  const name = meta.text('general.architecture');
  const architecture = Object.hasOwn(ARCHITECTURES, name) && ARCHITECTURES[name];
  const cure = 'Other architectures are not covered.';
  if (!architecture) return meta.fail('general.architecture', `one of ${ggufArchitectures.join(', ')}`, cure);
  if (meta.text('general.type', 'model') !== 'model') meta.fail('general.type', "'model'", 'Name the model itself.');
  if (meta.number('split.count', 1) > 1) {
    meta.fail('split.count', 'a model in one file', 'Join the parts with llama-gguf-split --merge.');
  }
  return { name, architecture };
}

function checkKeys(meta: GgufMetadata, name: string, { keys = [] }: Architecture): void {
  const understood = new Set([...COMMON, ...keys]);
  for (const key of meta.keys) {
    if (!key.startsWith(`${name}.`)) continue;
    const last = key.slice(name.length + 1);
    if (understood.has(last)) continue;
    const only = Object.hasOwn(FIXED, last) ? FIXED[last] : undefined;
    const cure = 'It may change what the model computes.';
    if (only === undefined) meta.fail(key, 'a key that is understood', cure);
    else if (meta.get(key) !== only) meta.fail(key, `${JSON.stringify(only)}`, cure);
  }
}

function embeddingShape(tensors: ReadonlyMap<string, GgufTensor>, file: string): [vocab: number, hidden: number] {
  const { shape } = tensors.get('token_embd.weight') ?? { shape: [] };
  const [vocab, hidden] = shape;
  if (shape.length === 2 && vocab !== undefined && hidden !== undefined) return [vocab, hidden];
  const received = shape.length ? `one of shape [${shape.join(', ')}]` : 'none';
  throw new FormatError({ file, where: "tensor 'token_embd.weight'", expected: 'a matrix', received });
}

/** The type of most matrices, if a checkpoint could be stored in it: what was quantized comes from 16 bits. */
function storedDtype(tensors: ReadonlyMap<string, GgufTensor>): string {
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length === 2);
  const all = (type: string) => matrices.length > 0 && matrices.every((tensor) => tensor.type === type);
  if (all('F32')) return 'float32';
  return matrices.some(({ type }) => type === 'BF16') ? 'bfloat16' : 'float16';
}

function specialTokens(meta: GgufMetadata): Record<string, JsonValue> {
  const entries: Record<string, JsonValue> = {};
  for (const [name, key] of [
    ['bos', 'bos'],
    ['eos', 'eos'],
    ['pad', 'padding'],
  ] as const) {
    const id = `tokenizer.ggml.${key}_token_id`;
    if (meta.has(id)) entries[`${name}_token_id`] = meta.number(id);
  }
  return entries;
}

function rotaryEntry(meta: GgufMetadata, key: string, headDim: number, { partialRotary }: Architecture): JsonObject {
  const turning = meta.count(key, headDim);
  if (turning === headDim) return partialRotary ? { partial_rotary_factor: 1 } : {};
  if (!partialRotary || turning > headDim) meta.fail(key, `${headDim}, the size of a head`);
  const factor = turning / headDim;
  // The product is truncated where this is read; it must not fall below the number that it stands for.
  return { partial_rotary_factor: Math.trunc(factor * headDim) === turning ? factor : factor + Number.EPSILON };
}

function ropeScaling(
  meta: GgufMetadata,
  key: (last: string) => string,
  headDim: number,
  factors: Float32Array | undefined,
): JsonValue {
  const type = meta.text(key('rope.scaling.type'), 'linear'); // llama.cpp's default, which without a factor changes nothing
  if (type !== 'none' && type !== 'linear') {
    meta.fail(key('rope.scaling.type'), "'none' or 'linear'", 'Other kinds are not covered.');
  }
  const factor = shortest(meta.number(key('rope.scaling.factor'), meta.number(key('rope.scale_linear'), 1)));
  const scaled = type === 'linear' && factor !== 1 && factor !== 0;
  if (factors?.some((value) => value !== 1)) {
    if (scaled) meta.fail(key('rope.scaling.factor'), '1, as there are factors in rope_freqs.weight');
    return llama3Scaling(meta, shortest(meta.number(key('rope.freq_base'), 10000)), headDim, factors);
  }
  return scaled ? { rope_type: 'linear', factor } : null;
}

/**
 * Llama 3's scaling, of which the file has only the result: what each frequency is divided by. The largest is the factor; the
 * other parameters have been the same in every release, so they are tried.
 */
function llama3Scaling(meta: GgufMetadata, theta: number, headDim: number, factors: Float32Array): JsonValue {
  const factor = shortest(factors.reduce((most, value) => Math.max(most, value), 0));
  const [low, high, original] = [1, 4, 8192];
  const matches =
    factors.length === headDim / 2 &&
    factors.every((received, i) => {
      const turns = (original * theta ** ((-2 * i) / headDim)) / (2 * Math.PI); // in the original context
      const share = Math.min(Math.max((turns - low) / (high - low), 0), 1);
      const expected = 1 / ((1 - share) / factor + share);
      return Math.abs(received - expected) <= 1e-4 * expected;
    });
  if (!matches) {
    const [where, expected] = ["tensor 'rope_freqs.weight'", "the factors of Llama 3's scaling"];
    throw new FormatError({ file: meta.file, where, expected, received: 'others', cure: 'They are not covered.' });
  }
  return {
    rope_type: 'llama3',
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}

function gemma3Entries(model: Reading): Record<string, JsonValue> {
  const { meta, key, layers } = model;
  const slides = meta.has(key('attention.sliding_window'));
  const pattern = slides ? meta.count(key('attention.sliding_window_pattern'), 6) : 1;
  const logits = key('final_logit_softcapping');
  return {
    hidden_activation: GELU_TANH,
    attention_bias: false,
    query_pre_attn_scalar: queryScalar(model, 62),
    attn_logit_softcapping: null,
    final_logit_softcapping: meta.has(logits) ? shortest(meta.number(logits)) : null,
    rope_local_base_freq: shortest(meta.number(key('rope.freq_base_swa'), 10000)),
    sliding_window: slides ? meta.count(key('attention.sliding_window')) : null,
    sliding_window_pattern: pattern,
    layer_types: layerTypes(layers, pattern),
  };
}

/** Each `pattern`-th layer sees everything, the others look back a limited number of tokens. */
const layerTypes = (layers: number, pattern: number): string[] =>
  Array.from({ length: layers }, (_, i) => ((i + 1) % pattern === 0 ? 'full_attention' : 'sliding_attention'));

/** Scores are divided by its square root: a head's size, but in the 27B models (which have so many layers) the hidden size by heads. */
const queryScalar = ({ layers, hidden, heads, headDim }: Reading, layersOf27B: number): number =>
  layers === layersOf27B ? hidden / heads : headDim;

/** The shortest decimal number that is the same in float32: 1e-5 rather than 0.000009999999747378752. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
