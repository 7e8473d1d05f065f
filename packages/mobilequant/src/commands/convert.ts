/** `mobilequant convert`: a checkpoint in any form that is read in, a clean model directory out. */
import { basename } from 'node:path';
import {
  createDecoder,
  type FloatModel,
  type LanguageModel,
  languageModel,
  parseConfig,
  type QuantizedModel,
  simulatedReading,
} from '@mobilequant/core';
import { compareModels, formatNumber, type LogitDistance, windowsOf } from '@mobilequant/evaluator';
import type { Runtime } from '@mobilequant/tracer';
import {
  type Command,
  checkStopped,
  command,
  pathFrom,
  runtimeFrom,
  runtimeOptions,
  StoppedError,
  type Surroundings,
} from '../command.ts';
import { type Converted, convertDirectory, TARGET_FORMS, type TargetForm } from '../convert-directory.ts';
import { choice, integer, number, text, UsageError } from '../options.ts';
import { duration, size } from '../progress.ts';
import { isQuantized, readQuantized } from '../quantized-directory.ts';
import { QuantizedDirectoryError } from '../quantized-directory-error.ts';
import { type Model, readModel } from '../read-model.ts';
import { allTokens, readTokens } from '../samples.ts';
import { DTYPES, type DTypeChoice } from '../storage.ts';
import { writeLogits } from '../write-logits.ts';
import { openModel } from './calibration-options.ts';

const options = {
  out: text('DIR', 'directory to write'),
  to: choice(TARGET_FORMS, 'form of the directory', 'huggingface'),
  dtype: choice(DTYPES, 'type of the weights', 'keep'),
  'max-shard-size': number('GB', 'gigabytes of a file of weights at most', [1e-6, 1e6], 5),
  check: text('FILE', 'compare the logits of both models on this text, or ids (FILE.safetensors:NAME)', undefined),
  tokens: integer('T', 'tokens of a window to compare', 2, 64),
  windows: integer('N', 'windows to compare', 1, 2),
  tolerance: number(
    'X',
    'largest relative difference of the logits (default 1e-5; where values were rounded, 2e-3 in float16, 2e-2 in bfloat16)',
    [0, 1],
    undefined,
  ),
  logits: text('FILE', 'with --check: write ids and logits of the written model to a safetensors file', undefined),
  ...runtimeOptions,
};

const notes = `MODEL is a directory with safetensors or PyTorch .bin files, a GGUF file, or a name on the hub (org/model, org/model:file.gguf).
keep loses nothing: tensors that the type of most does not hold exactly go into float32, and so does a model of quantized GGUF types.
reference is the form of the paper's own checkpoints: a float model, or a quantized one with act_dict.json and default_qcfg.json.
With --check, the exit status is 1 where the logits are further apart than the tolerance; the directory stays for inspection.`;

/**
 * What rounding the weights may do to the logits, relative to the largest: a few times what the type rounds by, 2^-11 and 2^-8.
 * Small random models come to twice as much.
 */
const TOLERANCES = { float32: 1e-5, float16: 2e-3, bfloat16: 2e-2 } as const;
const EXACT_TOLERANCE = 1e-5;

/** The written model does not compute what the original does. */
export class ConversionError extends Error {
  override readonly name = 'ConversionError';
}

