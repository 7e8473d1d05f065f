/** The model that tasks are measured on: a form of a directory, any ONNX file, or what a server has. */
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { LanguageModel } from '@mobilequant/core';
import { completionsScorer, modelScorer, type RunHeader, type Scorer } from '@mobilequant/evaluator';
import { onnxModel } from '@mobilequant/exporter';
import type { Runtime } from '@mobilequant/tracer';
import { pathFrom, runtimeFrom, type Surroundings } from '../command.ts';
import { checkHasWeights, type Form, integerModelOf, openForm, readFloatForm } from '../forms.ts';
import { modelDigest } from '../model-digest.ts';
import { modelOfLengths } from '../model-of-lengths.ts';
import { UsageError } from '../options.ts';
import { postJson } from '../post-json.ts';
import { isQuantized, readQuantized } from '../quantized-directory.ts';
import type { ModelPlace } from './find-model.ts';

/** Tokens of the longest text, as far as the model has them. */
const TOKENS = 2048;

/** Options that say which model, and how it is run. */
export interface SubjectValues {
  readonly form: Form;
  readonly tokens: number | undefined;
  readonly fused: boolean;
  readonly threads: number;
  readonly providers: string;
  readonly server: string | undefined;
  readonly 'server-model': string | undefined;
  readonly onnx: string | undefined;
}

/** What is measured: how it is told from others, the longest text, and a way to open it. */
export interface Subject {
  readonly model: RunHeader['model'];
  readonly tokens: number;
  open(): Promise<{ readonly scorer: Scorer; readonly release?: (() => Promise<void>) | undefined }>;
}

/** @throws UsageError for options that do not go together. */
export async function subjectOf(
  values: SubjectValues,
  { path, name }: ModelPlace,
  surroundings: Surroundings,
): Promise<Subject> {
  const { form, fused, server, 'server-model': served, onnx } = values;
  if (onnx !== undefined && server !== undefined)
    throw new UsageError('--onnx: expected no --server beside it. One model is measured at a time.');
  if (server !== undefined) {
    if (served === undefined) throw new UsageError('--server-model: expected NAME, got nothing. --server needs it.');
    const length = values.tokens ?? TOKENS;
    const scorer = completionsScorer({ url: server, model: served, length, post: postJson });
    return { model: { name: served, form: 'server' }, tokens: length, open: async () => ({ scorer }) };
  }
  if (served !== undefined) throw new UsageError('--server-model: expected --server beside it, got none.');
  if (onnx !== undefined) {
    const file = pathFrom(surroundings, onnx);
    return {
      model: {
        name: basename(file),
        form: 'onnx',
        sha256: await modelDigest(dirname(file), (beside) => beside.startsWith(basename(file))),
      },
      tokens: values.tokens ?? TOKENS,
      async open() {
        const model = await onnxModel(runtimeFrom(values), file);
        return { scorer: modelScorer(model, { length: values.tokens ?? TOKENS }), release: model.release };
      },
    };
  }
  const positions = await positionsOf(path, form);
  const tokens = values.tokens ?? Math.min(TOKENS, positions ?? TOKENS);
  if (positions !== undefined && tokens > positions)
    surroundings.report(`Texts of ${tokens} tokens are longer than the model's ${positions} positions.`);
  return {
    model: { name, form, sha256: await digestOf(path) },
    tokens,
    async open() {
      const model = await openTaskModel(runtimeFrom(values), path, form, { tokens, fused });
      return { scorer: modelScorer(model, { length: tokens }), release: model.release };
    },
  };
}

/** Of a directory, or of a GGUF file alone. */
const digestOf = async (path: string): Promise<string> =>
  (await stat(path)).isFile() ? modelDigest(dirname(path), (name) => name === basename(path)) : modelDigest(path);

/** How many positions the model has, where its directory says so. */
async function positionsOf(directory: string, form: Form): Promise<number | undefined> {
  const isComputed = form === 'float' || form === 'simulated';
  if (isComputed) await checkHasWeights(directory, form);
  return isComputed || isQuantized(directory) ? (await readFloatForm(directory)).config.maxPositions : undefined;
}

/** A form for texts of all lengths. */
async function openTaskModel(
  runtime: Runtime,
  directory: string,
  form: Form,
  { tokens, fused }: { readonly tokens: number; readonly fused: boolean },
): Promise<LanguageModel> {
  if (form !== 'integer' || !isQuantized(directory)) return openForm(runtime, directory, form, { tokens, fused });
  const quantized = await readQuantized(directory);
  return modelOfLengths(quantized.config.vocab, tokens, (length) =>
    integerModelOf(runtime, quantized, { tokens: length, fused }),
  );
}
