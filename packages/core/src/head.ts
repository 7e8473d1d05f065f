/**
 * After the last block: the final norm, the head, and the negative log-likelihood of what came next.
 */
import * as tf from '@tensorflow/tfjs';
import type { DecoderConfig } from './config.ts';
import { norm } from './norm.ts';
import { rowDot } from './row-dot.ts';
import { floatTap, type Tap } from './tap.ts';

export interface HeadWeights {
  /** `[hidden]` */
  readonly norm: tf.Tensor;
  /** `[vocab, hidden]`; the embedding when they are tied. */
  readonly head: tf.Tensor;
}

function prepared(
  x: tf.Tensor,
  weights: HeadWeights,
  config: DecoderConfig,
  tap: Tap,
): { x: tf.Tensor; head: tf.Tensor } {
  const weight = tap.weight('model.norm.weight', weights.norm);
  const normed = norm(tap.activation('model.norm.input', x), weight, undefined, config.finalNorm, config.normEpsilon);
  return {
    x: tap.activation('lm_head.input', tap.activation('model.norm.output', normed)),
    head: tap.weight('lm_head.weight', weights.head),
  };
}

/** `[tokens, hidden]` → `[tokens, vocab]`. The tap's sites are full names: `model.norm.input`, `lm_head.weight`, …. */
export function logits(x: tf.Tensor, weights: HeadWeights, config: DecoderConfig, tap: Tap = floatTap): tf.Tensor {
  const { x: input, head } = prepared(x, weights, config, tap);
  return tap.activation('lm_head.output', tf.matMul(input as tf.Tensor2D, head as tf.Tensor2D, false, true));
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
  const { x: input, head } = prepared(x, weights, config, tap);
  const products = tf.matMul(input as tf.Tensor2D, head as tf.Tensor2D, false, true);
  const all = tap.activation('lm_head.output', products);
  const chosen =
    all === products
      ? rowDot(input, tf.gather(head, targets as tf.Tensor1D))
      : rowDot(all, tf.oneHot(targets as tf.Tensor1D, config.vocab));
  return tf.sub(tf.logSumExp(all, -1), tf.reshape(chosen, [-1]));
}
