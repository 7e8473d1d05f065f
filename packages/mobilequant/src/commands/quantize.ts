/** `mobilequant quantize`: a float model in, a quantized directory out. */
import { InterruptedError, METHODS } from '@mobilequant/calibration';
import { recipes } from '@mobilequant/quantizer';
import { type Command, checkStopped, command, pathFrom, runtimeFrom, runtimeOptions } from '../command.ts';
import { choice, flag, integer, text } from '../options.ts';
import { duration, progressTo, size } from '../progress.ts';
import { quantizeDirectory } from '../quantize-directory.ts';
import { calibrationOptions, learningOptions, openModel, openRecipe, samplesFor } from './calibration-options.ts';

const options = {
  recipe: text('NAME|FILE', `${Object.keys(recipes).join(', ')}, or a JSON file`, 'w8a8'),
  method: choice(METHODS, 'how', 'mobilequant'),
  ...calibrationOptions,
  out: text('DIR', 'directory to write'),
  resume: flag('go on where an interrupted run stopped'),
  'save-every': integer('SECONDS', 'time between saves while learning', 0, 30),
  ...runtimeOptions,
};

const notes = `Statistics come from N windows of T tokens at even distances over the text, learning from windows at random places.
Interrupted (Ctrl-C, or killed), learning goes on with --resume and the same options, to the same result.`;

export const quantize: Command = command({
  name: 'quantize',
  summary: 'quantize a model: a directory, or a name on the Hugging Face hub',
  positionals: ['MODEL'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const { print, report, signal } = surroundings;
    const directory = pathFrom(surroundings, values.out);
    const recipe = await openRecipe(values.recipe, '--recipe', surroundings);
    const model = await openModel(name as string, surroundings);
    const samples = await samplesFor(model, values, surroundings);
    const progress = progressTo(surroundings);
    const result = await quantizeDirectory(
      runtimeFrom(values),
      directory,
      { model, recipe, method: values.method, ...samples },
      {
        ...learningOptions(values),
        resume: values.resume,
        saveEvery: values['save-every'],
        signal,
        onProgress(state) {
          progress(state);
          if (state.stage === 'statistics') checkStopped(signal);
        },
      },
    ).catch((error: unknown) => {
      if ((error as Error).name !== InterruptedError.name) throw error;
      throw Object.assign(error as Error, { message: `${(error as Error).message} (--resume, with the same options)` });
    });
    if (result.widened.length > 0) report(`Widened to contain zero: the range of ${result.widened.join(', ')}.`);
    const { sizes, seconds, widened } = result;
    print(
      values.json
        ? JSON.stringify({ directory, recipe: recipe.name, method: values.method, sizes, widened, seconds })
        : `${directory}: ${recipe.name} by ${values.method}, ${size(sizes.quantized)} (float32: ${size(sizes.float)}), in ${duration(seconds)}`,
    );
  },
});
