/** From a float model to a quantized directory, by one method; what learning is in the middle of lies in that directory too. */
import { join } from 'node:path';
import {
  carryOut,
  type Method,
  type Observation,
  type OnProgress,
  type Placement,
  type Plan,
  type PlanResult,
  PRESETS,
  type Preset,
  presetPlan,
  type QuantizeResult,
  quantizeBy,
  type SmoothQuantOptions,
} from '@mobilequant/calibration';
import type { JsonValue } from '@mobilequant/checkpoint/node';
import { checkRecipe, type Recipe } from '@mobilequant/quantizer';
import type { Runtime } from '@mobilequant/tracer';
import { learningFile } from './learning-file.ts';
import { checkOutput } from './output-directory.ts';
import { type ModelSizes, QUANTIZATION_FILE, sizesOf, writeQuantized } from './quantized-directory.ts';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';
import type { Model } from './read-model.ts';

/** Where an unfinished run keeps its state, in the directory it is going to write. */
export const LEARNING_FILE = 'learning.safetensors';

export interface QuantizeDirectoryInput {
  readonly model: Model;
  readonly recipe: Recipe;
  /** One of the paper's, or a preset: a plan of steps for this recipe. */
  readonly method: Method | Preset;
  /** Token ids for ranges and smoothing scales. */
  readonly calibration: readonly Int32Array[];
  /** Token ids to learn from; by default those of calibration. */
  readonly training?: readonly Int32Array[];
  /** For presets: what was observed of the calibration samples elsewhere (`observe`). */
  readonly observed?: Observation;
}

export interface QuantizeDirectoryOptions {
  /** Passes over the training samples. Default 2. */
  readonly epochs?: number;
  readonly smoothing?: SmoothQuantOptions;
  /** Steps of a preset's plan that are to be otherwise. */
  readonly plan?: Partial<Plan>;
  /** Of what is drawn at random: rotations, and the order of samples in tuning. Default 0. */
  readonly seed?: number;
  /** Go on from the state that an unfinished run left; from the start if there is none. */
  readonly resume?: boolean;
  /** Seconds between saves of that state. Default 30. */
  readonly saveEvery?: number;
  /** Noted in `quantization.json` beside what this function knows itself. */
  readonly notes?: Readonly<Record<string, JsonValue>>;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

export interface QuantizedDirectory {
  readonly directory: string;
  readonly sizes: ModelSizes;
  /** Activation sites whose range had to be widened to contain zero. */
  readonly widened: readonly string[];
  readonly seconds: number;
  /** Seconds of each step of a preset. */
  readonly steps?: Readonly<Record<string, number>>;
  /** What the budget of a preset moved to 16 bits. */
  readonly placement?: Placement;
}

/**
 * Quantizes a model and writes it.
 *
 * @throws QuantizedDirectoryError when the directory holds something else, or the state of an unfinished run without `resume`;
 *   RecipeError for a recipe that does not fit the model; LearningFileError or StateMismatchError for a state that is damaged or another run's. Nothing is overwritten then.
 */
export async function quantizeDirectory(
  runtime: Runtime,
  directory: string,
  { model, recipe, method, calibration, training, observed }: QuantizeDirectoryInput,
  {
    epochs = 2,
    smoothing = {},
    plan: changes = {},
    seed = 0,
    resume = false,
    saveEvery = 30,
    notes = {},
    onProgress,
    signal,
  }: QuantizeDirectoryOptions = {},
): Promise<QuantizedDirectory> {
  const start = performance.now();
  const store = learningFile(join(directory, LEARNING_FILE));
  await checkOutput(directory, isOurs, 'a quantized model');
  checkRecipe(recipe, model.config.layers);
  const way = isPreset(method) ? { plan: { ...presetPlan(method, recipe, model.config), ...changes } } : { method };
  const learns = 'plan' in way ? way.plan.tuning > 0 || way.plan.rounding === 'learned' : learnsByEpochs(way.method);
  if (resume && learns)
    await store.load(); // a damaged state is found before anything is computed
  else if (await store.exists()) {
    const advice = `${learns ? 'Resume it' : 'Resume it by its own method'}, delete that file, or choose another directory.`;
    throw new QuantizedDirectoryError(directory, 'no unfinished run', LEARNING_FILE, advice);
  }

  const { config, weights, checkpoint, name } = model;
  const input = { config, weights, recipe, calibration, ...(training && { training }) };
  const reporting = { store, saveEvery, ...(onProgress && { onProgress }), ...(signal && { signal }) };
  const made: QuantizeResult & Partial<Pick<PlanResult, 'seconds' | 'placement' | 'tuning'>> =
    'plan' in way
      ? await carryOut(
          runtime,
          { ...input, first: await beginning(checkpoint), ...(observed && { observed }) },
          way.plan,
          {
            ...reporting,
            seed,
            epochs,
          },
        )
      : await quantizeBy(runtime, { ...input, method: way.method }, { epochs, smoothing, ...reporting });
  const { model: quantized, widened, placement, tuning } = made;
  const options = {
    calibration: sizeOf(calibration),
    ...(learns && { training: sizeOf(training ?? calibration) }),
    ...('plan' in way
      ? {
          plan: { ...way.plan, prefix: quantized.config.prefix },
          ...(placement && placed(placement)),
          ...(way.plan.rounding === 'learned' && { epochs }),
          seed,
        }
      : optionsOf(way.method, epochs, smoothing)),
    ...notes,
  };
  const provenance = { source: name, method, options, widened, ...(tuning && { tuning }) };
  await writeQuantized(directory, quantized, checkpoint, provenance);
  await store.remove();
  const seconds = (performance.now() - start) / 1000;
  return {
    directory,
    sizes: sizesOf(quantized),
    widened,
    seconds,
    ...(made.seconds && { steps: made.seconds }),
    ...(placement && { placement }),
  };
}

/** What is noted of a placement; the sites are in the recipe. */
const placed = ({ cost, before, after }: Placement) => ({ placement: { cost, before, after } });

const isPreset = (method: Method | Preset): method is Preset => (PRESETS as readonly string[]).includes(method);

/** Whether a method sees its samples several times. */
export const learnsByEpochs = (method: Method | Preset): boolean => method === 'omniquant' || method === 'mobilequant';

const sizeOf = (samples: readonly Int32Array[]): string => `${samples.length} × ${samples[0]?.length ?? 0} tokens`;

/** What the paper's methods were told. */
const optionsOf = (method: Method, epochs: number, smoothing: SmoothQuantOptions) => ({
  ...(learnsByEpochs(method) && { epochs }),
  ...(method !== 'minmax' && { smoothing: { ...smoothing } }),
});

/** The token that begins a text; a model can be without one, or without a tokenizer. */
export const beginning = async (checkpoint: Model['checkpoint']): Promise<number | undefined> =>
  (await checkpoint.tokenizer().catch(() => undefined))?.bosId;

const isOurs = (entries: readonly string[]): boolean =>
  entries.includes(QUANTIZATION_FILE) ||
  entries.includes(LEARNING_FILE) ||
  entries.every((entry) => entry.startsWith(`.${LEARNING_FILE}.`)); // a first save that was cut off
