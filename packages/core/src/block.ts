/**
 * The decoder block, written once. It knows nothing of quantization: it calls a tap at every site.
 *
 * No batch axis, weights `[out, in]`, and shapes chosen so that grouped heads, rotary embedding and causal attention
 * cost no copies: the query heads of a group are the rows of one product with their key head.
 */
import * as tf from '@tensorflow/tfjs';
import { gelu, geluTanh, softCap } from './activation.ts';
import type { DecoderConfig } from './config.ts';
import { PREFIX_TENSORS } from './decoder-tensors.ts';
import { norm } from './norm.ts';
import { rotate, swapHalves } from './rope.ts';
import { softmax } from './row-dot.ts';
import { floatTap, type Tap } from './tap.ts';

/** Tensors of one layer by their names in the layer, e.g. `self_attn.q_proj.weight`; biases where the model has them. */
export type BlockWeights = Readonly<Record<string, tf.Tensor>>;

/** What the positions say, the same for every layer of a kind. */
export interface BlockContext {
  /** `[tokens, headDim]` */
  readonly cos: tf.Tensor;
  /** `[tokens, headDim]`, first half of what turns negated. */
  readonly sin: tf.Tensor;
  /** `[1, tokens, pastTokens + tokens]`, added to the scores: 0 where a query may look, very negative elsewhere. */
  readonly mask: tf.Tensor;
}

/** Keys (after rotary embedding) and values, `[kvHeads, tokens, headDim]`. */
export interface KeysValues {
  readonly keys: tf.Tensor;
  readonly values: tf.Tensor;
}

export interface BlockOptions {
  readonly tap?: Tap;
  /** Keys and values of the tokens before, a prefix included; by default those of the prefix in the weights. */
  readonly past?: KeysValues;
  /**
   * Attend in blocks of so many queries, each to the keys before its end: exact, and faster the longer the text.
   * 0 computes the full square of scores at once, which statistics of the scores need.
   */
  readonly queryChunk?: number;
}

export interface BlockResult extends KeysValues {
  /** `[tokens, hidden]` */
  readonly x: tf.Tensor;
}

/**
 * One layer: attention and MLP, each behind its norm, or both behind one, and added to the residual stream.
 *
 * @param x `[tokens, hidden]`
 */
export function block(
  x: tf.Tensor,
  weights: BlockWeights,
  context: BlockContext,
  config: DecoderConfig,
  options: BlockOptions = {},
): BlockResult {
  const { tap = floatTap } = options;
  const layer = modules(weights, config, tap);
  const output = (y: tf.Tensor, module: string) => (config.outputNorms ? layer.norm(y, module) : y);

  const normed = layer.norm(x, 'input_layernorm');
  const past = options.past ?? prefixOf(weights);
  const attended = attention(normed, layer, context, config, { ...options, ...(past && { past }), tap });
  if (config.residual === 'parallel') {
    const fed = feedForward(normed, layer, config, tap);
    return { ...attended, x: tf.add(x, tf.add(attended.x, fed)) };
  }
  const middle = tf.add(x, output(attended.x, 'attention_output_layernorm'));
  const fed = feedForward(layer.norm(middle, 'post_attention_layernorm'), layer, config, tap);
  return { ...attended, x: tf.add(middle, output(fed, 'mlp_output_layernorm')) };
}

function prefixOf(weights: BlockWeights): KeysValues | undefined {
  const [keys, values] = PREFIX_TENSORS.map((name) => weights[name]);
  return keys && values && { keys, values };
}

interface Modules {
  linear(x: tf.Tensor, module: string): tf.Tensor;
  norm(x: tf.Tensor, module: string): tf.Tensor;
}

/** The layer's modules with their taps: `input → module with its weight → output`. */
function modules(weights: BlockWeights, config: DecoderConfig, tap: Tap): Modules {
  const weight = (name: string): tf.Tensor => {
    const tensor = weights[name];
    if (!tensor) throw new Error(`block: expected the weight '${name}', got only ${Object.keys(weights).join(', ')}.`);
    return tap.weight(name, tensor);
  };
  return {
    linear(x, module) {
      const input = tap.activation(`${module}.input`, x);
      const product = tf.matMul(input as tf.Tensor2D, weight(`${module}.weight`) as tf.Tensor2D, false, true);
      const bias = weights[`${module}.bias`];
      return tap.activation(`${module}.output`, bias ? tf.add(product, bias) : product);
    },
    norm(x, module) {
      const input = tap.activation(`${module}.input`, x);
      const y = norm(input, weight(`${module}.weight`), weights[`${module}.bias`], config.norm, config.normEpsilon);
      return tap.activation(`${module}.output`, y);
    },
  };
}

