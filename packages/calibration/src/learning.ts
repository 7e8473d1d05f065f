/**
 * What the learned methods share: options, state that can be saved, and one optimizer step.
 *
 * Whatever is interrupted resumes with the same result: the state is the parameters, the optimizer's moments and the
 * step; samples are visited in order; nothing else is remembered.
 */
import type { DecoderConfig, Weights } from '@mobilequant/core';
import { NonFiniteError, type Range, type Recipe, resolveRecipe } from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import { type AdamW, type AdamWState, adamW, type Tree } from './adamw.ts';
import { type LayerPrograms, layerPrograms } from './layer-programs.ts';
import {
  type LayerLearnables,
  type LearningTargets,
  liftSmallScales,
  type ParameterGroup,
  parameterGroup,
} from './learnables.ts';
import type { OnProgress } from './progress.ts';
import { type LearningRate, learningRateAt } from './schedule.ts';

/** What is learned from: a (smoothed) model in the form that is quantized, its recipe, and its calibrated ranges. */
export interface LearningInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** Full site name → range, of these weights. */
  readonly ranges: ReadonlyMap<string, Range>;
  /** Token ids; one sample is one step, in this order, again each epoch. */
  readonly samples: readonly Int32Array[];
}

export interface LearningOptions {
  readonly epochs: number;
  readonly targets: LearningTargets;
  readonly rates: Readonly<Record<ParameterGroup, LearningRate>>;
  /** Steps over which the learning rates rise. Default 0. */
  readonly warmUp?: number;
  /**
   * Layer by layer: add the error against the float layer on the same (quantized) input. End to end it is the same
   * error twice.
   */
  readonly extraLoss?: boolean;
  readonly onProgress?: OnProgress;
  readonly store?: LearningStore;
  /** Seconds between saves; default 30. The state is also saved when the signal aborts. */
  readonly saveEvery?: number;
  readonly signal?: AbortSignal;
}

/** Everything needed to go on. */
export interface LearningState {
  /** What is being learned from what; a state resumes only the same. */
  readonly fingerprint: string;
  /** Layer by layer: the layer at work; those before it are done. End to end: 0. */
  readonly layer: number;
  /** Steps done, of that layer or in all. */
  readonly step: number;
  /** `<layer>/<name>` → values, of every layer. */
  readonly parameters: Tree;
  /** The optimizer's moments of the parameters at work. */
  readonly first: Tree;
  readonly second: Tree;
}

/** Where states are kept. */
export interface LearningStore {
  load(): Promise<LearningState | undefined>;
  save(state: LearningState): Promise<void>;
}

/** A model whose layers have learned. */
export interface Learned {
  readonly programs: LayerPrograms;
  readonly learnables: readonly LayerLearnables[];
  /** Mean loss of each epoch (end to end), or of each layer's last epoch; of a resumed run, over the steps that it did. */
  readonly losses: readonly number[];
}

/** A saved state that belongs to another run. */
export class StateMismatchError extends Error {
  override readonly name = 'StateMismatchError';

  constructor(expected: string, received: string) {
    super(
      `resume: expected the state of this run (${expected}), got one of another (${received}). Start without it, or with the options it was made with.`,
    );
  }
}

/** Learning was stopped by its signal; the state is saved. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';

  constructor(step: number) {
    super(`learn: interrupted after ${step} steps; the state is saved, resume to go on.`);
  }
}

/** The machinery of one run. */
export interface Session {
  readonly programs: LayerPrograms;
  readonly learnables: readonly LayerLearnables[];
  readonly optimizer: AdamW;
  readonly fingerprint: string;
  /** Makes scales usable before a forward pass. */
  prepare(layer: number): void;
  /**
   * A state to continue from, its parameters already in `learnables`.
   * @throws StateMismatchError for the state of another run.
   */
  resume(): Promise<LearningState | undefined>;
  /** The optimizer's moments of some parameters: those of a state, or fresh ones. */
  moments(tree: Tree, state: LearningState | undefined): AdamWState;
  save(layer: number, step: number, moments: AdamWState): Promise<void>;
  /** Saves if it is time, or if the run was told to stop (and then throws InterruptedError). */
  checkpoint(layer: number, step: number, moments: AdamWState): Promise<void>;
  learningRate(step: number, steps: number): (name: string) => number;
}

