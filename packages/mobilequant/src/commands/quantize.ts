/** `mobilequant quantize`: a float model in, a quantized directory out. */
import {
  InterruptedError,
  METHODS,
  type Placement,
  type Plan,
  PRESETS,
  presetPlan,
  RANGE_CHOICES,
  ROUNDINGS,
  samplesForTuning,
  TRANSFORMS,
} from '@mobilequant/calibration';
import { formatNumber } from '@mobilequant/evaluator';
import { recipes } from '@mobilequant/quantizer';
import { type Command, checkStopped, command, pathFrom, runtimeFrom, runtimeOptions } from '../command.ts';
import { choice, flag, integer, number, type OptionValues, text, UsageError } from '../options.ts';
import { duration, progressTo, size } from '../progress.ts';
import { quantizeDirectory } from '../quantize-directory.ts';
import {
  calibrationOptions,
  learningOptions,
  openModel,
  openRecipe,
  samplesBy,
  samplesFor,
} from './calibration-options.ts';

/** Steps of a preset that are to be otherwise. */
const planOptions = {
  prefix: text('IDS|none', 'preset: tokens before every text (default: searched)', undefined),
  transform: choice(['preset', ...TRANSFORMS], 'preset: what is done to the weights', 'preset'),
  ranges: choice(
    ['preset', ...RANGE_CHOICES],
    "preset: by the recipe's rules, everything, or what the loss minds",
    'preset',
  ),
  budget: number('SHARE', 'preset: of the multiply-accumulates that may get 16-bit activations', [0, 1], undefined),
  rounding: choice(['preset', ...ROUNDINGS], 'preset: of weights; learned as the paper does', 'preset'),
  correction: number(
    'SHARE',
    'preset: of the errors in its inputs, what GPTQ makes up for in a linear',
    [0, 1],
    undefined,
  ),
  sweeps: integer('N', 'preset: times that GPTQ’s integers are decided again, at most', 0, undefined),
  reconstruction: integer('EPOCHS', 'preset: of learning the integers of each layer together', 0, undefined),
  tuning: integer('STEPS', 'preset: steps of tuning', 0, undefined),
  'learned-rounding': integer('RANK', 'preset: of what moves integers while tuning (0: they stay)', 0, undefined),
};

const options = {
  recipe: text('NAME|FILE', `${Object.keys(recipes).join(', ')}, or a JSON file`, 'w8a8'),
  method: choice([...PRESETS, ...METHODS], 'a preset, or a method of the paper', 'fast'),
  ...planOptions,
  ...calibrationOptions,
  out: text('DIR', 'directory to write'),
  resume: flag('go on where an interrupted run stopped'),
  'save-every': integer('SECONDS', 'time between saves while learning', 0, 30),
  ...runtimeOptions,
};

const notes = `Presets: fast takes no gradients; best chooses ranges by the loss and tunes scales, norms and biases; both choose their steps by the recipe.
Statistics come from N windows of T tokens at even distances over the text, learning from windows at random places.
Interrupted (Ctrl-C, or killed), learning goes on with --resume and the same options, to the same result.`;

/** Stages that save what they have when they are stopped. */
const LEARNING_STAGES = ['end to end', 'layer by layer', 'tuning'];

/** What the options say of a plan. */
function planOf({ prefix, transform, ranges, rounding, ...numbers }: OptionValues<typeof planOptions>): Partial<Plan> {
  const { budget, correction, sweeps, reconstruction, tuning, 'learned-rounding': learnedRounding } = numbers;
  const ids = prefix === 'none' ? [] : prefix?.split(',').map((id) => (/^\d+$/.test(id) ? Number(id) : Number.NaN));
  if (ids && !ids.every(Number.isSafeInteger))
    throw new UsageError(`--prefix: expected token ids such as 1,216, or none, got '${prefix}'.`);
  return {
    ...(ids && { prefix: ids }),
    ...(transform !== 'preset' && { transform }),
    ...(ranges !== 'preset' && { ranges }),
    ...(budget !== undefined && { budget }),
    ...(rounding !== 'preset' && { rounding }),
    ...(correction !== undefined && { correction }),
    ...(sweeps !== undefined && { sweeps }),
    ...(reconstruction !== undefined && { reconstruction }),
    ...(tuning !== undefined && { tuning }),
    ...(learnedRounding !== undefined && { learnedRounding }),
  };
}

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
    const model = await openModel(name as string, surroundings);
    const { tuning = 0 } = preset ? { ...presetPlan(preset, recipe, model.config), ...plan } : {};
    const { samples: count = samplesBy(values.method) } = values;
    const wanted = tuning > 0 ? Math.max(count, samplesForTuning(tuning)) : count;
    const samples = await samplesFor(model, { ...values, samples: count }, surroundings, wanted);
    const progress = progressTo(surroundings);
    const result = await quantizeDirectory(
      runtimeFrom(values),
      directory,
      { model, recipe, method: values.method, ...samples },
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
