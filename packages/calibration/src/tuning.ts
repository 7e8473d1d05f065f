/**
 * Tuning: with the integers of a quantized model fixed, train what costs a device nothing (`tuning-parameters.ts`) by the divergence of
 * its logits from the float model's, straight through the rounding of activations.
 *
 * Forward through the layers keeping only their inputs, then each layer's own gradient from the last to the first. The logits are never
 * kept: both heads run over some rows at a time. The best state on held-out text is the result.
 */
import {
  type CachedWeights,
  cachedWeights,
  createDecoder,
  embed,
  type FloatModel,
  type QuantizedModel,
} from '@mobilequant/core';
import { type Recipe, resolveRecipe } from '@mobilequant/quantizer';
import type { Executor, Value } from '@mobilequant/tracer';
import { adamW, type Tree } from './adamw.ts';
import {
  checkLoss,
  hashOf,
  InterruptedError,
  type LearningState,
  type LearningStore,
  restore,
  StateMismatchError,
} from './learning.ts';
import { TARGET_BYTES } from './mobile-quant.ts';
import { type OnProgress, progressOf } from './progress.ts';
import { learningRateAt } from './schedule.ts';
import { type Tunable, type TuningTargets, tunable } from './tuning-parameters.ts';
import { addTo, type TuningPrograms, tuningPrograms } from './tuning-programs.ts';

/** What is tuned, and towards what. */
export interface TuningInput {
  readonly model: QuantizedModel;
  /** The model that it stands for: of the same vocabulary, in any form. */
  readonly float: FloatModel;
  /** Token ids to learn from. */
  readonly samples: readonly Int32Array[];
  /** Token ids to choose the best state by; without any the last state is the result. */
  readonly heldOut: readonly Int32Array[];
}

export interface TuningOptions {
  readonly steps: number;
  /** Samples whose gradients make a step. Default 1. */
  readonly batch?: number;
  /** Adam's rate, a relative change a step, after the warm-up. Default 2e-4, with 4-bit weights 5e-4. It falls to 0 as a cosine. */
  readonly rate?: number;
  /** Steps over which the rate rises. Default 5. */
  readonly warmUp?: number;
  /** Default: scales, norms and biases. */
  readonly targets?: Partial<TuningTargets>;
  /**
   * What the error of the last block's output adds to the loss: so many times the mean over tokens of ‖x - x'‖² / ‖x'‖². Only for a model
   * in the float model's basis (not rotated). Default 0.
   */
  readonly hidden?: number;
  /** Of the order of the samples, another each epoch. Default 0. */
  readonly seed?: number;
  /** Steps between evaluations on the held-out text. Default 10. */
  readonly evaluateEvery?: number;
  /** Evaluations without a better state after which tuning ends. Default 8: gains may come late, when the rate has fallen. */
  readonly patience?: number;
  readonly onProgress?: OnProgress;
  readonly onEvaluation?: (evaluation: TuningEvaluation) => void;
  readonly store?: LearningStore;
  /** Seconds between saves; default 30. The state is also saved when the signal aborts. */
  readonly saveEvery?: number;
  readonly signal?: AbortSignal;
}

/** How far the model is from the float one on the held-out text. */
export interface TuningEvaluation {
  /** Steps done. */
  readonly step: number;
  /** Mean KL(float ‖ quantized) of a token, in nats. */
  readonly divergence: number;
}

export interface Tuned {
  readonly model: QuantizedModel;
  /** The first is the model as it came. */
  readonly evaluations: readonly TuningEvaluation[];
  /** The step whose state is the model. */
  readonly step: number;
}

const BETA2 = 0.98;
const DEFAULT_TARGETS: TuningTargets = {
  scales: true,
  norms: true,
  biases: true,
  ranges: false,
  head: false,
  rounding: 0,
};

/** The rate at which tuning starts: coarser weights have more to gain. Chosen on a 135M llama, which faster rates take away from its optimum. */
export function tuningRate(recipe: Recipe): number {
  const weights = resolveRecipe(recipe)('model.layers.0.self_attn.q_proj.weight');
  return weights && weights.bits <= 4 ? 5e-4 : 2e-4;
}

