/** `mobilequant quantize`: a float model in, a quantized directory out. */
import {
  InterruptedError,
  METHODS,
  type Placement,
  PRESETS,
  presetPlan,
  samplesForTuning,
} from '@mobilequant/calibration';
import { formatNumber } from '@mobilequant/evaluator';
import { recipes } from '@mobilequant/quantizer';
import { type Command, checkStopped, command, pathFrom, runtimeFrom, runtimeOptions } from '../command.ts';
import { readObservations } from '../observation-file.ts';
import { choice, flag, integer, text, texts, UsageError } from '../options.ts';
import { duration, progressTo, size } from '../progress.ts';
import { learnsByEpochs, quantizeDirectory } from '../quantize-directory.ts';
import {
  calibrationOptions,
  learningOptions,
  openModel,
  openRecipe,
  samplesBy,
  samplesFor,
} from './calibration-options.ts';
import { planOf, planOptions } from './plan-options.ts';

const options = {
  recipe: text('NAME|FILE', `${Object.keys(recipes).join(', ')}, or a JSON file`, 'w8a8'),
  method: choice([...PRESETS, ...METHODS], 'a preset, or a method of the paper', 'fast'),
  ...planOptions,
  ...calibrationOptions,
  observed: texts(
    'FILE…',
    'preset: what `observe` found in all parts of the calibration text (default: looked at here)',
  ),
  out: text('DIR', 'directory to write'),
  resume: flag('go on where an interrupted run stopped'),
  'save-every': integer('SECONDS', 'time between saves while learning', 0, 30),
  ...runtimeOptions,
};

const notes = `Presets: fast takes no gradients; best chooses ranges by the loss and tunes scales, norms and biases; both choose their steps by the recipe.
Statistics come from N windows of T tokens at even distances over the text, learning from windows at random places.
Interrupted (Ctrl-C, or killed), learning goes on with --resume and the same options, to the same result.`;

/** Methods that smooth by statistics. */
const SMOOTHING: readonly string[] = METHODS.filter((method) => method !== 'minmax');

/** Stages that save what they have when they are stopped. */
const LEARNING_STAGES = ['end to end', 'layer by layer', 'tuning'];

function describePlacement({ moved, cost, before, after }: Placement): string {
  const share = `${(100 * cost).toFixed(1)} % of the multiply-accumulates`;
  const gain = `divergence of the sites alone ${formatNumber(before)}, of those that stay ${formatNumber(after)}`;
  return `16 bits for ${moved.length} sites more, ${share}: ${gain}.`;
}

export const quantize: Command = command({
  name: 'quantize',
  summary: 'quantize a model: a directory, a GGUF file, or a name on the Hugging Face hub',
  positionals: ['MODEL'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const { print, report, signal } = surroundings;
    const directory = pathFrom(surroundings, values.out);
    const recipe = await openRecipe(values.recipe, '--recipe', surroundings);
    const plan = planOf(values);
    const preset = PRESETS.find((known) => known === values.method);
    if (!preset && Object.keys(plan).length > 0)
      throw new UsageError(`--${Object.keys(plan)[0]}: expected a preset as --method, got '${values.method}'.`);
    if (!preset && values.observed.length > 0)
      throw new UsageError(`--observed: expected a preset as --method, got '${values.method}'.`);
    const smoothing = (['alpha', 'variant'] as const).find((option) => values[option] !== undefined);
    if (smoothing && !SMOOTHING.includes(values.method))
      throw new UsageError(
        `--${smoothing}: expected smoothquant, omniquant or mobilequant as --method, got '${values.method}'.`,
      );
    if (values.epochs !== undefined && !learnsByEpochs(values.method) && plan.rounding !== 'learned')
      report(`--epochs is passed over: ${values.method} learns nothing in passes over samples.`);
    const observed = await readObservations(values.observed.map((file) => pathFrom(surroundings, file)));
    const model = await openModel(name as string, surroundings);
    const { tuning = 0 } = preset ? { ...presetPlan(preset, recipe, model.config), ...plan } : {};
    const { samples: count = samplesBy(values.method) } = values;
    const wanted = tuning > 0 ? Math.max(count, samplesForTuning(tuning)) : count;
    const samples = await samplesFor(model, { ...values, samples: count }, surroundings, wanted);
    const progress = progressTo(surroundings);
    const result = await quantizeDirectory(
      runtimeFrom(values),
      directory,
      { model, recipe, method: values.method, ...samples, ...(observed && { observed }) },
      {
        ...learningOptions(values),
        plan,
        seed: values.seed,
        resume: values.resume,
        saveEvery: values['save-every'],
        signal,
        onProgress(state) {
          progress(state);
          if (!LEARNING_STAGES.includes(state.stage)) checkStopped(signal);
        },
      },
    ).catch((error: unknown) => {
      if ((error as Error).name !== InterruptedError.name) throw error;
      throw Object.assign(error as Error, { message: `${(error as Error).message} (--resume, with the same options)` });
    });
    if (result.widened.length > 0) report(`Widened to contain zero: the range of ${result.widened.join(', ')}.`);
    const { sizes, seconds, widened, steps, placement } = result;
    if (placement) report(describePlacement(placement));
    print(
      values.json
        ? JSON.stringify({
            directory,
            recipe: recipe.name,
            method: values.method,
            sizes,
            widened,
            seconds,
            ...(steps && { steps }),
            ...(placement && { placement: { ...placement, recipe: placement.recipe.name } }),
          })
        : `${directory}: ${recipe.name} by ${values.method}, ${size(sizes.quantized)} (float32: ${size(sizes.float)}), in ${duration(seconds)}`,
    );
  },
});
