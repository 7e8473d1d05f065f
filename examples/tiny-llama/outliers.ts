/**
 * Gives a small model what makes large ones hard to quantize: a few channels whose activations are far larger than the rest.
 *
 * A channel is multiplied where it is made and divided where it is read, so the function stays the same. All factors are powers of two:
 * float arithmetic gives the same bits, and fp16 loses nothing but what falls below its smallest numbers.
 */
import type { DecoderConfig } from '@mobilequant/core';
import type { Parameters, Tensor } from './model.ts';
import { createRandom, type Random } from './random.ts';

/** How many channels are changed, and by which factors (one is picked for each channel). */
export interface Outliers {
  readonly channels: number;
  readonly factors: readonly number[];
}

export interface OutlierOptions {
  readonly seed: number;
  /** Outputs of both norms of a layer: the same channels in all layers, as in real models. */
  readonly norms: Outliers;
  /** Inputs of w2: other channels in each layer. */
  readonly ffn: Outliers;
  /** Rotary pairs of each key head. */
  readonly keys: Outliers;
  /** Channels of each value head. */
  readonly values: Outliers;
}

/** What the model of this folder was given. */
export const OUTLIERS: OutlierOptions = {
  seed: 7,
  norms: { channels: 4, factors: [64, 32, 128] },
  ffn: { channels: 6, factors: [32, 16, 64] },
  keys: { channels: 1, factors: [8] },
  values: { channels: 2, factors: [16, 32] },
};

/** The same function with outlier channels. The tensors that came in are not changed. */
export function createOutliers(
  config: DecoderConfig,
  parameters: Parameters,
  options: OutlierOptions,
): Map<string, Tensor> {
  const random = createRandom(options.seed);
  const result = new Map([...parameters].map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]));
  const { heads, kvHeads, headDim, hidden, ffn } = config;
  const group = heads / kvHeads;
  const normChannels = random.sample(range(hidden), options.norms.channels);

  for (let layer = 0; layer < config.layers; layer++) {
    const tensor = (module: string): Tensor => {
      const found = result.get(`model.layers.${layer}.${module}.weight`);
      if (!found) throw new Error(`createOutliers: expected the weight of ${module} in layer ${layer}, got none.`);
      return found;
    };
    for (const [norm, readers] of [
      ['input_layernorm', ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']],
      ['post_attention_layernorm', ['mlp.w1', 'mlp.w3']],
    ] as const) {
      for (const channel of normChannels) {
        const factor = random.pick(options.norms.factors);
        scaleRow(tensor(norm), channel, factor);
        for (const reader of readers) scaleColumn(tensor(reader), channel, 1 / factor);
      }
    }
    for (const [channel, factor] of chosen(random, options.ffn, ffn)) {
      scaleRow(tensor('mlp.w3'), channel, factor);
      scaleColumn(tensor('mlp.w2'), channel, 1 / factor);
    }
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const queryHeads = range(group).map((i) => kvHead * group + i);
      for (const [pair, factor] of chosen(random, options.keys, headDim / 2)) {
        for (const channel of [pair, pair + headDim / 2]) {
          scaleRow(tensor('self_attn.k_proj'), kvHead * headDim + channel, factor);
          for (const head of queryHeads) scaleRow(tensor('self_attn.q_proj'), head * headDim + channel, 1 / factor);
        }
      }
      for (const [channel, factor] of chosen(random, options.values, headDim)) {
        scaleRow(tensor('self_attn.v_proj'), kvHead * headDim + channel, factor);
        for (const head of queryHeads) scaleColumn(tensor('self_attn.o_proj'), head * headDim + channel, 1 / factor);
      }
    }
  }
  return result;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

const chosen = (random: Random, { channels, factors }: Outliers, of: number): [channel: number, factor: number][] =>
  random.sample(range(of), channels).map((channel) => [channel, random.pick(factors)]);

/** Row of a matrix, element of a vector. */
function scaleRow({ shape, data }: Tensor, row: number, factor: number): void {
  const columns = shape[1] ?? 1;
  for (let i = row * columns; i < (row + 1) * columns; i++) data[i] = (data[i] as number) * factor;
}

function scaleColumn({ shape, data }: Tensor, column: number, factor: number): void {
  const columns = shape[1] as number;
  for (let i = column; i < data.length; i += columns) data[i] = (data[i] as number) * factor;
}