/**
 * Tunes a quantized model.
 *
 * @returns a model with the same integers, unless `targets.rounding` lets them move: its weights lie on their grids, so that rounding to
 * nearest gives them back.
 * @throws StateMismatchError, InterruptedError (the signal's reason before the first step), NonFiniteError (a loss that is no number; lower
 * the rate), RangeError (no samples, or hidden states of two sizes).
 */
export async function tune(executor: Executor, input: TuningInput, options: TuningOptions): Promise<Tuned> {
  const { model, samples, heldOut } = input;
  const float = { ...input.float, weights: cachedWeights(input.float.weights) };
  const {
    steps,
    batch = 1,
    rate = tuningRate(model.recipe),
    warmUp = 5,
    hidden = 0,
    seed = 0,
    evaluateEvery = 10,
    patience = 8,
    onProgress,
    onEvaluation,
    store,
    saveEvery = 30,
    signal,
  } = options;
  if (samples.length === 0 && steps > 0)
    throw new RangeError('tune: expected samples to learn from, got none. Give some that are not held out.');
  const targets = { ...DEFAULT_TARGETS, ...options.targets };
  const settings = { steps, batch, rate, warmUp, hidden, seed, evaluateEvery, patience, targets };

  const tuning = await tunable(executor, model, targets);
  const fingerprint = store ? fingerprintOf(input, settings, tuning) : '';
  const optimizer = adamW({ beta2: BETA2 });
  const parameters = tuning.start();
  const moments = optimizer.init(parameters);
  const evaluations = new Evaluations(parameters);
  const state = await store?.load();
  if (state) {
    if (state.fingerprint !== fingerprint) throw new StateMismatchError(fingerprint, state.fingerprint);
    restore(parameters, state.parameters);
    restore(moments.first, state.first);
    restore(moments.second, state.second);
    moments.step = state.step;
    evaluations.restore(state);
  }

  const programs = tuningPrograms(executor, model.config, float, tuning.inputs);
  const aims = await aimsOf(executor, float, [...samples, ...heldOut], onProgress, signal);
  const session: TuningSession = { tuning, programs, targetOf: aims.of, hidden };
  let saved = performance.now();
  const save = async (): Promise<void> => {
    const { first, second, step } = moments;
    await store?.save({
      fingerprint,
      layer: 0,
      step,
      parameters: { ...parameters, ...evaluations.tree() },
      first,
      second,
    });
    saved = performance.now();
  };
  const evaluate = async (): Promise<void> => {
    if (heldOut.length === 0) return;
    const divergence = await meanDivergence(session, tuning.model(parameters), heldOut);
    evaluations.add({ step: moments.step, divergence }, parameters);
    onEvaluation?.({ step: moments.step, divergence });
  };

  try {
    if (evaluations.done.length === 0) await evaluate();
    const progress = progressOf('tuning', steps, onProgress, moments.step);
    while (moments.step < steps && !evaluations.stale(patience)) {
      const { step } = moments;
      const chosen = Array.from({ length: batch }, (_, i) => inOrder(samples, step * batch + i, seed));
      const { loss, gradients } = await tuningGradients(session, parameters, chosen);
      checkLoss(loss, `tuning, step ${step}`);
      const learningRate = learningRateAt({ from: rate, to: 0 }, step, steps, warmUp);
      optimizer.update(parameters, gradients, moments, () => learningRate);
      progress.step(loss);
      if (moments.step % evaluateEvery === 0 || moments.step === steps) await evaluate();
      if (signal?.aborted) {
        await save();
        throw new InterruptedError(moments.step);
      }
      if (store && performance.now() - saved > saveEvery * 1000) await save();
    }
  } finally {
    await Promise.all([programs.release(), aims.release()]);
  }
  const best = heldOut.length > 0 ? evaluations.best : { step: moments.step, parameters };
  return { model: tuning.model(best.parameters), evaluations: evaluations.done, step: best.step };
}

/** The float model's output of the last block for each sample, `[tokens, hidden]`. */
interface Aims {
  of(sample: Int32Array): Promise<Float32Array>;
  release(): Promise<void>;
}

/**
 * Of all samples at once, layer by layer, so that each layer's weights are read once and none are kept; where that is too much,
 * of each when it is asked for.
 */
