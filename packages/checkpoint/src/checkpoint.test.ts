import { copyFile, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { messageOf, temporaryDirectory } from '../test/temporary-directory.ts';
import { TENSORS, writeTinyCheckpoint } from '../test/tiny-checkpoint.ts';
import { openCheckpoint } from './checkpoint.ts';
import { writeSafetensors } from './write-safetensors.ts';

const INDEX = 'model.safetensors.index.json';
const expected = TENSORS.filter(({ name }) => !name.endsWith('inv_freq'));

async function tinyCheckpoint(options = {}): Promise<string> {
  const directory = await temporaryDirectory();
  await writeTinyCheckpoint(directory, options);
  return directory;
}

/** A sharded checkpoint whose index was changed. */
async function withIndex(change: (weightMap: Record<string, unknown>) => unknown): Promise<string> {
  const directory = await tinyCheckpoint({ maxShardBytes: 64 });
  const index = JSON.parse(await readFile(join(directory, INDEX), 'utf8'));
  index.weight_map = change(index.weight_map) ?? index.weight_map;
  await writeFile(join(directory, INDEX), JSON.stringify(index));
  return directory;
}

test.each([
  ['single', {}],
  ['sharded', { maxShardBytes: 64 }],
])('a %s checkpoint gives its config, tokenizer, and weights by the names in the file', async (_, options) => {
  const { config, weights, files, tokenizer } = await openCheckpoint(await tinyCheckpoint(options));
  expect(config).toEqual({ model_type: 'llama', hidden_size: 2, torch_dtype: 'float32' });
  expect(files).toContain('tokenizer_config.json');
  expect((await tokenizer()).encode('ab')).toEqual(Int32Array.of(10));
  expect([...weights.names()].sort()).toEqual(expected.map(({ name }) => name).sort());
  for (const { name, shape, data } of expected) {
    expect(weights.has(name)).toBe(true);
    expect(weights.shape(name)).toEqual(shape);
    expect(weights.dtype(name)).toBe('float32');
    expect(await weights.read(name)).toEqual(await data());
  }
  const down = (await expected.find(({ name }) => name.includes('down_proj'))?.data()) as Float32Array;
  expect(await weights.readRows('model.layers.0.mlp.down_proj.weight', [1])).toEqual(down.slice(3));
});

describe('a GGUF file', () => {
  const tiny = fileURLToPath(new URL('../test/fixtures/gguf/tiny.gguf', import.meta.url));
  const name = 'model.layers.0.self_attn.k_proj.weight';

  test('is opened as the checkpoint that it was made from, by its path or as the only one in a directory', async () => {
    const directory = await temporaryDirectory();
    await copyFile(tiny, join(directory, 'tiny.gguf'));
    await writeFile(join(directory, 'mmproj-tiny.gguf'), '');
    for (const path of [tiny, directory]) {
      const { config, weights, files, tokenizer, companions } = await openCheckpoint(path);
      expect(config).toMatchObject({ model_type: 'llama', hidden_size: 32 });
      expect(weights.shape(name)).toEqual([16, 32]);
      expect(files).toEqual(['tiny.gguf']);
      expect((await tokenizer()).encode('the')).toEqual(Int32Array.of(261));
      expect(Object.keys(await companions())).toEqual(['tokenizer.json', 'tokenizer_config.json']);
    }
    await copyFile(tiny, join(directory, 'other.gguf'));
    expect(await messageOf(openCheckpoint(directory), directory)).toMatchInlineSnapshot(
      `"CheckpointError: DIR: expected a model directory with config.json, or a GGUF file, got mmproj-tiny.gguf, other.gguf, tiny.gguf. Name one of the GGUF files."`,
    );
  });

  test('beside weights of another form is not looked at, beside a config alone it is', async () => {
    const directory = await tinyCheckpoint();
    await copyFile(tiny, join(directory, 'tiny.gguf'));
    const checkpoint = await openCheckpoint(directory);
    expect(checkpoint.config.hidden_size).toBe(2);
    expect(await checkpoint.companions()).toEqual({});
    await rm(join(directory, 'model.safetensors'));
    expect((await openCheckpoint(directory)).config.hidden_size).toBe(32);
  });

  test('with a tokenizer of an unknown kind takes one that lies beside it', async () => {
    const directory = await temporaryDirectory();
    const bytes = await readFile(tiny);
    const at = bytes.indexOf('tokenizer.ggml.model') + 'tokenizer.ggml.model'.length + 12;
    await writeFile(join(directory, 'x.gguf'), bytes.fill('bert!', at, at + 5));
    const { tokenizer, companions } = await openCheckpoint(join(directory, 'x.gguf'));
    expect(await companions()).toEqual({});
    expect(await messageOf(tokenizer(), directory)).toMatchInlineSnapshot(
      `"FormatError: DIR/x.gguf: metadata 'tokenizer.ggml.model': expected 'gpt2' or 'llama', got 'bert!'. Put a tokenizer.json beside the file."`,
    );
    await copyFile(join(await tinyCheckpoint(), 'tokenizer.json'), join(directory, 'tokenizer.json'));
    expect((await tokenizer()).encode('ab')).toEqual(Int32Array.of(10));
  });
});

test('a tensor that is not there is an error that names it', async () => {
  const directory = await tinyCheckpoint();
  const { weights } = await openCheckpoint(directory);
  expect(weights.has('lm_head.weight')).toBe(false);
  expect(await messageOf(weights.read('lm_head.weight'), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR: weights: expected a tensor 'lm_head.weight', got none. Check that the weights belong to the config."`,
  );
  expect(() => weights.shape('lm_head.weight')).toThrow("expected a tensor 'lm_head.weight', got none");
});

test('what is missing is said, with what is there instead', async () => {
  const directory = await temporaryDirectory();
  const open = () => messageOf(openCheckpoint(directory), directory);
  expect(await messageOf(openCheckpoint(join(directory, 'no')), directory)).toMatchInlineSnapshot(
    `"CheckpointError: DIR/no: expected a model directory, got no such directory. Give the path of a directory with config.json and model.safetensors, or of a GGUF file."`,
  );
  expect(await open()).toMatchInlineSnapshot(
    `"CheckpointError: DIR: expected a model directory with config.json, or a GGUF file, got an empty directory. Name the directory that save_pretrained wrote, not one above or inside it."`,
  );
  await writeFile(join(directory, 'pytorch_model.bin'), '');
  expect(await messageOf(openCheckpoint(join(directory, 'pytorch_model.bin')), directory)).toMatchInlineSnapshot(
    `"CheckpointError: DIR/pytorch_model.bin: expected a model directory, got a file. Give the path of a directory with config.json and model.safetensors, or of a GGUF file."`,
  );
  expect(await open()).toMatchInlineSnapshot(
    `"CheckpointError: DIR: expected a model directory with config.json, or a GGUF file, got pytorch_model.bin. Name the directory that save_pretrained wrote, not one above or inside it."`,
  );
  await writeFile(join(directory, 'config.json'), '{}');
  await rename(join(directory, 'pytorch_model.bin'), join(directory, 'consolidated.pth'));
  expect(await open()).toMatchInlineSnapshot(
    `"CheckpointError: DIR: expected weights in model.safetensors or pytorch_model.bin, or shards with an index, got consolidated.pth. Save the model with save_pretrained(…), or download it again."`,
  );
  await rm(join(directory, 'consolidated.pth'));
  expect(await open()).toMatchInlineSnapshot(
    `"CheckpointError: DIR: expected weights in model.safetensors or pytorch_model.bin, or shards with an index, got neither. Save the model with save_pretrained(…), or download it again."`,
  );
  await writeSafetensors(join(directory, 'model.safetensors'), TENSORS);
  const { tokenizer } = await openCheckpoint(directory);
  expect(await messageOf(tokenizer(), directory)).toMatchInlineSnapshot(
    `"CheckpointError: DIR: expected tokenizer.json, got no tokenizer. Save a fast tokenizer with AutoTokenizer.from_pretrained(…).save_pretrained(…)."`,
  );
  await writeFile(join(directory, 'tokenizer.model'), '');
  expect(await messageOf(tokenizer(), directory)).toMatchInlineSnapshot(
    `"CheckpointError: DIR: expected tokenizer.json, got tokenizer.model. Save a fast tokenizer with AutoTokenizer.from_pretrained(…).save_pretrained(…)."`,
  );
});

test('a config that is not a JSON object is refused', async () => {
  const directory = await tinyCheckpoint();
  await writeFile(join(directory, 'config.json'), '"llama"');
  expect(await messageOf(openCheckpoint(directory), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/config.json: file: expected a JSON object, got "llama". The file is damaged or not what it seems: get it again."`,
  );
});

test('a bare decoder gets the prefix of a language model, and no tensor twice', async () => {
  const directory = await tinyCheckpoint();
  const bare = TENSORS.map((tensor) => ({ ...tensor, name: tensor.name.replace(/^model\./, '') }));
  await writeSafetensors(join(directory, 'model.safetensors'), bare);
  expect([...(await openCheckpoint(directory)).weights.names()]).toEqual(expected.map(({ name }) => name));

  await writeSafetensors(join(directory, 'model.safetensors'), [...TENSORS, bare.at(-1) as (typeof TENSORS)[0]]);
  expect(await messageOf(openCheckpoint(directory), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/model.safetensors: tensor 'model.norm.weight': expected one tensor for it, got 'model.norm.weight' and 'norm.weight'. The file is damaged or not what it seems: get it again."`,
  );
});

test.each([
  '../model.safetensors',
  '/etc/x.safetensors',
  'a/b.safetensors',
  '..\\b.safetensors',
  'C:b.safetensors',
  '..',
  'x.bin',
  3,
])('an index cannot name %j as a file', async (file) => {
  const directory = await withIndex((weightMap) => ({ ...weightMap, 'model.norm.weight': file }));
  expect(await messageOf(openCheckpoint(directory), directory)).toBe(
    `FormatError: DIR/${INDEX}: weight_map 'model.norm.weight': expected a file name ending in '.safetensors', without a folder, ` +
      `got ${JSON.stringify(file)}. The file is damaged or not what it seems: get it again.`,
  );
});

test('an index must be true', async () => {
  const open = async (change: Parameters<typeof withIndex>[0]) => {
    const directory = await withIndex(change);
    return messageOf(openCheckpoint(directory), directory);
  };
  expect(await open(() => 'none')).toMatchInlineSnapshot(
    `"FormatError: DIR/model.safetensors.index.json: weight_map: expected an object of tensor names and files, got "none". The file is damaged or not what it seems: get it again."`,
  );
  expect(await open((map) => ({ ...map, 'lm_head.weight': map['model.norm.weight'] }))).toMatchInlineSnapshot(
    `"FormatError: DIR/model.safetensors.index.json: weight_map 'lm_head.weight': expected a tensor of that name in model-00003-of-00003.safetensors, got none. The file is damaged or not what it seems: get it again."`,
  );
  expect(await open((map) => ({ ...map, 'lm_head.weight': 'model-00009-of-00003.safetensors' }))).toMatchInlineSnapshot(
    `"FormatError: DIR/model.safetensors.index.json: weight_map file 'model-00009-of-00003.safetensors': expected that file beside the index, got no such file. The file is damaged or not what it seems: get it again."`,
  );
});

test('a shard cannot be a link out of the folder, except into the blobs of a Hugging Face cache', async () => {
  const root = await temporaryDirectory();
  const [directory, blobs] = [join(root, 'snapshots', 'abc'), join(root, 'blobs')];
  await mkdir(directory, { recursive: true });
  await mkdir(blobs);
  await writeTinyCheckpoint(directory, { maxShardBytes: 64 });
  for (const file of await readdir(directory)) {
    await rename(join(directory, file), join(blobs, `blob-${file}`));
    await symlink(join('..', '..', 'blobs', `blob-${file}`), join(directory, file));
  }
  expect((await openCheckpoint(directory)).weights.names()).toHaveLength(expected.length);

  await rename(join(root, 'snapshots'), join(root, 'models'));
  expect(await messageOf(openCheckpoint(join(root, 'models', 'abc')), root)).toMatchInlineSnapshot(
    `"FormatError: DIR/models/abc/model.safetensors.index.json: weight_map file 'model-00001-of-00003.safetensors': expected a file in the folder of the index, got a link out of it. The file is damaged or not what it seems: get it again."`,
  );
});
