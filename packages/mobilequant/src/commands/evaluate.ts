/** `mobilequant evaluate`: the perplexity of a model in one of its forms, and what is lost where. */
import { cachedWeights, createDecoder, type LanguageModel, simulatedReading, withPrefix } from '@mobilequant/core';
import {
  type Comparison,
  compareModels,
  formatNumber,
  layerSignalToNoise,
  perplexity,
  type SiteRatio,
  siteSignalToNoise,
  windowsOf,
} from '@mobilequant/evaluator';
import { NonFiniteError } from '@mobilequant/quantizer';
import type { Runtime } from '@mobilequant/tracer';
import {
  type Command,
  checkStopped,
  command,
  pathFrom,
  runtimeFrom,
  runtimeOptions,
  type Surroundings,
} from '../command.ts';
import { FORMS, type Form, type FormOptions, floatModel, openForm, readFloatForm, simulatedModel } from '../forms.ts';
import { choice, flag, integer, text, UsageError } from '../options.ts';
import { duration, progressTo } from '../progress.ts';
import { isQuantized, readQuantized, roundsWeights } from '../quantized-directory.ts';
import { allTokens, readTokens } from '../samples.ts';
import { openModel } from './calibration-options.ts';
import { findModel, tokenizerAt } from './find-model.ts';
import { describeDivergences, siteDivergences } from './site-divergences.ts';
import { measureTasks, taskOptions } from './task-measurements.ts';

const TOKENS = 512;

const options = {
  data: text('FILE', 'text (.txt, .raw, .md, .jsonl) or ids (FILE.safetensors:NAME)', undefined),
  tokens: integer('T', `tokens of a window (default ${TOKENS}), or of the longest text of a task (2048)`, 2, undefined),
  windows: integer('N', 'windows (default: all of the text)', 1, undefined),
  form: choice(FORMS, 'which form of the model', 'simulated'),
  compare: choice(['none', ...FORMS], 'with another form on the same text: perplexity, agreement, divergence', 'none'),
  reference: text('MODEL', 'compare with the model that DIR was made of, float or quantized', undefined),
  layers: flag('signal to noise of each layer, simulated against float'),
  sites: flag('signal to noise of each quantized site'),
  divergence: choice(['none', 'kinds', 'sites'], 'of the logits, by each kind of site alone, or each site', 'none'),
  ...taskOptions,
  fused: flag('integer: let ONNX Runtime fuse the file its own way, as other programs do'),
  ...runtimeOptions,
};

const notes = `With --data: N windows of T consecutive tokens, not overlapping, from the start of the text; the first token of each is not scored.
Word perplexity is that of the whitespace-separated words of the scored text. Signal to noise is that of the first 4 windows.
Divergence is that of the first 2 windows; of single sites, which takes minutes, of the first.
A form's perplexity over another's is given with its standard error, over windows and paired.
Presets round the weights of DIR and tune: its float form is a model with these weights, no longer the one that it was made of (--reference).
A float model for --reference is run behind the prefix of DIR; a quantized one, say that an exported DIR was made of, in its simulated form.
With --tasks: the items of lm-evaluation-harness's tasks, counted as it counts them (docs/evaluation.md).
DIR is what quantize wrote, or a quantized model of the reference implementation (all forms), a float model as quantize takes it (float), or what export wrote (integer; htp for an NPU's).`;

/** Options that are about the windows of a text. */
const OF_WINDOWS = ['data', 'windows', 'reference', 'compare', 'layers', 'sites', 'divergence'] as const;

const NOT_GIVEN: readonly unknown[] = [undefined, false, 'none'];

const NOISE_WINDOWS = 4; // enough to tell layers and sites apart
const WORST_SITES = 12; // shown to people; with --json all

