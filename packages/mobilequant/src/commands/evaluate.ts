/** `mobilequant evaluate`: the perplexity of a model in one of its forms. */
import { readTokenizer } from '@mobilequant/checkpoint/node';
import { cachedWeights, createDecoder, type LanguageModel, simulatedReading } from '@mobilequant/core';
import { compareModels, formatNumber, layerSignalToNoise, perplexity, windowsOf } from '@mobilequant/evaluator';
import { type Command, checkStopped, command, pathFrom, runtimeFrom, runtimeOptions } from '../command.ts';
import { FORMS, type Form, openForm } from '../forms.ts';
import { choice, flag, integer, text } from '../options.ts';
import { duration } from '../progress.ts';
import { readQuantized } from '../quantized-directory.ts';
import { allTokens, readTokens } from '../samples.ts';

const options = {
  data: text('FILE', 'text (.txt, .raw, .md, .jsonl) or ids (FILE.safetensors:NAME)'),
  tokens: integer('T', 'tokens of a window', 2, 512),
  windows: integer('N', 'windows (default: all of the text)', 1, undefined),
  form: choice(FORMS, 'which form of the model', 'simulated'),
  compare: choice(['none', ...FORMS], 'agreement with another form on the same text', 'none'),
  layers: flag('signal to noise of each layer: simulated against float'),
  fused: flag('integer: let ONNX Runtime fuse the file its own way, as other programs do'),
  ...runtimeOptions,
};

const notes = `N windows of T consecutive tokens, not overlapping, from the start of the text; the first token of each is not scored.
Word perplexity is that of the whitespace-separated words of the scored text.
DIR is what quantize wrote (all forms), a float model (float), or what export wrote (integer).`;

export const evaluate: Command = command({
  name: 'evaluate',
  summary: 'measure the perplexity of a model',
  positionals: ['DIR'],
  options,
  notes,
  async run({ data, tokens, windows, form, compare, layers, fused, json, ...runtimeValues }, [name], surroundings) {
    const { print, report, status, signal } = surroundings;
    const directory = pathFrom(surroundings, name as string);
    const runtime = runtimeFrom(runtimeValues);
    const tokenizer = await readTokenizer(directory).catch(() => undefined); // ids alone can be measured too
    const tokenizerOrError = async () => tokenizer ?? readTokenizer(directory);
    const text = allTokens(await readTokens([pathFrom(surroundings, data)], tokenizerOrError));
    const range = { tokens, ...(windows !== undefined && { windows }) };
    const parts = windowsOf(text, range);

    const model = await openForm(runtime, directory, form, { tokens, fused });
    const result = await perplexity(model, text, {
      ...range,
      ...(tokenizer && { decode: (ids) => tokenizer.decode(ids) }),
      onWindow(score, done, total) {
        checkStopped(signal);
        status(
          `${form}: ${done} of ${total} windows, perplexity of the last ${formatNumber(Math.exp(score.negativeLogLikelihood / score.tokens))}`,
        );
      },
    });
    if (result.missingWindows > 0)
      report(
        `The text has ${parts.length} windows of ${tokens} tokens, ${result.missingWindows} fewer than asked for.`,
      );
    const comparison = compare === 'none' ? undefined : await comparisonWith(model);
    await model.release?.();
    const signalToNoise = layers ? await layerwise() : undefined;

    const { tokenPerplexity, wordPerplexity, words, seconds } = result;
    const found = {
      form,
      tokenPerplexity,
      wordPerplexity,
      tokens: result.tokens,
      words,
      windows: parts.length,
      seconds,
    };
    if (json) {
      print(JSON.stringify({ ...found, ...(comparison && { comparison }), ...(signalToNoise && { signalToNoise }) }));
      return;
    }
    print(
      `${form}: token perplexity ${formatNumber(tokenPerplexity)}, word perplexity ${wordPerplexity === undefined ? '–' : formatNumber(wordPerplexity)}, ${result.tokens} tokens in ${duration(seconds)}`,
    );
    if (comparison) {
      const { agreement, divergence, logitError } = comparison;
      print(
        `against ${compare}: ${formatNumber(100 * agreement)} % equal likeliest tokens, divergence ${formatNumber(divergence)}, logit error ${formatNumber(logitError)}`,
      );
    }
    if (signalToNoise) print(`signal to noise by layer, dB: ${signalToNoise.map((db) => db.toFixed(1)).join(' ')}`);

    async function comparisonWith(model: LanguageModel) {
      const other = await openForm(runtime, directory, compare as Form, { tokens, fused });
      const onWindow = (done: number, total: number) => {
        checkStopped(signal);
        status(`against ${compare}: ${done} of ${total} windows`);
      };
      const result = await compareModels(other, model, text, { ...range, onWindow });
      await other.release?.();
      return { with: compare, ...result };
    }

    /** The first windows say enough of the layers. */
    async function layerwise() {
      const { config, weights, encodings } = await readQuantized(directory);
      const cached = cachedWeights(weights);
      const [float, simulated] = [
        createDecoder(runtime, config, cached),
        createDecoder(runtime, config, cached, { reading: simulatedReading(encodings) }),
      ];
      const ratios = await layerSignalToNoise(float, simulated, parts.slice(0, 4));
      await Promise.all([float.release(), simulated.release()]);
      return ratios;
    }
  },
});
