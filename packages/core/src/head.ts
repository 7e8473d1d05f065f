/**
 * After the last block: the final norm, the head, and the negative log-likelihood of what came next.
 */
import * as tf from '@tensorflow/tfjs';
import { softCap } from './activation.ts';
import type { DecoderConfig } from './config.ts';
import { norm } from './norm.ts';
import { rowDot } from './row-dot.ts';
import { floatTap, type Tap } from './tap.ts';

/**
 * Tensors of the head: `norm.weight` `[hidden]`, `head.weight` `[vocab, hidden]` (the embedding when they are tied), and where
 * the model has them `norm.bias` `[hidden]` and `head.bias` `[vocab]`.
 */
export type HeadWeights = Readonly<Record<string, tf.Tensor>>;

function prepared(
  x: tf.Tensor,
  weights: HeadWeights,
  config: DecoderConfig,
  tap: Tap,
): { x: tf.Tensor; head: tf.Tensor } {
  const tensor = (name: string): tf.Tensor => {
    const found = weights[name];
    if (!found) throw new Error(`head: expected the tensor '${name}', got only ${Object.keys(weights).join(', ')}.`);
    return found;
  };
  const weight = tap.weight('model.norm.weight', tensor('norm.weight'));
  const input = tap.activation('model.norm.input', x);
  const normed = norm(input, weight, weights['norm.bias'], config.finalNorm, config.normEpsilon);
  return {
    x: tap.activation('lm_head.input', tap.activation('model.norm.output', normed)),
    head: tap.weight('lm_head.weight', tensor('head.weight')),
  };
}

/** `[tokens, hidden]` → `[tokens, vocab]`. The tap's sites are full names: `model.norm.input`, `lm_head.weight`, …. */
export function logits(x: tf.Tensor, weights: HeadWeights, config: DecoderConfig, tap: Tap = floatTap): tf.Tensor {
  const { x: input, head } = prepared(x, weights, config, tap);
  const products = tf.matMul(input as tf.Tensor2D, head as tf.Tensor2D, false, true);
  const bias = weights['head.bias'];
  return softCap(tap.activation('lm_head.output', bias ? tf.add(products, bias) : products), config.logitCap);
}

/**
 * `-log softmax(logits)[target]` for each token, `[tokens]`. Unless the tap changes the logits, the target's is a product with
 * its own row of the head, so that they are passed over once and never picked from.
 *
 * @param x `[tokens, hidden]`
 * @param targets int32 `[tokens]`
 */
export function negativeLogLikelihood(
  x: tf.Tensor,
  targets: tf.Tensor,
  weights: HeadWeights,
  config: DecoderConfig,
  tap: Tap = floatTap,
): tf.Tensor {
  const ids = targets as tf.Tensor1D;
  const { x: input, head } = prepared(x, weights, config, tap);
  const bias = weights['head.bias'];
  const products = tf.matMul(input as tf.Tensor2D, head as tf.Tensor2D, false, true);
  const sums = bias ? tf.add(products, bias) : products;
  const all = tap.activation('lm_head.output', sums);
  const chosen = (): tf.Tensor => {
    if (all !== sums) return tf.reshape(rowDot(all, tf.oneHot(ids, config.vocab)), [-1]);
    const own = tf.reshape(rowDot(input, tf.gather(head, ids)), [-1]);
    return bias ? tf.add(own, tf.gather(bias, ids)) : own;
  };
  return tf.sub(logSumExp(softCap(all, config.logitCap)), softCap(chosen(), config.logitCap));
}

/**
 * log Σ exp(x) of each row, in two steps as even as the row allows: a float32 sum of 100,000 terms in one loses the small ones, and
 * comes out too low by 2e-5.
 */
function logSumExp(x: tf.Tensor): tf.Tensor {
  const [rows, columns] = x.shape as [number, number];
  let parts = Math.floor(Math.sqrt(columns));
  while (columns % parts !== 0) parts--;
  return tf.logSumExp(tf.logSumExp(tf.reshape(x, [rows, parts, columns / parts]), -1), -1);
}