async function aimsOf(
  executor: Executor,
  { config, weights }: FloatModel & { readonly weights: CachedWeights },
  samples: readonly Int32Array[],
  onProgress?: OnProgress,
  signal?: AbortSignal,
): Promise<Aims> {
  const decoder = createDecoder(executor, config, weights);
  const bytes = samples.reduce((sum, sample) => sum + sample.length * config.hidden * 4, 0);
  if (bytes > TARGET_BYTES) return { of: (sample) => decoder.hidden(sample), release: () => decoder.release() };
  const progress = progressOf('targets', config.layers, onProgress);
  const states = new Map<Int32Array, Float32Array>();
  try {
    for (const sample of samples) states.set(sample, await decoder.embed(sample));
    for (let i = 0; i < config.layers; i++) {
      for (const [sample, x] of states) {
        signal?.throwIfAborted();
        states.set(sample, await decoder.block(i, x));
      }
      weights.forget();
      progress.step();
    }
  } finally {
    await decoder.release();
  }
  return { of: async (sample) => states.get(sample) as Float32Array, release: async () => {} };
}

/** What a step needs beside the parameters. */
export interface TuningSession {
  readonly tuning: Tunable;
  readonly programs: TuningPrograms;
  /** The float model's output of the last block, `[tokens, hidden]`. */
  readonly targetOf: (sample: Int32Array) => Promise<Float32Array>;
  readonly hidden: number;
}

/** The mean loss of some samples, and its gradient in every parameter. A layer's weights are read once for all of them. */
export async function tuningGradients(
  { tuning, programs, targetOf, hidden }: TuningSession,
  parameters: Tree,
  samples: readonly Int32Array[],
): Promise<{ loss: number; gradients: Record<string, Float32Array> }> {
  const model = tuning.model(parameters);
  const { layers } = model.config;
  const inputs: Value[][] = []; // of each layer
  const outputs = await forward(programs, model, samples, (xs) => inputs.push(xs));

  let loss = 0;
  const sum: Record<string, Float32Array> = {};
  let dys: Value[] = [];
  const head = await programs.head(model);
  for (const [i, { data, shape }] of outputs.entries()) {
    const target = await targetOf(samples[i] as Int32Array);
    const tokens = shape[0] as number;
    const result = await head.vjp(data as Float32Array, target);
    const share = 1 / (tokens * samples.length);
    const dy = result.dx.map((d) => d * share);
    addTo(sum, result.gradients, share);
    loss += share * result.divergence;
    if (hidden > 0) loss += addHiddenError(dy, data as Float32Array, target, tokens, hidden * share);
    dys.push({ data: dy, shape });
  }
  for (let layer = layers - 1; layer >= 0; layer--) {
    const own = await programs.layer(model, layer, tuning.values(parameters, layer));
    const next: Value[] = [];
    for (const [i, dy] of dys.entries()) {
      const { dx, gradients } = await own.vjp(inputs[layer]?.[i] as Value, dy);
      addTo(sum, gradients);
      next.push({ data: dx, shape: dy.shape });
    }
    dys = next;
  }
  return { loss, gradients: tuning.gradients(parameters, sum) };
}

/** Mean KL(float ‖ quantized) of a token. */
async function meanDivergence(
  { programs, targetOf }: TuningSession,
  model: QuantizedModel,
  samples: readonly Int32Array[],
): Promise<number> {
  const outputs = await forward(programs, model, samples);
  const head = await programs.head(model);
  let sum = 0;
  for (const [i, { data }] of outputs.entries())
    sum += await head.divergence(data as Float32Array, await targetOf(samples[i] as Int32Array));
  return Math.fround(sum / samples.reduce((tokens, sample) => tokens + sample.length, 0)); // as it is saved
}

/** All samples through the quantized layers, layer by layer; `each` sees what goes into one. */
async function forward(
  programs: TuningPrograms,
  model: QuantizedModel,
  samples: readonly Int32Array[],
  each?: (xs: Value[]) => void,
): Promise<Value[]> {
  let xs: Value[] = [];
  for (const sample of samples) xs.push(await embed(model.config, model.weights, sample));
  for (let layer = 0; layer < model.config.layers; layer++) {
    each?.(xs);
    const own = await programs.layer(model, layer);
    const next: Value[] = [];
    for (const x of xs) next.push(await own.forward(x));
    xs = next;
  }
  return xs;
}