function attention(
  x: tf.Tensor,
  { linear, norm }: Modules,
  { cos, sin, mask }: BlockContext,
  config: DecoderConfig,
  { tap, past, queryChunk = 0 }: BlockOptions & { tap: Tap },
): BlockResult {
  const { heads, kvHeads, headDim, scoreFactor, scoreScale, scoreCap } = config;
  const tokens = x.shape[0] as number;
  const group = heads / kvHeads;
  const swap = swapHalves(config);
  const split = (y: tf.Tensor, count: number) => tf.transpose(tf.reshape(y, [tokens, count, headDim]), [1, 0, 2]);
  /** `[tokens, count * headDim]`, each head's channels normed. */
  const normed = (y: tf.Tensor, module: string) =>
    config.queryKeyNorms ? norm(tf.reshape(y, [-1, headDim]), module) : y;
  /** Queries or keys with their positions, `[count, tokens, headDim]`. */
  const placed = (name: 'q' | 'k', count: number) =>
    rotate(split(normed(linear(x, `self_attn.${name}_proj`), `self_attn.${name}_norm`), count), cos, sin, swap);

  const queries = tap.activation('self_attn.qk_bmm.input', placed('q', heads));
  const newKeys = placed('k', kvHeads);
  const newValues = split(linear(x, 'self_attn.v_proj'), kvHeads);
  const keys = tap.activation('self_attn.qk_bmm.input2', past ? tf.concat([past.keys, newKeys], 1) : newKeys);
  const values = tap.activation('self_attn.pv_bmm.input2', past ? tf.concat([past.values, newValues], 1) : newValues);

  /** Queries `from … to` over the keys up to the last of them. */
  const attend = (from: number, to: number): tf.Tensor => {
    const rows = to - from;
    const seen = (keys.shape[1] as number) - tokens + to;
    const grouped = tf.reshape(part(queries, 1, from, to), [kvHeads, group * rows, headDim]);
    const scores = tf.reshape(tf.matMul(grouped, part(keys, 1, 0, seen), false, true), [heads, rows, seen]);
    const raw = tap.activation('self_attn.qk_bmm.output', scores);
    const scaled = scoreScale === 'folded' ? raw : tf.mul(raw, scoreFactor);
    const masked = tf.add(softCap(scaled, scoreCap), part(part(mask, 1, from, to), 2, 0, seen));
    const probabilities = tap.activation('self_attn.pv_bmm.input', softmax(masked), { nonnegative: true });
    const mixed = tf.matMul(tf.reshape(probabilities, [kvHeads, group * rows, seen]), part(values, 1, 0, seen));
    return tf.reshape(mixed, [heads, rows, headDim]);
  };

  const step = queryChunk > 0 ? queryChunk : tokens;
  const chunks: tf.Tensor[] = [];
  for (let from = 0; from < tokens; from += step) chunks.push(attend(from, Math.min(from + step, tokens)));
  const mixed = chunks.length === 1 ? (chunks[0] as tf.Tensor) : tf.concat(chunks, 1);
  const joined = tf.reshape(tf.transpose(mixed, [1, 0, 2]), [tokens, heads * headDim]);
  const y = linear(tap.activation('self_attn.pv_bmm.output', joined), 'self_attn.o_proj');
  return { x: y, keys: newKeys, values: newValues };
}

/** Elements `from … to` of one axis; the tensor itself when that is all of it. */
function part(x: tf.Tensor, axis: number, from: number, to: number): tf.Tensor {
  if (from === 0 && to === x.shape[axis]) return x;
  const begin = x.shape.map((_, i) => (i === axis ? from : 0));
  return tf.slice(
    x,
    begin,
    x.shape.map((size, i) => (i === axis ? to - from : size)),
  );
}

/** w2 · (act(w1 · x) * (w3 · x)), or without w3. */
function feedForward(x: tf.Tensor, { linear }: Modules, config: DecoderConfig, tap: Tap): tf.Tensor {
  const gate = tap.activation('mlp.act_fn.input', linear(x, 'mlp.w1'));
  if (config.mlp === 'plain') return linear(activated(gate, config, tap), 'mlp.w2');
  const up = linear(x, 'mlp.w3');
  return linear(tf.mul(activated(gate, config, tap), up), 'mlp.w2');
}

/** silu(g) is g * sigmoid(g), and the sigmoid has a quantizer of its own. */
function activated(gate: tf.Tensor, { activation }: DecoderConfig, tap: Tap): tf.Tensor {
  const silu = () => tf.mul(gate, tap.activation('mlp.act_fn.input2', tf.sigmoid(gate), { nonnegative: true }));
  const y = activation === 'silu' ? silu() : activation === 'gelu' ? gelu(gate) : geluTanh(gate);
  return tap.activation('mlp.act_fn.output', y);
}
