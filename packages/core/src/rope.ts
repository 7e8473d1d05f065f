/**
 * Rotary position embedding, half-split pairing: channels i and i + rotaryDim/2 turn together.
 *
 *     rope(x) = x * cos + (x · R) * sin
 *
 * R swaps the halves; the minus sign of the first half is already in `sin`. Channels that do not turn have cos 1 and sin 0.
 * So there are no slices and no concatenation.
 */
import * as tf from '@tensorflow/tfjs';
import { type DecoderConfig, isSliding, type RopeConfig } from './config.ts';

/** Angle per position of each rotary pair, `[rotaryDim / 2]`, with the checkpoint's frequency scaling. */
export function inverseFrequencies({ theta, scaling }: RopeConfig, rotaryDim: number): Float32Array {
  const frequencies = Float32Array.from(
    { length: rotaryDim / 2 },
    (_, i) => 1 / Math.fround(theta ** ((2 * i) / rotaryDim)),
  );
  if (!scaling) return frequencies;
  if (scaling.kind === 'linear') return frequencies.map((f) => f / scaling.factor);
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions } = scaling;
  return frequencies.map((f) => {
    const turns = (originalMaxPositions * f) / (2 * Math.PI);
    if (turns < lowFrequencyFactor) return f / factor;
    if (turns > highFrequencyFactor) return f;
    const smooth = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
    return (1 - smooth) * (f / factor) + smooth * f;
  });
}

export interface RopeTables {
  /** `[tokens, headDim]` */
  readonly cos: Float32Array;
  /** `[tokens, headDim]`, first half negated. */
  readonly sin: Float32Array;
}

/** Tables for `tokens` positions from `start`, as a layer has them. Angles are float32, as the reference computes them. */
export function ropeTables(config: DecoderConfig, tokens: number, start = 0, layer = 0): RopeTables {
  const { headDim, rotaryDim, sliding } = config;
  const frequencies = inverseFrequencies((isSliding(config, layer) && sliding?.rope) || config.rope, rotaryDim);
  const half = rotaryDim / 2;
  const cos = new Float32Array(tokens * headDim).fill(1);
  const sin = new Float32Array(tokens * headDim);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround((start + t) * (frequencies[i] as number));
      const at = t * headDim + i;
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at + half] = Math.sin(angle);
      sin[at] = -Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** R: `(x · R)[i] = x[i ± rotaryDim/2]`, and 0 for channels that do not turn, `[headDim, headDim]`. */
export function swapHalves({ headDim, rotaryDim }: Pick<DecoderConfig, 'headDim' | 'rotaryDim'>): tf.Tensor2D {
  const values = new Float32Array(headDim * headDim);
  for (let i = 0; i < rotaryDim; i++) values[((i + rotaryDim / 2) % rotaryDim) * headDim + i] = 1;
  return tf.tensor2d(values, [headDim, headDim]);
}

/** @param x `[heads, tokens, headDim]`; cos, sin `[tokens, headDim]`. */
export function rotate(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor, swap: tf.Tensor): tf.Tensor {
  return tf.add(
    tf.mul(x, cos),
    tf.mul(tf.matMul(tf.reshape(x, [-1, swap.shape[0] as number]), swap).reshape(x.shape), sin),
  );
}
