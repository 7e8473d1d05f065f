/**
 * Where a quantized model loses what the float model says: signal against noise of the hidden states, layer by layer.
 *
 *     10 · log10(Σ float² / Σ (float - simulated)²)   in dB
 *
 * Both models run side by side, each on its own states, so that noise adds up along the layers as it does in use.
 */
import type { Decoder } from '@mobilequant/core';

/**
 * Decibels of each layer's output, `[layers]`, over all samples; Infinity where both are equal.
 *
 * @param samples token ids, each a text of its own
 */
export async function layerSignalToNoise(
  float: Decoder,
  simulated: Decoder,
  samples: readonly Int32Array[],
): Promise<number[]> {
  const { layers } = float.config;
  const sums = Array.from({ length: layers }, () => ({ signal: 0, noise: 0 }));
  for (const sample of samples) {
    let [x, y] = [await float.embed(sample), await simulated.embed(sample)];
    for (const [layer, sum] of sums.entries()) {
      [x, y] = [await float.block(layer, x), await simulated.block(layer, y)];
      for (let i = 0; i < x.length; i++) {
        sum.signal += (x[i] as number) ** 2;
        sum.noise += ((x[i] as number) - (y[i] as number)) ** 2;
      }
    }
  }
  return sums.map(({ signal, noise }) => decibels(signal, noise));
}

/**
 * A ratio of powers in dB.
 *
 * @example
 * decibels(100, 1); // => 20
 */
export const decibels = (signal: number, noise: number): number => 10 * Math.log10(signal / noise);
