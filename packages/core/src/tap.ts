/**
 * A tap is called at every place where a quantizer can sit. What it does decides what the block means:
 * nothing (float), report (observe), fake-quantize (simulate, learn), write integers (deploy).
 */
import type * as tf from '@tensorflow/tfjs';

/** What the block knows of a value and a quantizer may use. */
export interface Hint {
  /** The value is never below zero (a softmax). */
  readonly nonnegative?: boolean;
}

export interface Tap {
  /** Called with a value at a site (`mlp.w2.input`, relative to the layer); the block goes on with what comes back. */
  activation(site: string, x: tf.Tensor, hint?: Hint): tf.Tensor;
  /** The same for a weight (`mlp.w2.weight`, `[out, in]`). */
  weight(site: string, w: tf.Tensor): tf.Tensor;
}

/** Gives back what it gets: the float model. */
export const floatTap: Tap = { activation: (_, x) => x, weight: (_, w) => w };
