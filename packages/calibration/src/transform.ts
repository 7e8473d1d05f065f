/**
 * Equivalent transformations of one layer: channel scales (and shifts) that move difficulty between a module and the
 * one behind it, without changing what the layer computes.
 *
 *     qkv   input_layernorm → q, k, v              fc1   post_attention_layernorm → w1, w3
 *     out   v → o                                  fc2   w3 → w2, where w3 gates
 *     qkt   q ↔ k
 *
 * Where one norm feeds attention and MLP, qkv scales w1 and w3 too and there is no fc1. Where queries and keys are normed, q ↔ k
 * lies in those norms, which all heads share.
 *
 * A pair `first → second` with scale s and shift z becomes first / s (bias (b - z) / s) and second · diag(s)
 * (bias + W·z). SmoothQuant computes s from statistics, LET learns it; both are applied here, in tfjs operations,
 * so the transformation that is trained is the one that is stored.
 */

import type { BlockWeights, DecoderConfig } from '@mobilequant/core';
import * as tf from '@tensorflow/tfjs';
import { TransformError } from './transform-error.ts';

export interface ChannelScale {
  readonly scale: tf.Tensor;
  readonly shift?: tf.Tensor | undefined;
}

/** Scales by pair; a pair that is absent stays as it is. */
export interface LayerTransform {
  /** `[hidden]` */
  readonly qkv?: ChannelScale | undefined;
  /** `[hidden]` */
  readonly fc1?: ChannelScale | undefined;
  /** `[kvHeads * headDim]`: the channels of v, shared by the query heads of a group. */
  readonly out?: ChannelScale | undefined;
  /** `[ffn]` */
  readonly fc2?: ChannelScale | undefined;
  /**
   * `[kvHeads * (headDim - rotaryDim / 2)]`: one scale for each rotary pair of a key head, then one for each channel that does not
   * turn, which keeps the function exactly (of one head where queries and keys are normed); or `[heads * headDim]` as the reference
   * learns it, which under rotary embedding does not.
   */
  readonly qkt?: tf.Tensor | undefined;
}

export interface TransformOptions {
  /**
   * A shift before a norm leaves a bias behind. The reference forgets it while training RMSNorm models;
   * `false` reproduces that. Default true.
   */
  readonly normBias?: boolean;
}

/**
 * The weights of a layer after a transformation.
 *
 * @param weights names in the layer → tensors, linears `[out, in]`.
 * @throws TransformError for a pair that the model does not have.
 */
