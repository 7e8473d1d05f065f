/**
 * R1 learned: the rotation of the residual stream under which the linears of a quantized model err least, each on the inputs that it has
 * in the float model.
 *
 *     readers   ‖fq(x · Q) · fq(W · Q)ᵀ - x · Wᵀ‖² / ‖x · Wᵀ‖²        writers   ‖h · fq(Qᵀ · W)ᵀ - h · Wᵀ · Q‖² / ‖h · Wᵀ‖²
 *
 * Adam moves on the orthogonal group: the gradient in its tangent space is a skew matrix A, and Q · exp(A), cut off and made orthogonal
 * again by Newton and Schulz, takes only products. One layer a step. (SpinQuant, arXiv 2405.16406, learns it end to end instead.)
 */
import {
  block,
  contextCache,
  type DecoderConfig,
  embed,
  layerShapes,
  readLayer,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import { type Recipe, type ResolveSite, resolveRecipe } from '@mobilequant/quantizer';
import {
  type Executor,
  type ProgramCache,
  programCache,
  type TracedInputs,
  type Value,
  type Values,
} from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { adamW } from './adamw.ts';
import { checkSamples } from './check-samples.ts';
import { foldNorms, layerNorms, WRITERS } from './fold-norms.ts';
import { learningTap } from './learnables.ts';
import { evenPlaces, greatestDivisor } from './numbers.ts';
import { type OnProgress, progressOf } from './progress.ts';
import { randomRotation } from './random-rotation.ts';
import { checkResidual } from './rotations.ts';
import { learningRateAt } from './schedule.ts';

export interface RotationInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** How linears and the norms before them are quantized. */
  readonly recipe: Recipe;
  /** Token ids. */
  readonly samples: readonly Int32Array[];
}

export interface LearnRotationOptions {
  /** Default 100. */
  readonly steps?: number;
  /** About how far the first step turns at most, in radians; later ones turn less. Default 0.05. */
  readonly rate?: number;
  /** Tokens whose values each layer learns from. Default 256. */
  readonly tokens?: number;
  /** Of the random rotation that is the start. Default 0. */
  readonly seed?: number;
  /** The part of each weight's range that is kept, as rounding will clip it later. Default 1. */
  readonly kept?: number;
  readonly onProgress?: OnProgress;
}

export interface LearnedRotation {
  /** `[hidden, hidden]`, for `rotateResidual`. */
  readonly rotation: Float32Array;
  /** Error of each step's layer, relative to its outputs, before the step. */
  readonly losses: readonly number[];
}

/**
 * Learns the rotation of the residual stream. Values that heads rotate are rotated first: `rotate` without the residual stream.
 *
 * @throws TransformError where it cannot be rotated, RangeError without samples; what `onProgress` throws, to stop it.
 */
export async function learnRotation(
  executor: Executor,
  { config: given, weights: stored, recipe, samples }: RotationInput,
  { steps = 100, rate = 0.05, tokens = 256, seed = 0, kept = 1, onProgress }: LearnRotationOptions = {},
): Promise<LearnedRotation> {
  checkResidual(given);
  checkSamples(samples, 'learnRotation');
  const { config, weights } = foldNorms(given, stored);
  const programs = programCache(executor);
  const { layers, hidden } = config;
  const shape = [hidden, hidden];
  const resolve = resolveRecipe(recipe);
  const optimizer = adamW();
  const skew = new Float32Array(hidden * hidden);
  const moments = optimizer.init({ skew });
  const progress = progressOf('rotation', steps, onProgress);
  const losses: number[] = [];
  let q: Value = { data: randomRotation(hidden, seed), shape };

  try {
    const inputs = await linearInputs(programs, config, weights, samples, tokens);
    for (let step = 0; step < steps; step++) {
      const layer = (step * strideThrough(layers)) % layers;
      const feeds = { ...(await readLayer(weights, layer)), ...(inputs[layer] as Values), q };
      const { loss, gradient } = await (await lossProgram(layer, feeds)).run(feeds);
      losses.push(loss.data[0] as number);
      skew.fill(0);
      const learningRate = learningRateAt({ from: rate, to: 0 }, step, steps) / (2 * Math.sqrt(hidden)); // the norm of ±1s
      optimizer.update({ skew }, { skew: gradient.data as Float32Array }, moments, () => learningRate);
      const turn = await programs.program('turn', () => ({ q: shape, skew: shape }), turned);
      q = (await turn.run({ q, skew: { data: skew, shape } })).turned;
      progress.step(losses.at(-1));
    }
  } finally {
    await programs.release();
  }
  return { rotation: q.data as Float32Array, losses };

  function lossProgram(layer: number, feeds: Values) {
    const own: ResolveSite = (site) => resolve(`model.layers.${layer}.${site}`);
    const specs = Object.keys(feeds).map((name) => own(name.replace(INPUT, '')) ?? null);
    return programs.program(
      JSON.stringify([specsOf(feeds), specs]),
      () => specsOf(feeds),
      (given) => {
        const { value, grad } = tf.valueAndGrad((q) => relativeError(q, given, config, own, kept))(
          given['q'] as tf.Tensor,
        );
        const along = tf.matMul(given['q'] as tf.Tensor, grad, true);
        return { loss: value, gradient: tf.sub(along, tf.transpose(along)) };
      },
    );
  }
}

