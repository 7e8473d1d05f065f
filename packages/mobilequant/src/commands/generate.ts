/** `mobilequant generate`: what a model in one of its forms says behind a prompt. */
import { generate } from '@mobilequant/core';
import { type Command, command, runtimeFrom, runtimeOptions } from '../command.ts';
import { FORMS, isExport, openForm, readFloatForm } from '../forms.ts';
import { choice, integer, number, text, texts, UsageError } from '../options.ts';
import { findModel, tokenizerAt } from './find-model.ts';

const options = {
  prompt: text('TEXT', 'what to go on with'),
  tokens: integer('N', 'tokens at most', 1, 64),
  form: choice(FORMS, 'which form of the model', 'simulated'),
  temperature: number('T', '0 takes the likeliest token', [0, 100], 0),
  'top-k': integer('K', 'draw from so many of the likeliest tokens (0: all)', 0, 0),
  'top-p': number('P', 'draw from the likeliest tokens that have this share together', [0, 1], 1),
  'repetition-penalty': number('R', 'on tokens that were there already (1: none)', [0, 100], 1),
  seed: integer('S', 'seed of what is drawn', 0, 0),
  stop: texts('ID…', 'tokens that end the text (default: the one that the tokenizer names)'),
  ...runtimeOptions,
};

const notes = `DIR is what quantize wrote (all forms), a float model as quantize takes it (float), or what export wrote (integer). An export for an NPU (qnn-qdq) is run on this machine,
prefill and decode with their cache of integers, as it is written (integer) or as the NPU rounds (htp); exports for other runtimes (transformers-js, genai) have such a cache too; other forms read the whole text again for each token.
A prompt begins with the tokens that the tokenizer puts before a text, unless the model has a prefix in their place, or is an export, which does not say whether it has one.`;

export const generateCommand: Command = command({
  name: 'generate',
  summary: 'go on with a text',
  positionals: ['DIR'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const { prompt, tokens, form, temperature, seed, stop, json, ...others } = values;
    const { path: directory } = await findModel(name as string, form, surroundings);
    const tokenizer = await tokenizerAt(directory);
    const ids = tokenizer.encode(prompt, { addSpecialTokens: await beginsBare(directory) });
    const wrong = stop.find((id) => !/^\d+$/.test(id));
    if (wrong !== undefined) throw new UsageError(`--stop: expected token ids, got '${wrong}'.`);
    const ends = stop.length > 0 ? stop.map(Number) : [tokenizer.eosId].filter((id) => id !== undefined);
    const model = await openForm(runtimeFrom(others), directory, form, { tokens: ids.length + tokens });
    const start = performance.now();
    const made: number[] = [];
    try {
      for await (const token of generate(model, ids, {
        tokens,
        stop: ends,
        seed,
        temperature,
        topK: others['top-k'],
        topP: others['top-p'],
        repetitionPenalty: others['repetition-penalty'],
        signal: surroundings.signal,
      })) {
        made.push(token);
        surroundings.status(`${made.length} of ${tokens} tokens: ${lastLine(tokenizer.decode(made))}`);
      }
    } finally {
      await model.release?.();
    }
    const seconds = (performance.now() - start) / 1000;
    const said = tokenizer.decode(made);
    surroundings.print(json ? JSON.stringify({ text: said, tokens: made, seconds }) : said);
  },
});

/** Whether no prefix stands before a text; an export's lies in its graph, where it is not told. */
const beginsBare = async (directory: string): Promise<boolean> =>
  !(await isExport(directory)) && (await readFloatForm(directory)).config.prefix.length === 0;

const lastLine = (said: string): string => said.slice(said.lastIndexOf('\n') + 1).slice(-60);