/** Starts a run: programs, parameters at their starting point, an optimizer. */
export function startSession(
  executor: Executor,
  method: string,
  input: LearningInput,
  options: LearningOptions,
): Session {
  const { config, weights, recipe, ranges } = input;
  const { targets, rates, warmUp = 0, store, saveEvery = 30, signal } = options;
  const programs = layerPrograms(executor, {
    config,
    weights,
    recipe,
    resolve: resolveRecipe(recipe),
    ranges,
    targets,
  });
  const learnables = Array.from({ length: config.layers }, (_, layer) => programs.learnables(layer));
  const fingerprint = fingerprintOf(method, input, options);
  const optimizer = adamW();
  let saved = performance.now();

  const save = async (layer: number, step: number, { first, second }: AdamWState): Promise<void> => {
    await store?.save({ fingerprint, layer, step, parameters: allParameters(learnables), first, second });
    saved = performance.now();
  };
  return {
    programs,
    learnables,
    optimizer,
    fingerprint,
    save,
    prepare(layer) {
      if (recipe.conventions === 'reference') liftSmallScales((learnables[layer] as LayerLearnables).parameters);
    },
    async resume() {
      const state = await store?.load();
      if (!state) return undefined;
      if (state.fingerprint !== fingerprint) throw new StateMismatchError(fingerprint, state.fingerprint);
      restore(allParameters(learnables), state.parameters);
      return state;
    },
    moments(tree, state) {
      const moments = optimizer.init(tree);
      if (!state) return moments;
      restore(moments.first, state.first);
      restore(moments.second, state.second);
      return { ...moments, step: state.step };
    },
    async checkpoint(layer, step, moments) {
      if (signal?.aborted) {
        await save(layer, step, moments);
        throw new InterruptedError(step);
      }
      if (store && performance.now() - saved > saveEvery * 1000) await save(layer, step, moments);
    },
    learningRate: (step, steps) => {
      const rate = (group: ParameterGroup) => learningRateAt(rates[group], step, steps, warmUp);
      const now = { let: rate('let'), lwc: rate('lwc'), lrl: rate('lrl') };
      return (name) => now[parameterGroup(name.slice(name.indexOf('/') + 1))];
    },
  };
}

/** Copies stored values over the current ones. */
export function restore(current: Tree, stored: Tree): void {
  for (const [name, values] of Object.entries(current)) {
    const known = stored[name];
    if (known?.length !== values.length)
      throw new StateMismatchError(`${values.length} values of ${name}`, `${known?.length ?? 'none'}`);
    values.set(known);
  }
}

/** Parameters of a layer under names that are unique in the model. */
export const treeOf = (layer: number, { parameters }: LayerLearnables): Tree =>
  Object.fromEntries(Object.entries(parameters).map(([name, { data }]) => [`${layer}/${name}`, data as Float32Array]));

/** Parameters of all layers. */
export const allParameters = (learnables: readonly LayerLearnables[]): Tree =>
  Object.assign({}, ...learnables.map((layer, i) => treeOf(i, layer)));

/** A layer's gradients under the names of `treeOf`. */
export const namesIn = (layer: number, gradients: Readonly<Record<string, Float32Array>>): Tree =>
  Object.fromEntries(Object.entries(gradients).map(([name, g]) => [`${layer}/${name}`, g]));

export const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

/** @throws NonFiniteError */
export function checkLoss(loss: number, where: string): void {
  if (!Number.isFinite(loss)) {
    throw new NonFiniteError({
      where,
      expected: 'a finite loss',
      received: String(loss),
      advice: 'Lower the learning rates, or look for a constant site.',
    });
  }
}

/** Distinguishes runs: method, recipe, rates, sizes, and the samples' ids. */
function fingerprintOf(
  method: string,
  { config, recipe, ranges, samples }: LearningInput,
  { epochs, targets, rates, warmUp, extraLoss }: LearningOptions,
): string {
  const facts = [
    config,
    recipe,
    [...ranges],
    epochs,
    targets,
    rates,
    warmUp ?? 0,
    extraLoss ?? false,
    samples.map((s) => [...s]),
  ];
  return `${method} ${recipe.name} ${epochs}x${samples.length} ${hashOf(facts)}`;
}

/** 16 digits that tell values apart. */
export function hashOf(value: unknown): string {
  const text = JSON.stringify(value);
  return hashBy(text.length, (i) => text.charCodeAt(i));
}

/** 16 digits that tell integers apart. */
export const hashOfIntegers = (values: Int8Array | Int16Array | Int32Array): string =>
  hashBy(values.length, (i) => values[i] as number);

function hashBy(length: number, at: (i: number) => number): string {
  let [a, b] = [0x811c9dc5, 0x1000193];
  for (let i = 0; i < length; i++) {
    const code = at(i);
    a = Math.imul(a ^ code, 0x01000193) >>> 0;
    b = Math.imul(b ^ code, 0x5bd1e995) >>> 0;
  }
  return a.toString(16).padStart(8, '0') + b.toString(16).padStart(8, '0');
}