/** `weight` times the sum over tokens of ‖x - target‖² / ‖target‖², its gradient added to dy. */
function addHiddenError(
  dy: Float32Array,
  x: Float32Array,
  target: Float32Array,
  tokens: number,
  weight: number,
): number {
  if (x.length !== target.length)
    throw new RangeError(
      `tune: expected hidden states of one size, got ${x.length} and ${target.length} numbers. Leave out 'hidden'.`,
    );
  const width = x.length / tokens;
  let loss = 0;
  for (let t = 0; t < tokens; t++) {
    let [error, size] = [0, 0];
    for (let i = t * width; i < (t + 1) * width; i++) {
      error += ((x[i] as number) - (target[i] as number)) ** 2;
      size += (target[i] as number) ** 2;
    }
    loss += (weight * error) / size;
    for (let i = t * width; i < (t + 1) * width; i++)
      dy[i] = (dy[i] as number) + (2 * weight * ((x[i] as number) - (target[i] as number))) / size;
  }
  return loss;
}

/** The evaluations so far and the best state: what a saved state has beside parameters and moments. */
class Evaluations {
  readonly done: TuningEvaluation[] = [];
  best: { readonly step: number; readonly parameters: Tree };

  constructor(start: Tree) {
    this.best = { step: 0, parameters: copied(start) };
  }

  add(evaluation: TuningEvaluation, parameters: Tree): void {
    const least = Math.min(...this.done.map(({ divergence }) => divergence));
    this.done.push(evaluation);
    if (evaluation.divergence < least) this.best = { step: evaluation.step, parameters: copied(parameters) };
  }

  /** Whether so many have passed since the best. */
  stale(patience: number): boolean {
    return this.done.filter(({ step }) => step > this.best.step).length >= patience;
  }

  tree(): Tree {
    const numbers = this.done.flatMap(({ step, divergence }) => [step, divergence]);
    const best = Object.entries(this.best.parameters).map(([name, data]) => [BEST + name, data]);
    return { ...Object.fromEntries(best), [EVALUATIONS]: Float32Array.of(this.best.step, ...numbers) };
  }

  restore({ parameters }: LearningState): void {
    const [step = 0, ...numbers] = parameters[EVALUATIONS] ?? [];
    for (let i = 0; i < numbers.length; i += 2)
      this.done.push({ step: numbers[i] as number, divergence: numbers[i + 1] as number });
    const best = Object.keys(this.best.parameters).flatMap((name) => {
      const stored = parameters[BEST + name];
      return stored ? [[name, stored]] : [];
    });
    restore(this.best.parameters, Object.fromEntries(best));
    this.best = { step, parameters: this.best.parameters };
  }
}

const BEST = 'best/';
const EVALUATIONS = 'evaluations';

const copied = (tree: Tree): Tree =>
  Object.fromEntries(Object.entries(tree).map(([name, data]) => [name, data.slice()]));

/** The sample of a position in an endless row of epochs, each in an order of its own. */
export function inOrder<Sample>(samples: readonly Sample[], position: number, seed: number): Sample {
  const epoch = Math.floor(position / samples.length);
  const order = samples.map((sample, i) => ({ sample, key: hashOf([seed, epoch, i]) }));
  order.sort((a, b) => (a.key < b.key ? -1 : 1));
  return order[position % samples.length]?.sample as Sample;
}

/** Distinguishes runs: the models' configs, integers, grids, settings, and the samples' ids. */
function fingerprintOf(
  { model, float, samples, heldOut }: TuningInput,
  settings: { readonly steps: number },
  tuning: Pick<Tunable, 'fingerprint'>,
): string {
  const grids = [...model.encodings].map(([site, { scale, zeroPoint }]) => [site, [...scale], [...zeroPoint]]);
  const texts = [samples, heldOut].map((set) => set.map((sample) => [...sample]));
  const { name } = model.recipe;
  const facts = [model.config, float.config, model.recipe, tuning.fingerprint(), grids, texts, settings];
  return `tuning ${name} ${settings.steps} ${hashOf(facts)}`;
}
