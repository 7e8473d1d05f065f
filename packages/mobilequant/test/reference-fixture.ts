/**
 * A quantized model as the reference implementation publishes one, written by hand: names, keys and settings are those of its
 * code, and nothing here uses what reads or writes them.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TensorSource, writeSafetensors } from '@mobilequant/checkpoint/node';
import { mulberry32 } from '@mobilequant/core';

/** What differs between the reference's three models. */
export interface ReferenceKind {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly norm: 'rmsnorm' | 'layernorm';
  readonly activation: 'silu' | 'gelu_pytorch_tanh';
  readonly tied: boolean;
  readonly config: Readonly<Record<string, unknown>>;
}

const llama: ReferenceKind = {
  ...{ heads: 4, kvHeads: 2, headDim: 8, norm: 'rmsnorm', activation: 'silu', tied: false },
  config: {},
};
const gemma: ReferenceKind = {
  ...{ heads: 4, kvHeads: 1, headDim: 12, norm: 'rmsnorm', activation: 'gelu_pytorch_tanh', tied: true },
  config: { head_dim: 12, normalize_embed: true, layer_norm_eps: 1e-6 },
};
const stablelm: ReferenceKind = {
  ...{ heads: 4, kvHeads: 4, headDim: 8, norm: 'layernorm', activation: 'silu', tied: false },
  config: { attention_bias: true, use_qkv_bias_only: true, partial_rotary_factor: 0.25 },
};

export const KINDS: { readonly llama: ReferenceKind; readonly gemma: ReferenceKind; readonly stablelm: ReferenceKind } =
  {
    llama,
    gemma,
    stablelm,
  };

export const [HIDDEN, FFN, VOCAB, LAYERS] = [32, 48, 31, 2] as const;

/** A site's settings: bits, per channel, symmetric. */
type Settings = readonly [bits: number, perChannel?: boolean, symmetric?: boolean];

/** Of the modules of a layer, by port; the paper's W4A8. */
export function layerSettings({ activation }: ReferenceKind): Record<string, Record<string, Settings>> {
  const weight = [4, true] as const;
  return {
    input_layernorm: { input: [16], weight: [16, true], output: [8] },
    'self_attn.q_proj': { weight, output: [8] },
    'self_attn.k_proj': { weight, output: [8] },
    'self_attn.v_proj': { weight, output: [8] },
    'self_attn.qk_bmm': { input: [8], input2: [8], output: [16] },
    'self_attn.pv_bmm': { input: [16], input2: [8], output: [8] },
    'self_attn.o_proj': { weight, output: [16] },
    post_attention_layernorm: { input: [16], weight: [16, true], output: [8] },
    'mlp.w1': { weight, output: [8] },
    'mlp.w3': { weight: [4, true, true], output: [8, false, true] },
    'mlp.act_fn': activation === 'silu' ? { input2: [8], output: [8] } : { output: [8] },
    'mlp.w2': { input: [8], weight: [8], output: [32] },
  };
}

/** The files beside weights, as they are written. */
export interface ReferenceFiles {
  readonly config: Record<string, unknown>;
  readonly settings: Record<string, Record<string, Record<string, string>>>;
  readonly ranges: Record<string, Record<string, unknown>>;
}

/** Writes a model of random weights and ranges; `change` may spoil its files. */
export async function writeReferenceFixture(
  directory: string,
  kind: ReferenceKind,
  change: (files: ReferenceFiles) => void = () => {},
): Promise<ReferenceFiles> {
  await mkdir(directory, { recursive: true });
  const random = mulberry32(11);
  const files: ReferenceFiles = { config: configOf(kind), settings: {}, ranges: {} };
  for (let layer = 0; layer < LAYERS; layer++) {
    for (const [module, its] of Object.entries(layerSettings(kind))) {
      const name = `model.layers.${layer}.${module}`;
      files.settings[name] = Object.fromEntries(
        Object.entries(its).map(([port, [bits, perChannel = false, symmetric = false]]) => [
          port,
          {
            bitwidth: String(bits),
            group_size: '-1',
            is_symmetric: symmetric ? 'True' : 'False',
            is_per_channel: perChannel ? 'True' : 'False',
            is_dynamic: 'False',
          },
        ]),
      );
      // Calibrated ranges have every input and output, and none of the sigmoid.
      const ports = module.endsWith('_bmm') ? ['input', 'input2', 'output'] : ['input', 'output'];
      files.ranges[name] = Object.fromEntries(ports.map((port) => [port, [-1 - 4 * random(), 1 + 5 * random()]]));
      if (module.endsWith('pv_bmm')) Object.assign(files.ranges[name] as object, { input: [0, 1] });
    }
  }
  files.ranges['model.norm'] = { input: [-9, 9], output: [-4, 4] };
  files.ranges['lm_head'] = { input: [-4, 4], output: [-20, 30] };
  change(files);
  const json = { 'config.json': files.config, 'default_qcfg.json': files.settings, 'act_dict.json': files.ranges };
  for (const [name, value] of Object.entries(json))
    await writeFile(join(directory, name), JSON.stringify(value, null, 4));
  await writeSafetensors(join(directory, 'model.safetensors'), tensorsOf(kind, random));
  return files;
}