export function applyTransform(
  weights: BlockWeights,
  transform: LayerTransform,
  config: DecoderConfig,
  { normBias = true }: TransformOptions = {},
): BlockWeights {
  const result: Record<string, tf.Tensor> = { ...weights };

  const update = (name: string, change: (w: tf.Tensor) => tf.Tensor): void => {
    const tensor = result[name];
    if (tensor) result[name] = change(tensor);
  };
  const addBias = (module: string, shift: tf.Tensor | undefined): void => {
    if (!shift) return;
    const moved = tf.reshape(
      tf.matMul(result[`${module}.weight`] as tf.Tensor2D, tf.reshape(shift, [-1, 1]) as tf.Tensor2D),
      [-1],
    );
    const bias = result[`${module}.bias`];
    result[`${module}.bias`] = bias ? tf.add(bias, moved) : moved;
  };
  /** Outputs of a module: rows and bias. */
  const divideRows = (module: string, scale: tf.Tensor, shift: tf.Tensor | undefined, keepBias = true): void => {
    update(`${module}.weight`, (w) => tf.div(w, w.rank === 1 ? scale : tf.reshape(scale, [-1, 1])));
    const bias = result[`${module}.bias`];
    if (shift && keepBias) result[`${module}.bias`] = tf.div(bias ? tf.sub(bias, shift) : tf.neg(shift), scale);
    else if (bias) result[`${module}.bias`] = tf.div(bias, scale);
  };
  /** Inputs of a module: columns, and what the shift adds to its bias. */
  const multiplyColumns = (module: string, scale: tf.Tensor, shift: tf.Tensor | undefined): void => {
    addBias(module, shift);
    update(`${module}.weight`, (w) => tf.mul(w, scale));
  };

  const { qkv, fc1, out, fc2, qkt } = transform;
  if (fc1 && config.residual === 'parallel') throw noSuchPair('fc1', 'one whose MLP stands behind the norm of qkv');
  if (fc2 && config.mlp === 'plain') throw noSuchPair('fc2', 'one whose MLP has no w3');
  if (qkv) {
    divideRows('input_layernorm', qkv.scale, qkv.shift, normBias);
    for (const module of modulesAfter('qkv', config)) multiplyColumns(module, qkv.scale, qkv.shift);
  }
  /** What each channel of each key-value head of the prefix is multiplied by. */
  const prefix = (name: string, change: (x: tf.Tensor, perHead: (v: tf.Tensor) => tf.Tensor) => tf.Tensor): void =>
    update(name, (x) => change(x, (v) => tf.reshape(v, [config.kvHeads, 1, config.headDim])));
  if (out) {
    prefix('self_attn.prefix_values', (x, perHead) =>
      tf.div(out.shift ? tf.sub(x, perHead(out.shift)) : x, perHead(out.scale)),
    );
    divideRows('self_attn.v_proj', out.scale, out.shift);
    const repeat = (x: tf.Tensor) => overQueryHeads(x, config);
    multiplyColumns('self_attn.o_proj', repeat(out.scale), out.shift && repeat(out.shift));
  }
  if (qkt) {
    const { queries, keys } = queryKeyScales(qkt, config);
    const ofHeads = (x: tf.Tensor) => (config.queryKeyNorms ? tf.tile(x, [config.kvHeads]) : x);
    if (keys.size <= config.kvHeads * config.headDim)
      prefix('self_attn.prefix_keys', (x, perHead) => tf.mul(x, perHead(ofHeads(keys))));
    const kind = config.queryKeyNorms ? 'norm' : 'proj';
    divideRows(`self_attn.q_${kind}`, queries, undefined);
    divideRows(`self_attn.k_${kind}`, tf.div(1, keys), undefined);
  }
  if (fc1) {
    divideRows('post_attention_layernorm', fc1.scale, fc1.shift, normBias);
    for (const module of modulesAfter('fc1', config)) multiplyColumns(module, fc1.scale, fc1.shift);
  }
  if (fc2) {
    divideRows('mlp.w3', fc2.scale, fc2.shift);
    multiplyColumns('mlp.w2', fc2.scale, fc2.shift);
  }
  return result;
}

const noSuchPair = (pair: keyof LayerTransform, model: string): TransformError =>
  new TransformError('applyTransform', `a model with the pair ${pair}`, model, `Leave ${pair} out.`);

/** `[kvHeads * headDim]` → `[heads * headDim]`: each key-value head's values for the query heads of its group. */
export function overQueryHeads(x: tf.Tensor, { heads, kvHeads, headDim }: DecoderConfig): tf.Tensor {
  if (heads === kvHeads) return x;
  return tf.reshape(tf.tile(tf.reshape(x, [kvHeads, 1, headDim]), [1, heads / kvHeads, 1]), [heads * headDim]);
}

/** The linears that a norm's output goes into. */
export function modulesAfter(pair: 'qkv' | 'fc1', { mlp, residual }: DecoderConfig): string[] {
  const gates = mlp === 'gated' ? ['mlp.w1', 'mlp.w3'] : ['mlp.w1'];
  if (pair === 'fc1') return gates;
  const projections = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];
  return residual === 'parallel' ? [...projections, ...gates] : projections;
}

/** How many scales keep q · k exactly; see `LayerTransform.qkt`. */
export const queryKeyScaleCount = ({ kvHeads, headDim, rotaryDim, queryKeyNorms }: DecoderConfig): number =>
  (queryKeyNorms ? 1 : kvHeads) * (headDim - rotaryDim / 2);

function queryKeyScales(qkt: tf.Tensor, config: DecoderConfig): { queries: tf.Tensor; keys: tf.Tensor } {
  if (qkt.size !== queryKeyScaleCount(config)) return { queries: qkt, keys: qkt };
  const { headDim, rotaryDim, queryKeyNorms } = config;
  const [half, own] = [rotaryDim / 2, headDim - rotaryDim];
  const scales = tf.reshape(qkt, [-1, half + own]);
  const turning = tf.slice(scales, [0, 0], [-1, half]);
  const parts = [turning, turning, ...(own > 0 ? [tf.slice(scales, [0, half], [-1, own])] : [])];
  const keys = tf.reshape(tf.concat(parts, 1), [-1]);
  return { queries: queryKeyNorms ? keys : overQueryHeads(keys, config), keys };
}