export const evaluate: Command = command({
  name: 'evaluate',
  summary: 'measure a model: its perplexity, or tasks',
  positionals: ['DIR'],
  options,
  notes,
  async run(values, [name], surroundings) {
    if (values.tasks !== undefined) {
      const other = OF_WINDOWS.find((option) => !NOT_GIVEN.includes(values[option]));
      if (other) throw new UsageError(`--${other}: expected no --tasks beside it, got ${values.tasks}.`);
      return measureTasks(values, name as string, surroundings);
    }
    const {
      data,
      tokens = TOKENS,
      windows,
      form,
      reference,
      layers,
      sites,
      divergence,
      fused,
      json,
      ...others
    } = values;
    if (data === undefined) throw new UsageError('--data: expected FILE, got nothing. It must be given, or --tasks.');
    const isGiven = (value: unknown): boolean => value !== undefined && value !== false;
    const task = Object.keys(taskOptions).find((option) => isGiven(values[option as keyof typeof taskOptions]));
    if (task) throw new UsageError(`--${task}: expected --tasks beside it, got none.`);
    const compare = reference === undefined ? values.compare : 'reference';
    if (reference !== undefined && values.compare !== 'none')
      throw new UsageError(`--reference: expected no --compare beside it, got ${values.compare}.`);
    const { print, report, status, signal } = surroundings;
    const { path: directory } = await findModel(name as string, form, surroundings);
    const runtime = runtimeFrom(others);
    if (fused && !(await runtime.exactIntegerProducts()))
      report('This processor’s own sums of 8-bit products saturate: fused, the model is far from what others compute.');
    const tokenizer = await tokenizerAt(directory).catch(() => undefined); // ids alone can be measured too
    const source = await readTokens(
      [pathFrom(surroundings, data)],
      async () => tokenizer ?? tokenizerAt(directory), // the second one says what is missing
    );
    const text = allTokens(source);
    const range = { tokens, ...(windows !== undefined && { windows }) };
    const parts = windowsOf(text, range);
    const onWindow = (stage: string) => (done: number, total: number) => {
      checkStopped(signal);
      status(`${stage}: ${done} of ${total} windows`);
    };

    const model = await openForm(runtime, directory, form, { tokens, fused });
    // What is asked for beside is looked for now, not after minutes of measuring.
    const other =
      reference === undefined
        ? await comparedForm(runtime, directory, values.compare, { tokens, fused })
        : await referenceModel(runtime, directory, reference, surroundings);
    if (compare === 'float' && form !== 'float' && isQuantized(directory) && (await roundsWeights(directory)))
      report('The float form has the weights of this directory, which were rounded; compare with --reference MODEL.');
    if (layers || sites || divergence !== 'none') await readQuantized(directory);
    if (form === 'float' || form === 'simulated') {
      const { maxPositions } = (await readFloatForm(directory)).config;
      if (tokens > maxPositions)
        report(`Windows of ${tokens} tokens are longer than the model's ${maxPositions} positions.`);
    }
    const decode = tokenizer && { decode: (ids: Int32Array) => tokenizer.decode(ids) };
    const against = onWindow(`${form} against ${compare}`);
    const comparison = other && (await compareModels(other, model, text, { ...range, ...decode, onWindow: against }));
    const { missingWindows, ...result } =
      comparison?.b ??
      (await perplexity(model, text, {
        ...range,
        ...decode,
        onWindow: (_, done, total) => onWindow(form)(done, total),
      }));
    if (Number.isNaN(result.tokenPerplexity)) {
      const advice = 'Look for values in its weights that are not finite.';
      throw new NonFiniteError({ where: `${name}, ${form}`, expected: 'a perplexity', received: 'NaN', advice });
    }
    if (missingWindows > 0) {
      report(`The text has ${parts.length} windows of ${tokens} tokens, ${missingWindows} fewer than asked for.`);
    }
    await other?.release?.();
    await model.release?.();
    const noise = await noiseIn(runtime, directory, parts.slice(0, NOISE_WINDOWS), { layers, sites });
    const showProgress = progressTo(surroundings);
    const divergences =
      divergence !== 'none' &&
      (await siteDivergences(runtime, directory, parts, divergence, (state) => {
        checkStopped(signal);
        showProgress(state);
      }));

    const { tokenPerplexity, wordPerplexity, tokens: scored, words, seconds } = result;
    if (json) {
      const measured = { form, tokenPerplexity, wordPerplexity, tokens: scored, words, windows: parts.length, seconds };
      const siteNoise = noise.sites && { sites: Object.fromEntries(noise.sites) };
      const compared = comparison && { comparison: { with: compare, ...numbersOf(comparison) } };
      const lost = divergences && { divergence: divergences };
      const ofLayers = noise.layers && { layers: noise.layers };
      print(JSON.stringify({ ...measured, ...compared, ...ofLayers, ...siteNoise, ...lost }));
      return;
    }
    const ofWords = wordPerplexity === undefined ? '' : `, word perplexity ${formatNumber(wordPerplexity)}`;
    print(
      `${form}: token perplexity ${formatNumber(tokenPerplexity)}${ofWords}, ${scored} tokens in ${duration(seconds)}`,
    );
    if (comparison) print(`against ${compare}: ${describe(comparison)}`);
    if (noise.layers) print(`signal to noise of the layers, dB: ${noise.layers.map((db) => db.toFixed(1)).join(' ')}`);
    if (noise.sites) print(`signal to noise of the worst sites, dB, own and total:\n${worstSites(noise.sites)}`);
    if (divergences) print(describeDivergences(divergences));
  },
});

