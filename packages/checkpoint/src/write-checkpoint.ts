/**
 * Writes a complete Hugging Face model directory. It grows under a hidden name beside its place and is renamed when it is whole:
 * under the final name there is either nothing new or everything.
 */
import { copyFile, mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint } from './checkpoint.ts';
import type { CheckpointWeights } from './checkpoint-weights.ts';
import { CheckpointError } from './errors.ts';
import type { JsonObject, JsonValue } from './json.ts';
import { temporaryName } from './write-file-atomic.ts';
import { writeSafetensors } from './write-safetensors.ts';

/** What goes with a model and does not depend on its weights. */
const COMPANIONS = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'tokenizer.model',
  'vocab.json',
  'merges.txt',
  'LICENSE',
];

/** Files of an older model in the same place, which the new one replaces even where it has none of that name. */
const MODEL_FILE =
  /^(model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|config\.json|quantization\.json|act_dict\.json|default_qcfg\.json)$/;

const SIGNATURE = 'mobilequant'; // `producer` in a config.json that was written here

/** The types that weights are stored in. */
export type StoredFloat = 'float32' | 'float16' | 'bfloat16';

/** What a model directory is made of. */
export interface WriteCheckpointOptions {
  /** The model that it comes from: its config, and its tokenizer files, are taken over; those that it has only in itself are made. */
  readonly from: Pick<Checkpoint, 'directory' | 'config'> & Partial<Pick<Checkpoint, 'companions'>>;
  /** The tensors, by the names that they get in the file. */
  readonly weights: Pick<CheckpointWeights, 'names' | 'shape' | 'read'>;
  /** How they are stored, as the config says too. Throws an `OverflowError` for values that do not fit. */
  readonly dtype: StoredFloat;
  /** How a tensor is stored, where some are stored otherwise. */
  readonly dtypeOf?: (name: string) => StoredFloat;
  /** Entries of `config.json` that differ; `undefined` removes one. */
  readonly config?: Readonly<Record<string, JsonValue | undefined>>;
  /** More JSON files, by name: `{ 'quantization.json': … }`. */
  readonly json?: Readonly<Record<string, JsonValue>>;
  /** Beyond this many bytes, the weights are divided into shards. */
  readonly maxShardBytes?: number;
  /** Allows a directory with other things in it. They stay; only files of a model are replaced. */
  readonly overwrite?: boolean;
}

/**
 * Writes a model directory. An older one that was written here is replaced, and what else lies in it stays. Throws a `CheckpointError`
 * for a directory with other things in it, unless `overwrite` is given. After a failure everything is as it was.
 */
export async function writeCheckpoint(directory: string, options: WriteCheckpointOptions): Promise<void> {
  const { from, weights, dtype, dtypeOf = () => dtype, config = {}, json = {}, maxShardBytes, overwrite } = options;
  const old = overwrite ? await entriesOf(directory) : await checkReplaceable(directory);
  for (const name of Object.keys(json)) {
    if (/^[^/\\:\0]+\.json$/.test(name)) continue;
    throw new RangeError(`writeCheckpoint: expected names of JSON files without a folder, got '${name}'.`);
  }

  const target = old ? await realpath(directory) : directory; // a link to a directory stays a link
  const draft = temporaryName(target);
  try {
    await mkdir(draft, { recursive: true });
    const made = await madeCompanions(from);
    if (!made) for (const file of COMPANIONS) await copyIfThere(join(from.directory, file), join(draft, file));
    const files = { 'config.json': configOf(from.config, config, dtype), ...made, ...json };
    for (const [name, value] of Object.entries(files)) {
      await writeFile(join(draft, name), jsonText(value));
    }
    const tensors = weights.names().map((name) => ({
      name,
      dtype: dtypeOf(name),
      shape: weights.shape(name),
      data: () => weights.read(name),
    }));
    const sharding = maxShardBytes === undefined ? {} : { maxShardBytes };
    await writeSafetensors(join(draft, 'model.safetensors'), tensors, { format: 'pt' }, sharding);
    await exchange(draft, target, old);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
}

/**
 * What lies in a directory that a model may be written to; nothing if it is not there. Throws a `CheckpointError` where
 * `writeCheckpoint` would.
 */
export async function checkReplaceable(directory: string): Promise<readonly string[] | undefined> {
  const old = await entriesOf(directory);
  if (!old?.length || (await isOurs(directory, old))) return old;
  throw new CheckpointError({
    directory,
    expected: 'a new or empty directory, or one that was written here before',
    received: old.slice(0, 8).join(', ') + (old.length > 8 ? ', …' : ''),
    cure: 'Choose another directory, or allow overwriting.',
  });
}

function configOf(
  base: JsonObject,
  changes: Readonly<Record<string, JsonValue | undefined>>,
  dtype: string,
): JsonObject {
  const dtypeKey = 'dtype' in base ? 'dtype' : 'torch_dtype'; // newer configs call it dtype
  const all: Record<string, JsonValue | undefined> = { ...base, [dtypeKey]: dtype, ...changes, producer: SIGNATURE };
  return Object.fromEntries(Object.entries(all).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])));
}

/** The files of a model that has them only in itself, with what its config says of generating. */
async function madeCompanions({
  companions,
  config,
}: WriteCheckpointOptions['from']): Promise<Record<string, JsonObject> | undefined> {
  const made = await companions?.();
  if (!made || Object.keys(made).length === 0) return undefined;
  const tokens = Object.entries(config).filter(([key]) => /^(bos|eos|pad)_token_id$/.test(key));
  return { ...(tokens.length > 0 && { 'generation_config.json': Object.fromEntries(tokens) }), ...made };
}

/** Keys of config.json that are floats where they are whole numbers too: transformers 5 refuses 30 for 30.0. */
const FLOATS =
  /^(\s*"(?:\w+_softcapping|\w+_norm_eps|initializer_range|rope_theta|rope_local_base_freq|partial_rotary_factor|(?:\w+_)?factor)": -?\d+)(?=,?$)/gm;

const jsonText = (value: JsonValue): string => `${JSON.stringify(value, null, 2).replace(FLOATS, '$1.0')}\n`;

/** Puts the draft in place. What lay there and is no part of a model moves into it. */
async function exchange(draft: string, directory: string, old: readonly string[] | undefined): Promise<void> {
  if (!old) return rename(draft, directory);
  const made = new Set(await readdir(draft));
  const kept = old.filter((entry) => !made.has(entry) && !MODEL_FILE.test(entry));
  const aside = temporaryName(directory);
  const moved: (readonly [from: string, to: string])[] = [];
  const move = async (from: string, to: string): Promise<void> => {
    await rename(from, to);
    moved.push([from, to]);
  };
  try {
    await move(directory, aside);
    await move(draft, directory);
    for (const entry of kept) await move(join(aside, entry), join(directory, entry));
  } catch (error) {
    for (const [from, to] of moved.reverse()) await rename(to, from);
    throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

async function entriesOf(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A directory that holds, or is going to hold, a model of ours. */
async function isOurs(directory: string, entries: readonly string[]): Promise<boolean> {
  if (entries.includes('learning.safetensors') || entries.includes('quantization.json')) return true;
  if (!entries.includes('config.json')) return false;
  return /"producer":\s*"mobilequant"/.test(await readFile(join(directory, 'config.json'), 'utf8'));
}

async function copyIfThere(source: string, target: string): Promise<void> {
  try {
    await copyFile(source, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
