/** `mobilequant all`: from a float model to quantized and exported ones, and a table of what they are worth. */
import { METHODS, PRESETS } from '@mobilequant/calibration';
import { alignedTable } from '@mobilequant/evaluator';
import { type Command, checkStopped, command, pathFrom, runtimeFrom, runtimeOptions } from '../command.ts';
import { compareMethods, comparisonTable } from '../compare-methods.ts';
import { choices, flag, integer, text } from '../options.ts';
import { progressTo } from '../progress.ts';
import { allTokens, readTokens } from '../samples.ts';
import { calibrationOptions, learningOptions, openModel, openRecipe, samplesFor } from './calibration-options.ts';

const options = {
  recipes: text('NAME|FILE,…', 'recipes', 'w8a8,w4a8'),
  methods: choices('NAME,…', [...METHODS, ...PRESETS], `methods (default ${METHODS.join(',')})`, METHODS),
  ...calibrationOptions,
  data: text('FILE', 'text, or ids, to measure on'),
  window: integer('T', 'tokens of a window to measure (default: as for calibration)', 2, undefined),
  windows: integer('N', 'windows to measure', 1, 8),
  out: text('DIR', 'directory to write: RECIPE-METHOD for each, exported in onnx there'),
  resume: flag('go on with the learning that an interrupted run left unfinished'),
  ...runtimeOptions,
};

export const all: Command = command({
  name: 'all',
  summary: 'quantize, measure and export by several recipes and methods',
  positionals: ['MODEL'],
  options,
  async run(values, [name], surroundings) {
    const { print, report, signal } = surroundings;
    const directory = pathFrom(surroundings, values.out);
    const recipes = await Promise.all(
      values.recipes.split(',').map((recipe) => openRecipe(recipe, '--recipes', surroundings)),
    );
    const model = await openModel(name as string, surroundings);
    const tokenizer = () => model.checkpoint.tokenizer();
    const samples = await samplesFor(model, values, surroundings);
    const text = allTokens(await readTokens([pathFrom(surroundings, values.data)], tokenizer));
    const { decode } = await tokenizer();
    const window = {
      tokens: values.window ?? values.tokens,
      windows: values.windows,
      decode: (ids: Int32Array) => decode(ids),
    };
    const progress = progressTo(surroundings);
    const found = await compareMethods(
      runtimeFrom(values),
      directory,
      { model, recipes, methods: values.methods, text, window, ...samples },
      {
        ...learningOptions(values),
        resume: values.resume,
        signal,
        onStage(stage) {
          report(stage);
          checkStopped(signal);
        },
        onProgress: progress,
      },
    );
    print(values.json ? JSON.stringify(found) : `${alignedTable(comparisonTable(found))}\n\n${directory}`);
  },
});