/** Another form of a model, to compare it with. */
const comparedForm = async (
  runtime: Runtime,
  directory: string,
  form: Form | 'none',
  options: FormOptions,
): Promise<LanguageModel | undefined> => (form === 'none' ? undefined : openForm(runtime, directory, form, options));

/** What a model was made of: a quantized model as its sites are simulated, or a float one behind the prefix of the quantized. */
async function referenceModel(
  runtime: Runtime,
  directory: string,
  reference: string,
  surroundings: Surroundings,
): Promise<LanguageModel> {
  const source = pathFrom(surroundings, reference);
  if (isQuantized(source)) return simulatedModel(runtime, await readQuantized(source));
  const { config, weights } = await openModel(reference, surroundings);
  if (!isQuantized(directory))
    throw new UsageError(`--reference: expected a quantized model, since DIR is none, got a float one, ${reference}.`);
  const { prefix } = (await readQuantized(directory)).config;
  return floatModel(runtime, await withPrefix(runtime, config, weights, prefix));
}

/** Signal to noise of layers and sites, as far as asked for. */
async function noiseIn(
  runtime: Runtime,
  directory: string,
  samples: readonly Int32Array[],
  wanted: { readonly layers: boolean; readonly sites: boolean },
): Promise<{ layers?: number[]; sites?: Map<string, SiteRatio> }> {
  if (!wanted.layers && !wanted.sites) return {};
  const { config, encodings, ...model } = await readQuantized(directory);
  const weights = cachedWeights(model.weights);
  const reading = simulatedReading(encodings);
  const sites = wanted.sites && { sites: await siteSignalToNoise(runtime, { config, weights, reading, samples }) };
  if (!wanted.layers) return { ...sites };
  const decoders = [
    createDecoder(runtime, config, weights),
    createDecoder(runtime, config, weights, { reading }),
  ] as const;
  const layers = await layerSignalToNoise(...decoders, samples);
  for (const decoder of decoders) await decoder.release();
  return { layers, ...sites };
}

/** A comparison without what each window came to. */
const numbersOf = ({ distance, a, logRatio }: Comparison) => ({
  ...distance,
  tokenPerplexity: a.tokenPerplexity,
  ratio: Math.exp(logRatio.mean),
  ...(logRatio.standardError !== undefined && { standardError: logRatio.standardError }),
});

function describe({ distance, a, logRatio }: Comparison): string {
  const { mean, standardError } = logRatio;
  const within = standardError === undefined ? '' : ` ± ${(100 * standardError).toFixed(2)}`;
  const worse = `${(100 * (Math.exp(mean) - 1)).toFixed(2)}${within} % over its ${formatNumber(a.tokenPerplexity)}`;
  const share = `${formatNumber(100 * distance.agreement)} % equal likeliest tokens`;
  const apart = `divergence ${formatNumber(distance.divergence)}, logit error ${formatNumber(distance.logitError)}`;
  return `${worse}, ${share}, ${apart}`;
}

/** Those whose own rounding costs most, one a line. */
function worstSites(sites: ReadonlyMap<string, SiteRatio>): string {
  const worst = [...sites].sort(([, a], [, b]) => a.own - b.own).slice(0, WORST_SITES);
  const width = Math.max(...worst.map(([site]) => site.length));
  return worst
    .map(([site, { own, total }]) => `${site.padEnd(width)}  ${own.toFixed(1)}  ${total.toFixed(1)}`)
    .join('\n');
}
