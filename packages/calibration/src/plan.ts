/**
 * A plan: the way from a float model to a quantized one, step by step. Each step is a module of its own and can be left out; none adds
 * an operator to what the device runs.
 *
 *     prefix     tokens before every text that take the sinks upon themselves
 *     transform  the same float function, easier to round: scales, or rotations
 *     ranges     of activations, by the recipe's rules
 *     budget     for more activations of 16 bits, placed where 8 bits cost most
 *     rounding   of weights: nearest, with feedback (GPTQ), or as the paper learns it
 *     reconstruction   of each layer's output, by integers that are learned together
 *     tuning     of scales, norms and biases by the divergence of the logits
 */
import type { DecoderConfig, Weights } from '@mobilequant/core';
import { type Recipe, resolveRecipe } from '@mobilequant/quantizer';
import type { Observation } from './observation.ts';

export interface Plan {
  /** So many tokens at most, searched; 0 for none; or the tokens. */
  readonly prefix: number | readonly number[];
  readonly transform: Transform;
  /**
   * `rules`: the recipe's; `minmax`: everything is kept; `loss`: the recipe's, but in place of percentiles whatever adds least to the loss
   * of the text (`collectSensitivities`).
   */
  readonly ranges: RangeChoice;
  /** The share of the layers' multiply-accumulates that may move to 16-bit activations (`placePrecision`), to 1; 0 for none. */
  readonly budget: number;
  /** `learned`: to nearest, after what the paper learns end to end (scales, clipping, ranges), from where the transformation left off. */
  readonly rounding: Rounding;
  /** How much of the errors before it GPTQ lets a linear make up for, to 1 (`gptq`), by the training text if that is longer; 0 for none. */
  readonly correction: number;
  /** Calibration samples whose gradients tell GPTQ what errors of a linear's outputs cost together (`collectOutputHessians`); 0: each costs the same. */
  readonly gradients: number;
  /** Times that integers are decided again after GPTQ's rounding, at most (`descend`); 0 for none. */
  readonly sweeps: number;
  /** Times that each layer sees the training samples when its integers are learned together after GPTQ (`reconstruct`); 0 for none. */
  readonly reconstruction: number;
  /** Steps; 0 for none. */
  readonly tuning: number;
  /** While tuning, the rank of what moves the integers of the weights; 0: they stay. */
  readonly learnedRounding: number;
}

export const TRANSFORMS = ['none', 'smooth', 'scales', 'rotation', 'rotation+scales'] as const;
export type Transform = (typeof TRANSFORMS)[number];

export const RANGE_CHOICES = ['rules', 'minmax', 'loss'] as const;
export type RangeChoice = (typeof RANGE_CHOICES)[number];

export const ROUNDINGS = ['nearest', 'gptq', 'learned'] as const;
export type Rounding = (typeof ROUNDINGS)[number];

export const PRESETS = ['fast', 'best'] as const;
export type Preset = (typeof PRESETS)[number];

/**
 * What is best as far as measured: a rotation with scales for queries and keys, and rounding with feedback; `best`, which takes
 * gradients, chooses ranges by the loss, and tunes; with coarse weights it also lets linears make up for what rounding before them did.
 * Learned rounding has not shown a gain within so few steps. Models with norms behind attention and MLP, whose residual stream cannot be
 * rotated, get scales where weights have 8 bits.
 */
export function presetPlan(preset: Preset, recipe: Recipe, { outputNorms }: Pick<DecoderConfig, 'outputNorms'>): Plan {
  const weights = resolveRecipe(recipe)('model.layers.0.mlp.w1.weight');
  const coarse = weights !== undefined && weights.bits < 8;
  const thorough = preset === 'best' && coarse; // errors of 8-bit weights leave later layers little to make up for
  return {
    prefix: 4,
    transform: outputNorms && !coarse ? 'scales' : 'rotation+scales',
    ranges: preset === 'fast' ? 'rules' : 'loss',
    budget: 0,
    rounding: 'gptq',
    correction: thorough ? 0.5 : 0,
    gradients: thorough ? 16 : 0,
    sweeps: thorough ? 4 : 0,
    reconstruction: 0,
    tuning: preset === 'fast' ? 0 : coarse ? 160 : 90,
    learnedRounding: 0,
  };
}

export interface PlanInput {
  /** As the checkpoint says. */
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** Token ids that prefix, transformation, ranges and plain GPTQ look at. */
  readonly calibration: readonly Int32Array[];
  /** Token ids to learn from, by tuning or learned rounding, and for GPTQ with a correction, which wants many; by default those of calibration. */
  readonly training?: readonly Int32Array[];
  /** Token ids by which the best state is chosen; by default the last of the training samples (`heldOutOf`), which are then not learned from. */
  readonly heldOut?: readonly Int32Array[];
  /** The token that begins a text, if the model has one. */
  readonly first?: number | undefined;
  /** What `observe` found in all of the calibration text; by default it is looked at here. */
  readonly observed?: Observation;
}

/** Of so many training samples, those that are held out to choose the best state by: an eighth, and 4 at most. */
export const heldOutOf = (samples: number): number => Math.min(HELD_OUT, Math.ceil((samples - 1) / 8));

/** Training samples with which tuning sees another one at each step, those that are held out included. */
export const samplesForTuning = (steps: number): number => steps + HELD_OUT;

const HELD_OUT = 4;
