/**
 * The forms of a model as language models: float, simulated (rounded in float), integer (exported, run in integers), htp (exported for
 * an NPU, in its arithmetic).
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  cachedWeights,
  createDecoder,
  type FloatModel,
  type LanguageModel,
  languageModel,
  type QuantizedModel,
  simulatedReading,
} from '@mobilequant/core';
import { cachedModel, exportOnnx, integerModel, isCached, type QnnModelOptions, qnnModel } from '@mobilequant/exporter';
import { writeExport } from '@mobilequant/exporter/node';
import { readModel as readGraph } from '@mobilequant/graph/node';
import type { Runtime } from '@mobilequant/tracer';
import { isQuantized, QUANTIZATION_FILE, readFloat, readQuantized } from './quantized-directory.ts';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';
import { readModel } from './read-model.ts';
import { hasWeights } from './weight-files.ts';

export const FORMS = ['float', 'simulated', 'integer', 'htp'] as const;

export type Form = (typeof FORMS)[number];

/** The exported model's file. */
export const ONNX_FILE = 'model.onnx';

/** Where an export for transformers.js has its model, under a name that says its bits. */
export const ONNX_FOLDER = 'onnx';

/** The file by which an export for an NPU is known. */
export const PREFILL_FILE = 'prefill.onnx';

export interface FormOptions {
  /** Tokens of the longest text that will be asked for. */
  readonly tokens: number;
  /** Integer: let ONNX Runtime fuse the file its own way, as other programs do, instead of summing exactly. */
  readonly fused?: boolean;
}

/**
 * A form of the model in a directory, one that `quantize` wrote, a float checkpoint or GGUF file (float only), or an exported one (integer; htp for
 * what was exported for an NPU).
 *
 * @throws QuantizedDirectoryError when the directory does not have that form.
 */
export async function openForm(
  runtime: Runtime,
  directory: string,
  form: Form,
  options: FormOptions,
): Promise<LanguageModel> {
  if (form === 'float' || form === 'simulated') await checkHasWeights(directory, form);
  switch (form) {
    case 'float':
      return floatModel(runtime, await readFloatForm(directory));
    case 'simulated':
      return simulatedModel(runtime, await readQuantized(directory));
    case 'integer':
      if (isQuantized(directory)) return integerModelOf(runtime, await readQuantized(directory), options);
      if (onnxFile(directory) !== undefined) return exportedModel(runtime, directory, options);
      if (existsSync(join(directory, PREFILL_FILE))) return npuModel(runtime, directory);
      throw new QuantizedDirectoryError(
        directory,
        `a quantized model with ${QUANTIZATION_FILE}, or an exported one with ${ONNX_FILE}`,
        'neither',
        'Run `mobilequant quantize` first.',
      );
    case 'htp':
      if (existsSync(join(directory, PREFILL_FILE))) return npuModel(runtime, directory, { arithmetic: 'htp' });
      throw new QuantizedDirectoryError(
        directory,
        `a model exported for an NPU, with ${PREFILL_FILE}`,
        'none',
        'Run `mobilequant export DIR --target qnn-qdq` first.',
      );
  }
}

/** The float model in a directory: as it is, or the one that a quantized model was made of. */
export const readFloatForm = async (directory: string): Promise<FloatModel> =>
  existsSync(join(directory, QUANTIZATION_FILE)) ? readFloat(directory) : readModel(directory);

/** The file of an exported model of one graph, if there is one. */
const onnxFile = (directory: string): string | undefined =>
  [ONNX_FILE, ...['model_quantized.onnx', 'model_q4.onnx'].map((name) => join(ONNX_FOLDER, name))]
    .map((name) => join(directory, name))
    .find((file) => existsSync(file));

/** Whether a directory holds an exported model alone; its config.json, where there is one, is for other programs. */
export async function isExport(directory: string): Promise<boolean> {
  const isExported = onnxFile(directory) !== undefined || existsSync(join(directory, PREFILL_FILE));
  return isExported && !hasWeights(await readdir(directory));
}

/** @throws QuantizedDirectoryError for an exported directory, in which only the integer form is left. */
export async function checkHasWeights(directory: string, form: Form): Promise<void> {
  if (!(await isExport(directory))) return;
  throw new QuantizedDirectoryError(
    directory,
    `a model directory for the form ${form}`,
    'an exported one',
    'Ask for the form integer, or give the directory that it was exported from.',
  );
}

/** A float model, run block by block. */
export const floatModel = (runtime: Runtime, { config, weights }: FloatModel): LanguageModel =>
  languageModel(createDecoder(runtime, config, cachedWeights(weights)));

/** A quantized model whose sites are rounded to their grids in float. */
export const simulatedModel = (runtime: Runtime, { config, weights, encodings }: QuantizedModel): LanguageModel =>
  languageModel(createDecoder(runtime, config, cachedWeights(weights), { reading: simulatedReading(encodings) }));

/** A quantized model as it would be exported, run in integers; it is exported to a temporary folder for that. */
export async function integerModelOf(
  runtime: Runtime,
  model: QuantizedModel,
  { tokens, fused = false }: FormOptions,
): Promise<LanguageModel> {
  const graph = await exportOnnx(model, { tokens });
  const folder = await mkdtemp(join(tmpdir(), 'mobilequant-'));
  try {
    await writeExport(folder, new Map([[ONNX_FILE, graph]]));
    return await exportedModel(runtime, folder, { fused });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The model in an exported directory, run in integers. */
export async function exportedModel(
  runtime: Runtime,
  directory: string,
  { fused = false }: Pick<FormOptions, 'fused'> = {},
): Promise<LanguageModel> {
  const file = onnxFile(directory) ?? join(directory, ONNX_FILE);
  const graph = await readGraph(file);
  return (isCached(graph) ? cachedModel : integerModel)(runtime, graph, fused ? { file } : {});
}

/** What was exported for an NPU, on this machine: as it is written, or in the NPU's arithmetic. */
export async function npuModel(
  runtime: Runtime,
  directory: string,
  options: QnnModelOptions = {},
): Promise<LanguageModel> {
  const graphs = async (name: string) => ({
    graph: await readGraph(join(directory, `${name}.onnx`)),
    inputs: await readGraph(join(directory, `${name}-inputs.onnx`)),
  });
  return qnnModel(runtime, { prefill: await graphs('prefill'), decode: await graphs('decode') }, options);
}