function configOf({ heads, kvHeads, norm, activation, tied, config }: ReferenceKind): Record<string, unknown> {
  return {
    _name_or_path: 'converted',
    architectures: ['HFForCausalLM'],
    attention_bias: false,
    attention_dropout: 0.0,
    bos_token_id: 1,
    eos_token_id: 2,
    head_dim: null,
    hidden_act: activation,
    hidden_size: HIDDEN,
    initializer_range: 0.02,
    intermediate_size: FFN,
    l2norm_as_rmsnorm: true,
    layer_norm_eps: 1e-5,
    max_position_embeddings: 64,
    mlp_bias: false,
    model_type: 'hfmodel',
    norm_class: norm,
    normalize_embed: false,
    num_attention_heads: heads,
    num_experts_per_tok: 1,
    num_hidden_layers: LAYERS,
    num_key_value_heads: kvHeads,
    num_linears_per_mlp: 3,
    num_local_experts: 1,
    output_router_logits: false,
    parallel_residual: false,
    partial_rotary_factor: 1.0,
    qk_layernorm: false,
    resid_pdrop: 0.0,
    rope_scaling: null,
    rope_theta: 10000.0,
    router_aux_loss_coef: 0.001,
    shared_attention_norm: false,
    sliding_window: null,
    static_causal_mask: false,
    tie_word_embeddings: tied,
    torch_dtype: 'float32',
    transformers_version: '4.41.0',
    use_cache: true,
    use_matmul_as_module: true,
    use_megablocks: false,
    use_qkv_bias_only: false,
    vocab_size: VOCAB,
    ...config,
  };
}

function tensorsOf({ heads, kvHeads, headDim, norm, tied }: ReferenceKind, random: () => number): TensorSource[] {
  const tensor = (name: string, ...shape: number[]): TensorSource => {
    const about = name.endsWith('norm.weight') ? 1 : 0;
    const size = shape.length === 1 ? 0.3 : 1.5 / Math.sqrt(shape[1] as number);
    const data = Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => about + size * (2 * random() - 1),
    );
    return { name, dtype: 'float32', shape, data: () => data };
  };
  const withBias = (there: boolean, name: string, ...shape: number[]) => [
    tensor(`${name}.weight`, ...shape),
    ...(there ? [tensor(`${name}.bias`, shape[0] as number)] : []),
  ];
  const layerNorm = norm === 'layernorm';
  const layers = Array.from({ length: LAYERS }, (_, layer) => {
    const at = (module: string) => `model.layers.${layer}.${module}`;
    return [
      ...withBias(layerNorm, at('input_layernorm'), HIDDEN),
      ...withBias(layerNorm, at('post_attention_layernorm'), HIDDEN),
      ...withBias(layerNorm, at('self_attn.q_proj'), heads * headDim, HIDDEN),
      ...withBias(layerNorm, at('self_attn.k_proj'), kvHeads * headDim, HIDDEN),
      ...withBias(layerNorm, at('self_attn.v_proj'), kvHeads * headDim, HIDDEN),
      tensor(at('self_attn.o_proj.weight'), HIDDEN, heads * headDim),
      tensor(at('mlp.w1.weight'), FFN, HIDDEN),
      tensor(at('mlp.w3.weight'), FFN, HIDDEN),
      tensor(at('mlp.w2.weight'), HIDDEN, FFN),
    ];
  });
  return [
    tensor('model.embed_tokens.weight', VOCAB, HIDDEN),
    ...layers.flat(),
    ...withBias(layerNorm, 'model.norm', HIDDEN),
    ...(tied ? [] : [tensor('lm_head.weight', VOCAB, HIDDEN)]),
  ];
}
