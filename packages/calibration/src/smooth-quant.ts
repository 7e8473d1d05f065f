/**
 * SmoothQuant: channel scales from statistics, no learning.
 *
 *     s_j = max(act_j^α / max_i |W_ij|^(1-α), 1e-5)
 *
 * act is the largest input of the second module on calibration text. `original` scales norm → linears only; `modified`
 * (the stronger baseline of MobileQuant) also v → o and w3 → w2. Under grouped heads v → o has one scale for each
 * channel of a key-value head, shared by its query heads, which keeps the function; the reference leaves it out there.
 */
import type { DecoderConfig, Weights } from '@mobilequant/core';
import type { Executor, Values } from '@mobilequant/tracer';
import type { Statistics } from './statistics.ts';
import { modulesAfter } from './transform.ts';
import { type LayerScales, scaledWeights } from './transformed-weights.ts';

export interface SmoothQuantOptions {
  /** Default 0.5. */
  readonly alpha?: number;
  /** `original`: norms only. `modified` (default): v → o and w3 → w2 too. `omniquant`: modified without w3 → w2. */
  readonly variant?: 'original' | 'modified' | 'omniquant';
  /** Scale v → o under grouped heads too (default), or leave it out as the reference does. */
  readonly groupedHeads?: boolean;
}

const FLOOR = 1e-5; // of the weights' maxima and of the scales, as in the reference

/**
 * The smoothed weights: the same float function.
 *
 * @throws Error when a layer is read whose inputs the statistics lack.
 */
export function smooth(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  statistics: Statistics,
  { alpha = 0.5, variant = 'modified', groupedHeads = true }: SmoothQuantOptions = {},
): Weights {
  const { heads, kvHeads, headDim } = config;
  const scalesOut = variant !== 'original' && (heads === kvHeads || groupedHeads);
  return scaledWeights(executor, config, weights, (layer, tensors): LayerScales => {
    const inputOf = (module: string): Float32Array => {
      const site = `model.layers.${layer}.${module}.input`;
      const channels = statistics.get(site)?.channels;
      if (!channels)
        throw new Error(
          `smooth: expected channel statistics of '${site}', got none. Collect statistics of the same model first.`,
        );
      return channels.absMax;
    };
    const scale = (modules: readonly string[], share = (x: Float32Array): Float32Array => x): Float32Array =>
      channelScales(share(inputOf(modules[0] as string)), share(columnMaxima(modules, tensors)), alpha);
    const overGroups = (x: Float32Array) => groupMaxima(x, kvHeads * headDim, headDim);

    return {
      qkv: scale(modulesAfter('qkv', config)),
      ...(config.residual === 'sequential' && { fc1: scale(modulesAfter('fc1', config)) }),
      ...(scalesOut && { out: scale(['self_attn.o_proj'], overGroups) }),
      ...(variant === 'modified' && config.mlp === 'gated' && { fc2: scale(['mlp.w2']) }),
    };
  });
}

function channelScales(activation: Float32Array, weight: Float32Array, alpha: number): Float32Array {
  return activation.map((a, j) => Math.max(a ** alpha / Math.max(weight[j] as number, FLOOR) ** (1 - alpha), FLOOR));
}

/** max_i |W_ij| over all the modules, `[in]`. */
export function columnMaxima(modules: readonly string[], tensors: Values): Float32Array {
  const matrices = modules.map((module) => tensors[`${module}.weight`] as Values[string]);
  const columns = matrices[0]?.shape[1] as number;
  const maxima = new Float32Array(columns);
  for (const { data } of matrices) {
    for (let i = 0; i < data.length; i++) {
      const j = i % columns;
      const size = Math.abs(data[i] as number);
      if (size > (maxima[j] as number)) maxima[j] = size;
    }
  }
  return maxima;
}

/** `[heads * headDim]` → `[size]`: the largest over the heads that share a scale. */
export function groupMaxima(x: Float32Array, size: number, headDim: number): Float32Array {
  if (x.length === size) return x;
  const result = new Float32Array(size);
  const share = x.length / size;
  x.forEach((value, c) => {
    const at = Math.floor(Math.floor(c / headDim) / share) * headDim + (c % headDim);
    result[at] = Math.max(result[at] as number, value);
  });
  return result;
}
