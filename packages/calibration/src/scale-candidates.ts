/**
 * The scales that a search tries for a pair: powers of what two things behind each other are per channel.
 *
 *     s = f^a · g^b, divided by its geometric mean          f                            g
 *     qkv, fc1   norm → linears                             max of the norm's output     1 / max of the linears' columns
 *     out        v → o                                      max of o's input             max of v's output
 *     fc2        w3 → w2                                    max of w2's input            max of w3's output
 *     qkt        q ↔ k, a scale for each rotary pair        max of the queries           1 / max of the keys
 *
 * (a, b) = (α, 1 - α) is SmoothQuant for the norms; (0, 0) leaves the pair as it is.
 */
import type { DecoderConfig } from '@mobilequant/core';
import type { Values } from '@mobilequant/tracer';
import type { Pair } from './learnables.ts';
import { columnMaxima, groupMaxima } from './smooth-quant.ts';
import { modulesAfter } from './transform.ts';

/** (a, b) in `s = f^a · g^b`. */
export type Exponents = readonly [a: number, b: number];

/** f and g of a pair, one value for each scale, all positive. */
export interface Measures {
  readonly f: Float32Array;
  readonly g: Float32Array;
}

const FLOOR = 1e-5; // of the largest channel: channels that are always zero

/** Sites whose channels follow a pair's scale: divided by it (-1) or multiplied (1). */
export function scaledSites(pair: Pair, config: DecoderConfig): ReadonlyMap<string, 1 | -1> {
  const divided = (...sites: string[]) => sites.map((site) => [site, -1] as const);
  switch (pair) {
    case 'qkv':
    case 'fc1': {
      const norm = pair === 'qkv' ? 'input_layernorm' : 'post_attention_layernorm';
      return new Map(divided(`${norm}.output`, ...modulesAfter(pair, config).map((module) => `${module}.input`)));
    }
    case 'out': {
      const values = divided('self_attn.v_proj.output', 'self_attn.pv_bmm.input2');
      return new Map([...values, ...divided('self_attn.pv_bmm.output', 'self_attn.o_proj.input')]);
    }
    case 'fc2':
      return new Map(divided('mlp.w3.output', 'mlp.w2.input'));
    case 'qkt': {
      const kind = config.queryKeyNorms ? 'norm' : 'proj';
      return new Map([
        ...divided(`self_attn.q_${kind}.output`, 'self_attn.qk_bmm.input'),
        [`self_attn.k_${kind}.output`, 1],
        ['self_attn.qk_bmm.input2', 1],
      ]);
    }
  }
}

/** The sites whose channel maxima a pair's scales are made of: one for f, and one for g where that is no weight. */
export function measuredSites(pair: Pair, { queryKeyNorms }: Pick<DecoderConfig, 'queryKeyNorms'>): string[] {
  const kind = queryKeyNorms ? 'norm' : 'proj';
  switch (pair) {
    case 'qkv':
      return ['input_layernorm.output'];
    case 'fc1':
      return ['post_attention_layernorm.output'];
    case 'out':
      return ['self_attn.o_proj.input', 'self_attn.v_proj.output'];
    case 'fc2':
      return ['mlp.w2.input', 'mlp.w3.output'];
    case 'qkt':
      return [`self_attn.q_${kind}.output`, `self_attn.k_${kind}.output`];
  }
}

/**
 * f and g of a pair.
 *
 * @param absMax site → largest |x| of each channel on calibration text
 * @param tensors of the layer, by their names in it
 */
export function measuresOf(
  pair: Pair,
  absMax: (site: string) => Float32Array,
  tensors: Values,
  config: DecoderConfig,
): Measures {
  const [first, second] = measuredSites(pair, config).map(absMax) as [Float32Array, Float32Array];
  switch (pair) {
    case 'qkv':
    case 'fc1':
      return { f: floored(first), g: inverse(floored(columnMaxima(modulesAfter(pair, config), tensors))) };
    case 'out':
      return { f: floored(groupMaxima(first, second.length, config.headDim)), g: floored(second) };
    case 'fc2':
      return { f: floored(first), g: floored(second) };
    case 'qkt': {
      const size = config.queryKeyNorms ? config.headDim : config.kvHeads * config.headDim;
      const pairs = (x: Float32Array) => rotaryMaxima(floored(groupMaxima(x, size, config.headDim)), config);
      return { f: pairs(first), g: inverse(pairs(second)) };
    }
  }
}

/** The scales of given exponents; none for (0, 0). */
export function candidateScale({ f, g }: Measures, [a, b]: Exponents): Float32Array | undefined {
  if (a === 0 && b === 0) return undefined;
  const logs = Float64Array.from(f, (v, j) => a * Math.log(v) + b * Math.log(g[j] as number));
  const mean = logs.reduce((sum, x) => sum + x, 0) / logs.length;
  return Float32Array.from(logs, (x) => Math.exp(x - mean));
}

/**
 * A pair's scales for each channel of a site: shared by the query heads of a group, by the heads where one norm has them, by the two
 * channels of a rotary pair.
 *
 * @param channels of the site, those of all its heads
 */
export function channelFactors(
  pair: Pair,
  scale: Float32Array,
  sign: 1 | -1,
  channels: number,
  config: DecoderConfig,
): Float32Array {
  const perChannel = pair === 'qkt' ? overRotaryPairs(scale, config) : scale;
  const { headDim } = config;
  const heads = channels / headDim;
  const groups = perChannel.length / headDim;
  return Float32Array.from({ length: channels }, (_, c) => {
    const group = Math.floor((Math.floor(c / headDim) * groups) / heads);
    const s = perChannel[channels === perChannel.length ? c : group * headDim + (c % headDim)] as number;
    return sign < 0 ? 1 / s : s;
  });
}

/** `[groups * (headDim - rotaryDim / 2)]` → `[groups * headDim]` */
function overRotaryPairs(scale: Float32Array, { headDim, rotaryDim }: DecoderConfig): Float32Array {
  const own = headDim - rotaryDim / 2;
  const groups = scale.length / own;
  return Float32Array.from({ length: groups * headDim }, (_, c) => {
    const i = c % headDim;
    return scale[Math.floor(c / headDim) * own + (i < rotaryDim / 2 ? i : i - rotaryDim / 2)] as number;
  });
}

/** And back, each pair the larger of its two channels. */
function rotaryMaxima(x: Float32Array, { headDim, rotaryDim }: DecoderConfig): Float32Array {
  const own = headDim - rotaryDim / 2;
  const result = new Float32Array((x.length / headDim) * own);
  x.forEach((value, c) => {
    const i = c % headDim;
    const at = Math.floor(c / headDim) * own + (i < rotaryDim / 2 ? i : i - rotaryDim / 2);
    result[at] = Math.max(result[at] as number, value);
  });
  return result;
}

function floored(x: Float32Array): Float32Array {
  const largest = x.reduce((a, b) => Math.max(a, b), 0);
  return largest > 0 ? x.map((v) => Math.max(v, FLOOR * largest)) : x.map(() => 1);
}

const inverse = (x: Float32Array): Float32Array => x.map((v) => 1 / v);
