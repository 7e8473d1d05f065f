/**
 * The tensors that a decoder of a config has, and those that it may have.
 */
import type { DecoderConfig } from './config.ts';

/** Keys (after rotary embedding) and values of the prefix in a layer, `[kvHeads, prefix, headDim]`. */
export const PREFIX_TENSORS = ['self_attn.prefix_keys', 'self_attn.prefix_values'] as const;

export interface TensorShape {
  /** The unified name. */
  readonly name: string;
  readonly shape: readonly number[];
  /** The decoder computes without it too. */
  readonly optional: boolean;
}

/** One after another, so that a config with absurdly many layers costs nothing before its first layer is looked at. */
export function* decoderTensors(config: DecoderConfig): Generator<TensorShape> {
  const { layers, vocab, hidden, ffn, heads, kvHeads, headDim } = config;
  const [queries, keys] = [heads * headDim, kvHeads * headDim];
  const linears: readonly (readonly [module: string, rows: number, columns: number])[] = [
    ['self_attn.q_proj', queries, hidden],
    ['self_attn.k_proj', keys, hidden],
    ['self_attn.v_proj', keys, hidden],
    ['self_attn.o_proj', hidden, queries],
    ['mlp.w1', ffn, hidden],
    ...(config.mlp === 'gated' ? [['mlp.w3', ffn, hidden] as const] : []),
    ['mlp.w2', hidden, ffn],
  ];
  const norms: readonly (readonly [module: string, channels: number])[] = [
    ['input_layernorm', hidden],
    ...when(config.queryKeyNorms, ['self_attn.q_norm', headDim], ['self_attn.k_norm', headDim]),
    ...when(config.outputNorms, ['attention_output_layernorm', hidden], ['mlp_output_layernorm', hidden]),
    ...when(config.residual === 'sequential', ['post_attention_layernorm', hidden]),
  ];
  const bias = (module: string, name: string, channels: number): TensorShape => ({
    name: `${name}.bias`,
    shape: [channels],
    optional: !config.biases.includes(module),
  });
  const tensor = (name: string, ...shape: readonly number[]): TensorShape => ({ name, shape, optional: false });

  yield tensor('model.embed_tokens.weight', vocab, hidden);
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    for (const [module, channels] of norms) {
      yield tensor(`${prefix}${module}.weight`, channels);
      yield bias(module, prefix + module, channels);
    }
    for (const [module, rows, columns] of linears) {
      yield tensor(`${prefix}${module}.weight`, rows, columns);
      yield bias(module, prefix + module, rows);
    }
    if (config.prefix.length === 0) continue;
    for (const name of PREFIX_TENSORS) yield tensor(prefix + name, kvHeads, config.prefix.length, headDim);
  }
  yield tensor('model.norm.weight', hidden);
  yield bias('model.norm', 'model.norm', hidden);
  yield { ...tensor('lm_head.weight', vocab, hidden), optional: config.tiedEmbeddings };
  yield bias('lm_head', 'lm_head', vocab);
}

type Norm = readonly [module: string, channels: number];

const when = (there: boolean, ...norms: readonly Norm[]): readonly Norm[] => (there ? norms : []);