export const convert: Command = command({
  name: 'convert',
  summary: 'write a checkpoint as a clean model directory',
  positionals: ['MODEL'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const { print, report, status, signal } = surroundings;
    if (values.logits !== undefined && values.check === undefined)
      throw new UsageError('--logits: expected --check FILE too, whose text they are of, got nothing.');
    const directory = pathFrom(surroundings, values.out);
    const model = await openAny(name as string, values, surroundings);
    const range = { tokens: values.tokens, windows: values.windows };
    const text = values.check === undefined ? undefined : await textFrom(values.check);
    const converted = await convertDirectory(directory, model, {
      to: values.to,
      dtype: values.dtype,
      maxShardBytes: values['max-shard-size'] * 1e9,
      onTensor(stage, done, total) {
        checkStopped(signal);
        status(`${stage === 'check' ? 'look for a type' : 'write'}: ${done} of ${total} tensors`);
      },
    });
    if (converted.others.length > 0)
      report(`${converted.others.length} tensors that ${converted.dtype} does not hold exactly are in float32.`);
    if (converted.passedOver.length > 0)
      report(`The reference implementation passes over ${converted.passedOver.join(', ')}: it has no quantizer there.`);
    const comparison = text && (await compare(text));
    const tolerance = values.tolerance ?? (converted.exact ? EXACT_TOLERANCE : TOLERANCES[converted.dtype]);
    const { passedOver, ...result } = converted;
    print(
      values.json ? JSON.stringify({ ...result, ...(comparison && { comparison, tolerance }) }) : describe(converted),
    );
    if (!comparison) return;
    if (!values.json) print(describeComparison(comparison));
    if (!(comparison.relativeError <= tolerance)) {
      const received = formatNumber(comparison.relativeError);
      throw new ConversionError(
        `${values.out}: expected logits within ${tolerance} of the original's, got ${received}. Choose a wider --dtype, or allow it by --tolerance.`,
      );
    }

    async function textFrom(file: string): Promise<Int32Array> {
      const text = allTokens(await readTokens([pathFrom(surroundings, file)], () => model.checkpoint.tokenizer()));
      const found = windowsOf(text, range).length;
      if (found < range.windows)
        report(`The text has ${found} windows of ${range.tokens} tokens, not ${range.windows}.`);
      return text;
    }

    async function compare(text: Int32Array): Promise<LogitDistance> {
      const runtime = runtimeFrom(values);
      const written = model.encodings ? await readQuantized(directory) : await readModel(directory);
      const models = [model, written].map((either) => streamed(runtime, either)) as [LanguageModel, LanguageModel];
      const kept: Float32Array[] = [];
      const { distance } = await compareModels(...models, text, {
        ...range,
        onWindow(done, total) {
          if (signal.aborted) throw new StoppedError('stopped; the model was written, and not yet compared.');
          status(`compare: ${done} of ${total} windows`);
        },
        ...(values.logits !== undefined && { onLogits: (logits) => kept.push(logits) }),
      });
      for (const { release } of models) await release?.();
      if (values.logits !== undefined)
        await writeLogits(pathFrom(surroundings, values.logits), windowsOf(text, range), kept);
      return distance;
    }
  },
});

/** A model with its quantization, where it has one and the form that is written has a place for it. */
async function openAny(
  name: string,
  { to, dtype }: { readonly to: TargetForm; readonly dtype: DTypeChoice },
  surroundings: Surroundings,
): Promise<Model & Partial<QuantizedModel>> {
  const directory = pathFrom(surroundings, name);
  if (!isQuantized(directory)) return openModel(name, surroundings);
  if (to === 'reference') {
    if (dtype === 'float16' || dtype === 'bfloat16')
      throw new UsageError(
        `--dtype: expected keep or float32 for a quantized model, got '${dtype}'. Its ranges would change.`,
      );
    return { name: basename(directory), ...(await readQuantized(directory)) };
  }
  surroundings.report('The float model alone is written; --to reference keeps the quantization.');
  const { config, checkpoint } = await readQuantized(directory);
  if (config.prefix.length > 0)
    surroundings.report(`Its prefix of ${config.prefix.length} tokens is written too; other programs pass over it.`);
  const { norm } = parseConfig(checkpoint.config);
  if (norm === 'layer' && config.norm !== norm)
    throw new QuantizedDirectoryError(
      directory,
      'LayerNorms, as its config.json says',
      'norms that a rotation has folded',
      'Convert the model that it was made of.',
    );
  return openModel(name, surroundings);
}

/** A model whose weights are read for each text anew, so that one layer of it is in memory at a time. */
const streamed = (
  runtime: Runtime,
  { config, weights, encodings }: FloatModel & Partial<QuantizedModel>,
): LanguageModel =>
  languageModel(createDecoder(runtime, config, weights, encodings ? { reading: simulatedReading(encodings) } : {}));

const describe = ({ directory, dtype, bytes, seconds }: Converted): string =>
  `${directory}: ${dtype}, ${size(bytes)}, in ${duration(seconds)}`;

const describeComparison = ({ relativeError, logitError, agreement, tokens }: LogitDistance): string =>
  `logits: largest relative difference ${formatNumber(relativeError)}, mean squared ${formatNumber(logitError)}, ` +
  `${formatNumber(100 * agreement)} % equal likeliest tokens of ${tokens}`;
