/**
 * The weights of a model directory, by the names that Hugging Face gives them: safetensors or PyTorch's `.bin`, one file or shards
 * with an index. Nothing but headers is read until a tensor is asked for.
 */
import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DType } from './dtype.ts';
import { CheckpointError, FormatError } from './errors.ts';
import { isJsonObject, kindOf } from './json.ts';
import { isComputedBuffer } from './names.ts';
import { readJson } from './read-json.ts';
import { openSafetensors } from './safetensors-file.ts';
import type { TensorFile, TensorInfo } from './tensor-file.ts';
import { openTorchFile } from './torch-file.ts';

/** The forms that weights come in, the preferred one first. */
const FORMS: readonly Form[] = [
  { single: 'model.safetensors', extension: '.safetensors', open: openSafetensors },
  { single: 'pytorch_model.bin', extension: '.bin', open: openTorchFile },
];

interface Form {
  readonly single: string;
  readonly extension: string;
  readonly open: (path: string) => Promise<TensorFile>;
}

/** A model's tensors, read when they are needed. */
export interface CheckpointWeights {
  /** All names as the files have them (a bare decoder's with their `model.`), without buffers that are computed from the config. */
  names(): readonly string[];
  has(name: string): boolean;
  /** Throws for a name that is not there. */
  shape(name: string): readonly number[];
  /** How the file stores a tensor. Throws for a name that is not there. */
  dtype(name: string): DType;
  /** The whole tensor in float32, row-major. */
  read(name: string): Promise<Float32Array>;
  /** Some rows of a matrix `[rows, columns]` in float32, one after another. */
  readRows(name: string, rows: ArrayLike<number>): Promise<Float32Array>;
}

/** A tensor's place: the file, and its name there. */
interface Place {
  readonly file: TensorFile;
  readonly name: string;
}

/** Opens a directory's weights. Throws a `CheckpointError` when there are none, a `FormatError` for files that are not in order. */
export async function openWeights(directory: string): Promise<CheckpointWeights> {
  const files = await readdir(directory);
  for (const form of FORMS) {
    const { single, open } = form;
    if (files.includes(single)) return weightsAt(placesInFile(await open(join(directory, single))), directory);
    const index = `${single}.index.json`;
    if (files.includes(index)) return weightsAt(await placesByIndex(directory, index, form), directory);
  }
  const others = files.filter((file) => /\.(safetensors|bin|pth?|gguf|onnx)$/.test(file));
  throw new CheckpointError({
    directory,
    expected: `weights in ${FORMS.map(({ single }) => single).join(' or ')}, or shards with an index`,
    received: others.length ? others.join(', ') : 'neither',
    cure: 'Save the model with save_pretrained(…), or download it again.',
  });
}

function weightsAt(places: readonly Place[], directory: string): CheckpointWeights {
  const byName = new Map<string, Place>();
  for (const place of places) {
    if (isComputedBuffer(place.name)) continue;
    const name = fullName(place.name);
    const other = byName.get(name);
    if (other) {
      const received = `'${other.name}' and '${place.name}'`;
      throw new FormatError({
        file: place.file.path,
        where: `tensor '${name}'`,
        expected: 'one tensor for it',
        received,
      });
    }
    byName.set(name, place);
  }
  const at = (name: string): Place => {
    const place = byName.get(name);
    if (!place) {
      const cure = 'Check that the weights belong to the config.';
      throw new FormatError({
        file: directory,
        where: 'weights',
        expected: `a tensor '${name}'`,
        received: 'none',
        cure,
      });
    }
    return place;
  };
  const entry = (name: string): TensorInfo => {
    const place = at(name);
    return place.file.tensors.get(place.name) as TensorInfo;
  };
  const names = [...byName.keys()];
  return {
    names: () => names,
    has: (name) => byName.has(name),
    shape: (name) => entry(name).shape,
    dtype: (name) => entry(name).dtype,
    read: async (name) => at(name).file.readFloat32(at(name).name),
    readRows: async (name, rows) => at(name).file.readRows(at(name).name, rows),
  };
}

/** A bare decoder's `layers.…`, `embed_tokens.…`, `norm.…` get the prefix that they have in a language model. */
const fullName = (name: string): string =>
  /^(layers|embed_tokens|norm|final_layernorm)\./.test(name) ? `model.${name}` : name;

const placesInFile = (file: TensorFile): Place[] => [...file.tensors.keys()].map((name) => ({ file, name }));

/** The index decides: a tensor that it does not name is not part of the model. */
async function placesByIndex(directory: string, indexName: string, form: Form): Promise<Place[]> {
  const index = join(directory, indexName);
  const { weight_map: weightMap } = await readJson(index);
  if (!isJsonObject(weightMap)) {
    throw new FormatError({
      file: index,
      where: 'weight_map',
      expected: 'an object of tensor names and files',
      received: kindOf(weightMap),
    });
  }
  const shards = new Map<string, TensorFile>();
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !/^[^/\\:\0]+$/.test(shard) || !shard.endsWith(form.extension)) {
      const expected = `a file name ending in '${form.extension}', without a folder`;
      throw new FormatError({ file: index, where: `weight_map '${name}'`, expected, received: kindOf(shard) });
    }
    if (!shards.has(shard)) shards.set(shard, await openShard(directory, shard, index, form));
  }
  return Object.entries(weightMap).map(([name, shard]) => {
    const file = shards.get(shard as string) as TensorFile;
    if (!file.tensors.has(name)) {
      throw new FormatError({
        file: index,
        where: `weight_map '${name}'`,
        expected: `a tensor of that name in ${shard}`,
        received: 'none',
      });
    }
    return { file, name };
  });
}

async function openShard(directory: string, shard: string, index: string, form: Form): Promise<TensorFile> {
  const fail = (expected: string, received: string): never => {
    throw new FormatError({ file: index, where: `weight_map file '${shard}'`, expected, received });
  };
  const path = join(directory, shard);
  const real = await realpath(path).catch(() => fail('that file beside the index', 'no such file'));
  if (!(await allowedFolders(directory)).includes(dirname(real)))
    fail('a file in the folder of the index', 'a link out of it');
  return form.open(path);
}

/** Where shards may really lie: in the directory, or, as in Hugging Face's own cache (`snapshots/<commit>`), in `blobs` beside it. */
async function allowedFolders(directory: string): Promise<string[]> {
  const real = await realpath(directory);
  const snapshots = dirname(real);
  return basename(snapshots) === 'snapshots' ? [real, join(dirname(snapshots), 'blobs')] : [real];
}
