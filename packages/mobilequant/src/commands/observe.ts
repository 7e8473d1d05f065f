/** `mobilequant observe`: what a preset looks at in its calibration text, on a part of it. */
import { observe, PRESETS, presetPlan } from '@mobilequant/calibration';
import { checkRecipe, recipes } from '@mobilequant/quantizer';
import { type Command, checkStopped, command, pathFrom, runtimeFrom, runtimeOptions } from '../command.ts';
import { writeObservation } from '../observation-file.ts';
import { choice, text } from '../options.ts';
import { progressTo } from '../progress.ts';
import { beginning } from '../quantize-directory.ts';
import { openModel, openRecipe, sampleOptions, samplesBy, samplesFor } from './calibration-options.ts';
import { planOf, planOptions } from './plan-options.ts';
import { shardFrom } from './shard.ts';

const options = {
  recipe: text('NAME|FILE', `${Object.keys(recipes).join(', ')}, or a JSON file`, 'w8a8'),
  method: choice(PRESETS, 'a preset', 'fast'),
  ...planOptions,
  ...sampleOptions,
  shard: text('I/N', 'only every Nth sample from the Ith, counted from 0 (default: all)', undefined),
  out: text('FILE', 'file to write'),
  ...runtimeOptions,
};

const notes = `For many machines: each observes a shard with the same options, and \`quantize --observed\`, with these options too, goes on from all files (or from
what \`merge\` made of them), to the result of one machine. Prefix and scales are searched in every shard anew.`;

const ALL = '0/1'; // of one part, the first

export const observeCommand: Command = command({
  name: 'observe',
  summary: 'look at a part of the calibration text, for quantize',
  positionals: ['MODEL'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const shard = shardFrom(values.shard ?? ALL);
    const out = pathFrom(surroundings, values.out);
    const recipe = await openRecipe(values.recipe, '--recipe', surroundings);
    const model = await openModel(name as string, surroundings);
    const { config, weights, checkpoint } = model;
    checkRecipe(recipe, config.layers);
    const { samples = samplesBy(values.method) } = values;
    const { calibration } = await samplesFor(model, { ...values, samples }, surroundings);
    const show = progressTo(surroundings);
    const found = await observe(
      runtimeFrom(values),
      { config, weights, recipe, calibration, first: await beginning(checkpoint) },
      { ...presetPlan(values.method, recipe, config), ...planOf(values) },
      {
        seed: values.seed,
        shard,
        signal: surroundings.signal,
        onProgress(state) {
          show(state);
          checkStopped(surroundings.signal);
        },
      },
    );
    await writeObservation(out, found);
    const { sites } = found;
    surroundings.print(
      values.json
        ? JSON.stringify({ file: out, fingerprint: found.fingerprint, prefix: found.prefix, sites: sites.size })
        : `${out}: ${sites.size} sites, part ${shard.index} of ${shard.count}`,
    );
  },
});
