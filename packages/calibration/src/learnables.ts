/**
 * What is learned of a layer, as a flat tree of named parameters, and how it enters the graph.
 *
 *     LET   `qkv.scale`, `fc1.scale`, `out.scale`, `fc2.scale`, `qkt.scale` (and `.shift`)
 *     LWC   `<weight site>.upper`, `.lower`: max' = sigmoid(upper) · max W, min' = sigmoid(lower) · min W
 *     LRL   the ranges of activation sites
 *
 * Two conventions (recipe.conventions) differ in what the numbers mean:
 *
 *                     reference                                   exact
 *     LET scale       s, kept above 1e-2 in size                  log s: always positive
 *     LET q ↔ k       free, not equivalent under rotary           one per rotary pair, equivalent
 *     grouped heads   v → o and q ↔ k left out                    shared by the group
 *     LET shift       norms, v → o, and w3 → w2, which is not     norms and v → o
 *                     equivalent
 *     LWC symmetric   trains max(|max'|, |min'|), stores          one factor; stores what it trained
 *                     [min', max']
 *     LRL             `<site>.scale`, `<site>.offset`             `<site>.low`, `<site>.high`: log factors on the
 *                                                                 calibrated min and max, so zero stays inside
 */

import { type DecoderConfig, type FakeQuantizeAttributes, quantizeAs, scaleShape, type Tap } from '@mobilequant/core';
import {
  encodingFromRange,
  groupCount,
  type QuantizerSpec,
  type Range,
  type Recipe,
  type ResolveSite,
  roundHalfEven,
} from '@mobilequant/quantizer';
import type { Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { constant, largest, smallest } from './extremes.ts';
import { type ChannelScale, type LayerTransform, queryKeyScaleCount } from './transform.ts';

export type Pair = 'qkv' | 'out' | 'qkt' | 'fc1' | 'fc2';

/** What to learn. */
export interface LearningTargets {
  /** The pairs that LET scales. */
  readonly pairs: readonly Pair[];
  /** LET shifts too: where they are exact (norms, v → o), and under reference conventions through the gate. No recipe trains them. */
  readonly shifts: boolean;
  /** LWC. */
  readonly clipping: boolean;
  /** LRL. */
  readonly ranges: boolean;
}

export type Conventions = Recipe['conventions'];

/** Tensors that the optimizer moves, and tensors that only take part. */
export interface LayerLearnables {
  readonly parameters: Readonly<Record<string, Value>>;
  readonly constants: Readonly<Record<string, Value>>;
}

export type ParameterGroup = 'let' | 'lwc' | 'lrl';

const PAIRS: readonly Pair[] = ['qkv', 'out', 'qkt', 'fc1', 'fc2'];
const CLIPPING_START = 4; // sigmoid(4) = 0.982: the reference starts with 1.8 % of each range clipped
const SCALE_LIMITS = [1e-5, 1e6] as const;
const SMALLEST_LET_SCALE = 1e-2;

/** Which learning rate a parameter has. */
export function parameterGroup(name: string): ParameterGroup {
  if (name.endsWith('.upper') || name.endsWith('.lower')) return 'lwc';
  return PAIRS.some((pair) => name.startsWith(`${pair}.`)) ? 'let' : 'lrl';
}

/** The pairs that a decoder has and the conventions can learn: the reference leaves out what needs sharing under grouped heads. */
export function availablePairs(pairs: readonly Pair[], config: DecoderConfig, conventions: Conventions): Pair[] {
  const { heads, kvHeads, residual, mlp, queryKeyNorms } = config;
  const grouped = heads !== kvHeads;
  const missing: Readonly<Record<Pair, boolean>> = {
    qkv: false,
    fc1: residual === 'parallel',
    fc2: mlp === 'plain',
    out: conventions === 'reference' && grouped,
    qkt: conventions === 'reference' && (grouped || queryKeyNorms),
  };
  return PAIRS.filter((pair) => pairs.includes(pair) && !missing[pair]);
}

function pairSize(pair: Pair, config: DecoderConfig, conventions: Conventions): number {
  const { hidden, ffn, heads, kvHeads, headDim } = config;
  switch (pair) {
    case 'qkv':
    case 'fc1':
      return hidden;
    case 'out':
      return kvHeads * headDim;
    case 'fc2':
      return ffn;
    case 'qkt':
      return conventions === 'exact' ? queryKeyScaleCount(config) : heads * headDim;
  }
}

/** Through the gate a shift changes the function; q and k have no bias behind the rotary embedding. */
const hasShift = (pair: Pair, conventions: Conventions): boolean =>
  pair !== 'qkt' && !(conventions === 'exact' && pair === 'fc2');

const filled = (size: number, value: number, shape: readonly number[] = [size]): Value => ({
  data: new Float32Array(size).fill(value),
  shape,
});
const scalar = (value: number): Value => filled(1, value, []);

export interface LearnablesOptions {
  readonly config: DecoderConfig;
  readonly conventions: Conventions;
  readonly targets: LearningTargets;
  /** Resolves a site's name in the layer. */
  readonly resolve: ResolveSite;
}

/**
 * The starting point of a layer: an identity transformation, clipping at sigmoid(4), calibrated ranges.
 *
 * @param weightShapes names in the layer → shapes
 * @param ranges calibrated ranges by the sites' names in the layer; every quantized activation needs one.
 */
export function initialLearnables(
  weightShapes: Readonly<Record<string, readonly number[]>>,
  ranges: ReadonlyMap<string, Range>,
  { config, conventions, targets, resolve }: LearnablesOptions,
): LayerLearnables {
  const parameters: Record<string, Value> = {};
  const constants: Record<string, Value> = {};

  for (const pair of availablePairs(targets.pairs, config, conventions)) {
    const size = pairSize(pair, config, conventions);
    parameters[`${pair}.scale`] = filled(size, conventions === 'exact' ? 0 : 1);
    if (targets.shifts && hasShift(pair, conventions)) parameters[`${pair}.shift`] = filled(size, 0);
  }
  if (targets.clipping) {
    for (const [site, shape] of Object.entries(weightShapes)) {
      const spec = site.endsWith('.weight') ? resolve(site) : undefined;
      if (!spec) continue;
      const groups = groupCount(shape, spec.granularity, site);
      parameters[`${site}.upper`] = filled(groups, CLIPPING_START, scaleShape(groups));
      if (conventions === 'reference' || !spec.symmetric)
        parameters[`${site}.lower`] = filled(groups, CLIPPING_START, scaleShape(groups));
    }
  }
  for (const [site, calibrated] of ranges) {
    const spec = resolve(site);
    if (!spec) continue;
    const range = spec.range ?? calibrated;
    const learned = targets.ranges && !(conventions === 'exact' && spec.range);
    const target = learned ? parameters : constants;
    if (learned && conventions === 'exact') {
      constants[`${site}.min`] = scalar(Math.min(range.min, 0));
      constants[`${site}.max`] = scalar(Math.max(range.max, 0));
      target[`${site}.high`] = scalar(0);
      if (!spec.symmetric) target[`${site}.low`] = scalar(0);
    } else {
      const { encoding } = encodingFromRange(range, spec, { site });
      target[`${site}.scale`] = scalar(encoding.scale[0] as number);
      target[`${site}.offset`] = scalar(encoding.zeroPoint[0] as number);
      if (learned && spec.symmetric) {
        constants[`${site}.offset`] = target[`${site}.offset`] as Value;
        delete target[`${site}.offset`];
      }
    }
  }
  return { parameters, constants };
}

/** Reference conventions: before each step, scales (and non-zero shifts) of LET are at least 1e-2 in size. In place. */
export function liftSmallScales(parameters: Readonly<Record<string, Value>>): void {
  for (const [name, { data }] of Object.entries(parameters)) {
    if (parameterGroup(name) !== 'let') continue;
    for (let i = 0; i < data.length; i++) {
      const value = data[i] as number;
      if (Math.abs(value) < SMALLEST_LET_SCALE) data[i] = Math.sign(value) * SMALLEST_LET_SCALE;
    }
  }
}

type Tensors = Readonly<Record<string, tf.Tensor>>;

/** The transformation that a layer's parameters stand for. */
export function transformOf(inputs: Tensors, conventions: Conventions): LayerTransform {
  const scaleOf = (pair: Pair): tf.Tensor | undefined => {
    const parameter = inputs[`${pair}.scale`];
    return parameter && (conventions === 'exact' ? tf.exp(parameter) : parameter);
  };
  const channels = (pair: Pair): ChannelScale | undefined => {
    const scale = scaleOf(pair);
    return scale && { scale, shift: inputs[`${pair}.shift`] };
  };
  return {
    qkv: channels('qkv'),
    fc1: channels('fc1'),
    out: channels('out'),
    fc2: channels('fc2'),
    qkt: scaleOf('qkt'),
  };
}

/** The smallest and largest value that a weight keeps: per group `[groups, 1]`, per tensor a scalar. */
export function clippingRange(
  site: string,
  w: tf.Tensor,
  spec: QuantizerSpec,
  inputs: Tensors,
  conventions: Conventions,
): { min: tf.Tensor; max: tf.Tensor } {
  const { granularity } = spec;
  const rows = granularity.kind !== 'tensor';
  const groups = granularity.kind === 'group' ? tf.reshape(w, [-1, granularity.size]) : w;
  const factor = (name: string, x: tf.Tensor) => {
    const parameter = inputs[`${site}.${name}`];
    return parameter ? tf.mul(tf.sigmoid(parameter), x) : x;
  };
  if (conventions === 'exact' && spec.symmetric) {
    const max = factor('upper', largest(tf.abs(groups), rows));
    return { min: tf.neg(max), max };
  }
  const [max, min] = [factor('upper', largest(groups, rows)), factor('lower', smallest(groups, rows))];
  return conventions === 'exact' ? { min: tf.minimum(min, 0), max: tf.maximum(max, 0) } : { min, max };
}

/** The tap that simulates quantization with a layer's parameters and constants. */
export function learningTap(
  inputs: Tensors,
  { resolve, conventions, targets }: Omit<LearnablesOptions, 'config'>,
): Tap {
  const learnsKnownRanges = targets.ranges && conventions === 'reference';
  return {
    weight(site, w) {
      const spec = resolve(site);
      if (!spec) return w;
      const { min, max } = clippingRange(site, w, spec, inputs, conventions);
      const { scale, offset } = weightGrid(min, max, spec);
      // A norm's weights are of one sign: the reference's zero point lies outside its 16-bit grid.
      const freeOffset = conventions === 'reference' && !spec.symmetric && spec.bits > 8;
      return quantizeAs(spec, w, scale, offset, { signed: true, freeOffset });
    },
    activation(site, x, hint) {
      const spec = resolve(site);
      if (!spec) return x;
      const fixed = spec.range !== undefined && !learnsKnownRanges; // never left, nothing learned
      return quantizeActivation(site, x, spec, inputs, { nonnegative: hint?.nonnegative ?? false, fixed });
    },
  };
}

/** Scale with a gradient, zero point without: that is how the reference trains clipping. */
function weightGrid(
  min: tf.Tensor,
  max: tf.Tensor,
  { bits, symmetric }: QuantizerSpec,
): { scale: tf.Tensor; offset: tf.Tensor } {
  const limited = (scale: tf.Tensor) => tf.clipByValue(scale, ...SCALE_LIMITS);
  if (symmetric) {
    const alpha = tf.maximum(tf.abs(max), tf.abs(min));
    const scale = limited(tf.div(alpha, 2 ** (bits - 1) - 1));
    return { scale, offset: tf.fill(scale.shape, 2 ** (bits - 1)) };
  }
  const scale = limited(tf.div(tf.sub(max, min), 2 ** bits - 1));
  return { scale, offset: constant((x) => tf.neg(tf.round(x)), tf.div(min, scale)) };
}

function quantizeActivation(
  site: string,
  x: tf.Tensor,
  spec: QuantizerSpec,
  inputs: Tensors,
  attributes: Partial<FakeQuantizeAttributes>,
): tf.Tensor {
  const input = (name: string) => inputs[`${site}.${name}`];
  const [scale, offset] = [input('scale'), input('offset')];
  if (scale && offset) return quantizeAs(spec, x, scale, offset, attributes);

  const [low, high, min, max] = [input('low'), input('high'), input('min'), input('max')];
  if (!high || !min || !max)
    throw new Error(`learn: expected a calibrated range of '${site}', got none. Collect statistics that cover it.`);
  const top = tf.mul(max, tf.exp(high));
  if (!low) {
    const alpha = tf.mul(tf.maximum(tf.abs(min), tf.abs(max)), tf.exp(high));
    const width = tf.clipByValue(tf.div(alpha, 2 ** (spec.bits - 1) - 1), ...SCALE_LIMITS);
    return quantizeAs(spec, x, width, tf.fill([], 2 ** (spec.bits - 1)), attributes);
  }
  const bottom = tf.mul(min, tf.exp(low));
  const width = tf.clipByValue(tf.div(tf.sub(top, bottom), 2 ** spec.bits - 1), ...SCALE_LIMITS);
  return quantizeAs(spec, x, width, tf.neg(tf.div(bottom, width)), attributes);
}

/**
 * The range of an activation site that parameters and constants stand for; undefined where the site is not theirs.
 *
 * @throws RangeError for a scale that learning took below 0: under reference conventions nothing holds it.
 */
export function learnedRange(
  site: string,
  spec: QuantizerSpec,
  { parameters, constants }: LayerLearnables,
): Range | undefined {
  const number = (name: string): number | undefined => {
    const key = `${site}.${name}`;
    return (parameters[key] ?? constants[key])?.data[0] as number | undefined;
  };
  const [scale, offset] = [number('scale'), number('offset')];
  if (scale !== undefined && offset !== undefined) {
    if (!(scale > 0))
      throw new RangeError(
        `${site}: expected a learned scale above 0, got ${scale}. Lower the rate of ranges ('lrl'), or learn by a recipe with exact conventions.`,
      );
    const top = 2 ** spec.bits - 1;
    const zero = Math.min(Math.max(roundHalfEven(offset), 0), top); // as the quantizer that was trained takes it
    return spec.symmetric
      ? { min: -scale * (2 ** (spec.bits - 1) - 1), max: scale * (2 ** (spec.bits - 1) - 1) }
      : { min: -zero * scale, max: (top - zero) * scale };
  }
  const [low, high, min, max] = [number('low'), number('high'), number('min'), number('max')];
  if (high === undefined || min === undefined || max === undefined) return undefined;
  if (low !== undefined) return { min: min * Math.exp(low), max: max * Math.exp(high) };
  const alpha = Math.max(-min, max) * Math.exp(high);
  return { min: -alpha, max: alpha };
}