/** A step through the layers that visits all of them, neighbours far apart. */
function strideThrough(layers: number): number {
  let stride = Math.round(layers * 0.618);
  while (greatestDivisor(stride, layers) !== 1) stride++;
  return stride;
}

/** Q · exp(A), orthogonal to rounding. @param skew A, `[n, n]` */
function turned({ q, skew }: TracedInputs<Record<'q' | 'skew', readonly number[]>>): { turned: tf.Tensor } {
  let next = tf.add(q, tf.matMul(q, tf.add(skew, tf.div(tf.matMul(skew, skew), 2))));
  for (let i = 0; i < 2; i++) next = tf.sub(tf.mul(next, 1.5), tf.div(tf.matMul(next, tf.matMul(next, next, true)), 2));
  return { turned: next };
}

const INPUT = 'input:'; // before the name of a site whose values are fed

/** The mean over the linears of a layer. Ranges are those of the values at hand. */
function relativeError(
  q: tf.Tensor,
  given: TracedInputs,
  config: DecoderConfig,
  resolve: ResolveSite,
  kept: number,
): tf.Scalar {
  const targets = { pairs: [], shifts: false, clipping: false, ranges: false };
  const rounded = (site: string, w: tf.Tensor): tf.Tensor => {
    const part: Record<string, tf.Tensor> = {};
    if (kept < 1 && site.endsWith('.weight'))
      part[`${site}.upper`] = part[`${site}.lower`] = tf.scalar(Math.log(kept / (1 - kept)));
    return learningTap(part, { resolve, conventions: 'exact', targets }).weight(site, w);
  };
  const tensor = (name: string): tf.Tensor => given[name] as tf.Tensor;
  const errors: tf.Tensor[] = [];
  const compare = (got: tf.Tensor, wanted: tf.Tensor): void => {
    errors.push(tf.div(tf.sum(tf.square(tf.sub(got, wanted))), tf.sum(tf.square(wanted))));
  };
  for (const { norm, linears } of layerNorms(config)) {
    const x = tensor(`${INPUT}${norm}.output`);
    const rotated = rounded(`${norm}.output`, tf.matMul(x, q));
    for (const linear of linears) {
      const site = `${linear}.weight`;
      const w = tensor(site);
      compare(tf.matMul(rotated, rounded(site, tf.matMul(w, q)), false, true), tf.matMul(x, w, false, true));
    }
  }
  for (const linear of WRITERS) {
    const site = `${linear}.weight`;
    const [x, w] = [tensor(`${INPUT}${linear}.input`), tensor(site)];
    const wanted = tf.matMul(tf.matMul(x, w, false, true), q);
    compare(tf.matMul(x, rounded(site, tf.matMul(q, w, true)), false, true), wanted);
  }
  return tf.div(tf.addN(errors), errors.length);
}

/** Some tokens' values at the inputs of each layer's linears, under `INPUT` and the site's name. */
async function linearInputs(
  programs: ProgramCache,
  config: DecoderConfig,
  weights: Weights,
  samples: readonly Int32Array[],
  tokens: number,
): Promise<Values[]> {
  const context = contextCache(config);
  const sites = [
    ...layerNorms(config).map(({ norm }) => `${norm}.output`),
    ...WRITERS.map((linear) => `${linear}.input`),
  ];
  const kept = Array.from({ length: config.layers }, (): Record<string, Value[]> => ({}));
  for (const sample of samples) {
    const rows = Math.min(sample.length, Math.ceil(tokens / samples.length));
    const chosen = Int32Array.from(evenPlaces(sample.length, rows));
    let x: Value = await embed(config, weights, sample);
    for (let layer = 0; layer < config.layers; layer++) {
      const own = await readLayer(weights, layer);
      const positions = context(sample.length, layer);
      const feeds = { ...positions, ...own, x, chosen: { data: chosen, shape: [rows] } };
      const program = await programs.program(
        JSON.stringify([sample.length, rows, layerShapes(weights, layer)]),
        () => ({ ...specsOf({ ...positions, ...own, x }), chosen: { shape: [rows], dtype: 'int32' as const } }),
        (inputs) => {
          const report: Record<string, tf.Tensor> = {};
          const tap: Tap = {
            weight: (_, w) => w,
            activation(site, y) {
              if (sites.includes(site)) report[INPUT + site] = tf.gather(y, inputs['chosen'] as tf.Tensor1D);
              return y;
            },
          };
          return { y: block(inputs.x, inputs, inputs, config, { tap }).x, ...report };
        },
      );
      const { y, ...values } = await program.run(feeds);
      for (const [site, value] of Object.entries(values))
        ((kept[layer] as Record<string, Value[]>)[site] ??= []).push(value);
      x = y;
    }
  }
  return kept.map((own) => Object.fromEntries(Object.entries(own).map(([site, parts]) => [site, stacked(parts)])));
}

function stacked(parts: readonly Value[]): Value {
  const columns = parts[0]?.shape[1] as number;
  const rows = parts.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
  const data = new Float32Array(rows * columns);
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  return { data, shape: [rows, columns] };
}
