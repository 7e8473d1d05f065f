/**
 * From a checkpoint in any form that is read here to a clean model directory: safetensors, config and tokenizer. The model is
 * checked as a whole before anything is written.
 *
 *     huggingface   the names that the architecture has; each tensor of the file as it is, never what the decoder made of it, so
 *                   that a type that is kept keeps every bit
 *     reference     the reference implementation's form: unified names, and a quantized model with its recipe and ranges
 */
import { checkReplaceable, type StoredFloat, writeCheckpoint } from '@mobilequant/checkpoint/node';
import { checkpointForm, type QuantizedModel, storedName, unifiedName } from '@mobilequant/core';
import { checkOutput } from './output-directory.ts';
import type { Model } from './read-model.ts';
import { chooseStorage, type DTypeChoice, type TypedTensors } from './storage.ts';
import { writeReference } from './write-reference.ts';

export const TARGET_FORMS = ['huggingface', 'reference'] as const;

export type TargetForm = (typeof TARGET_FORMS)[number];

export interface ConvertOptions {
  /** Default `huggingface`. */
  readonly to?: TargetForm;
  /** The type of the tensors; by default the one that they have. */
  readonly dtype?: DTypeChoice;
  /** Bytes of a file of weights at most. Default 5 GB. */
  readonly maxShardBytes?: number;
  /** Told before a tensor is read; what it throws ends the conversion, and nothing is written. */
  readonly onTensor?: (stage: 'check' | 'write', done: number, total: number) => void;
}

export interface Converted {
  readonly directory: string;
  readonly dtype: StoredFloat;
  /** Tensors that this type does not hold exactly, in float32 therefore. */
  readonly others: readonly string[];
  /** Whether every value is as it was. */
  readonly exact: boolean;
  /** Quantized sites for which the reference has no quantizer. */
  readonly passedOver: readonly string[];
  /** Bytes of all tensors. */
  readonly bytes: number;
  readonly seconds: number;
}

/** Bytes of a shard, as Hugging Face's own writer has them by default. */
export const SHARD_BYTES: number = 5e9;

/**
 * Writes a model as a directory, one tensor in memory at a time. A quantized model keeps its quantization in the reference's form only.
 *
 * @throws CheckpointError or QuantizedDirectoryError for a directory that holds something else, or cannot be written;
 *   OverflowError for a value that the type does not hold; ReferenceFormError for what the reference's form cannot say. Nothing is
 *   written then.
 */
export async function convertDirectory(
  directory: string,
  model: Model & Partial<QuantizedModel>,
  { to = 'huggingface', dtype: choice = 'keep', maxShardBytes = SHARD_BYTES, onTensor = () => {} }: ConvertOptions = {},
): Promise<Converted> {
  const start = performance.now();
  await checkOutput(directory, () => true, 'a model');
  await checkReplaceable(directory);
  const tensors = to === 'reference' ? unifiedTensors(model) : storedTensors(model);
  const total = tensors.names().length;
  const counted = (stage: 'check' | 'write') => {
    let done = 0;
    return () => onTensor(stage, done++, total);
  };
  const { dtype, others, exact } = await chooseStorage(tensors, choice, counted('check'));
  const dtypeOf = (name: string): StoredFloat => (others.has(name) ? 'float32' : dtype);
  const each = counted('write');
  const read = (name: string): Promise<Float32Array> => {
    each();
    return tensors.read(name);
  };
  let passedOver: readonly string[] = [];
  const stored = { dtype, dtypeOf, maxShardBytes, from: model.checkpoint };
  if (to === 'reference') {
    const weights = { ...model.weights, read };
    passedOver = await writeReference(directory, { model: { ...model, weights }, ...stored });
  } else {
    await writeCheckpoint(directory, { weights: { ...tensors, read }, ...stored });
  }
  const bytesOf = (name: string) =>
    tensors.shape(name).reduce((product, d) => product * d, dtypeOf(name) === 'float32' ? 4 : 2);
  return {
    directory,
    dtype,
    others: [...others],
    exact,
    passedOver,
    bytes: tensors.names().reduce((sum, name) => sum + bytesOf(name), 0),
    seconds: (performance.now() - start) / 1000,
  };
}

/** The decoder's tensors under unified names. */
function unifiedTensors({ weights, checkpoint: { config, weights: files } }: Model): TypedTensors {
  const form = checkpointForm(config);
  return {
    names: () => weights.names(),
    shape: (name) => weights.shape(name),
    dtype: (name) => {
      const changed = form.normOffset !== 0 && /norm\.weight$/.test(name);
      return changed ? 'float32' : files.dtype(storedName(form, name));
    },
    read: (name) => weights.read(name),
  };
}

/** The file's tensors under the names that the architecture has; a head that the decoder does not use is left out. */
function storedTensors({ weights: used, checkpoint: { config, weights } }: Model): TypedTensors {
  const form = checkpointForm(config);
  const sources = new Map(
    weights.names().flatMap((name) => {
      const unified = unifiedName(form, name);
      return used.has(unified) ? [[storedName(form, unified), name] as const] : [];
    }),
  );
  const sourceOf = (name: string): string => sources.get(name) as string;
  const names = [...sources.keys()];
  return {
    names: () => names,
    shape: (name) => weights.shape(sourceOf(name)),
    dtype: (name) => weights.dtype(sourceOf(name)),
    read: (name) => weights.read(sourceOf(name)),
  };
}
