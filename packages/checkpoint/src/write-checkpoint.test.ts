import { lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { messageOf, temporaryDirectory } from '../test/temporary-directory.ts';
import { writeTinyCheckpoint } from '../test/tiny-checkpoint.ts';
import { openCheckpoint } from './checkpoint.ts';
import { openSafetensors } from './safetensors-file.ts';
import { checkReplaceable, writeCheckpoint } from './write-checkpoint.ts';

/** A root folder with a small model in `from`. */
async function source() {
  const root = await temporaryDirectory();
  await mkdir(join(root, 'from'));
  await writeTinyCheckpoint(join(root, 'from'));
  const from = await openCheckpoint(join(root, 'from'));
  return { root, from, weights: from.weights };
}

test.each(['float32', 'float16', 'bfloat16'] as const)('a model is written in %s and opens again', async (dtype) => {
  const { root, from, weights } = await source();
  const json = { 'quantization.json': { bits: 8 } };
  const config = { hidden_size: 3, torch_dtype: undefined, rope: null };
  await writeCheckpoint(join(root, 'deep', 'to'), { from, weights, dtype, config, json });

  const to = await openCheckpoint(join(root, 'deep', 'to'));
  expect(to.config).toEqual({ model_type: 'llama', hidden_size: 3, rope: null, producer: 'mobilequant' });
  expect(to.files).toEqual([
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'quantization.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  expect([...to.weights.names()].sort()).toEqual([...weights.names()].sort());
  for (const name of weights.names()) {
    expect(to.weights.dtype(name)).toBe(dtype);
    expect(await to.weights.read(name)).toEqual(await weights.read(name)); // eighths below 8 are exact in all types
  }
  expect((await to.tokenizer()).eosId).toBe(1);
  expect(await readdir(join(root, 'deep'))).toEqual(['to']);
});

test('tensors have Hugging Face names in the file', async () => {
  const { root, from, weights } = await source();
  await writeCheckpoint(join(root, 'to'), { from, weights, dtype: 'float16' });
  const { header } = await openSafetensors(join(root, 'to', 'model.safetensors'));
  expect([...header.tensors.keys()]).toContain('model.layers.0.mlp.gate_proj.weight');
  expect(header.metadata).toEqual({ format: 'pt' });
  expect((await openCheckpoint(join(root, 'to'))).config.torch_dtype).toBe('float16');
});

test('a float of config.json stays one where it is a whole number, and counts stay counts', async () => {
  const { root, from, weights } = await source();
  const config = { final_logit_softcapping: 30, rope_theta: 10000, max_position_embeddings: 64 };
  await writeCheckpoint(join(root, 'to'), { from, weights, dtype: 'float32', config });
  const text = await readFile(join(root, 'to', 'config.json'), 'utf8');
  expect(text).toContain('"final_logit_softcapping": 30.0');
  expect(text).toContain('"rope_theta": 10000.0');
  expect(text).toContain('"max_position_embeddings": 64,');
  expect(JSON.parse(text)).toMatchObject(config);
});

test('a directory with other things is not touched unless that is allowed; then they stay', async () => {
  const { root, from, weights } = await source();
  await mkdir(join(root, 'to', 'notes'), { recursive: true });
  await writeFile(join(root, 'to', 'notes', 'todo'), 'milk');
  const to = join(root, 'to');
  expect(await messageOf(writeCheckpoint(to, { from, weights, dtype: 'float32' }), root)).toMatchInlineSnapshot(
    `"CheckpointError: DIR/to: expected a new or empty directory, or one that was written here before, got notes. Choose another directory, or allow overwriting."`,
  );
  expect(await readdir(to)).toEqual(['notes']);
  await writeCheckpoint(to, { from, weights, dtype: 'float32', overwrite: true });
  expect(await readFile(join(to, 'notes', 'todo'), 'utf8')).toBe('milk');
  expect((await openCheckpoint(to)).weights.names()).toHaveLength(6);
  expect((await readdir(root)).sort()).toEqual(['from', 'to']);
});

test('a model of ours is replaced, and nothing of it is left that would not fit', async () => {
  const { root, from, weights } = await source();
  const to = join(root, 'to');
  await mkdir(to);
  await writeFile(join(to, 'learning.safetensors'), 'state');
  await writeCheckpoint(to, { from, weights, dtype: 'float32', maxShardBytes: 64, json: { 'quantization.json': {} } });
  await writeCheckpoint(to, { from, weights, dtype: 'float16' });
  const { files } = await openCheckpoint(to);
  expect(files.filter((file) => /safetensors|quant/.test(file))).toEqual(['learning.safetensors', 'model.safetensors']);
});

test('a model can be written over the one that it is read from', async () => {
  const { from, weights } = await source();
  const before = await weights.read('model.norm.weight');
  await writeCheckpoint(from.directory, { from, weights, dtype: 'float16', overwrite: true });
  expect(await (await openCheckpoint(from.directory)).weights.read('model.norm.weight')).toEqual(before);
});

test('a link to a directory stays a link', async () => {
  const { root, from, weights } = await source();
  await mkdir(join(root, 'real', 'to'), { recursive: true });
  await symlink(join('real', 'to'), join(root, 'link'));
  await writeCheckpoint(join(root, 'link'), { from, weights, dtype: 'float32' });
  expect((await lstat(join(root, 'link'))).isSymbolicLink()).toBe(true);
  expect((await openCheckpoint(join(root, 'real', 'to'))).weights.names()).toHaveLength(6);
});

test('after a failure everything is as it was', async () => {
  const { root, from, weights } = await source();
  const failing = { ...weights, read: () => Promise.reject(new Error('interrupted')) };
  await expect(writeCheckpoint(join(root, 'to'), { from, weights: failing, dtype: 'float32' })).rejects.toThrow(
    'interrupted',
  );
  const over = writeCheckpoint(from.directory, { from, weights: failing, dtype: 'float32', overwrite: true });
  await expect(over).rejects.toThrow('interrupted');
  const outside = writeCheckpoint(join(root, 'to'), { from, weights, dtype: 'float32', json: { '../x.json': {} } });
  expect(await messageOf(outside, root)).toMatchInlineSnapshot(
    `"RangeError: writeCheckpoint: expected names of JSON files without a folder, got '../x.json'."`,
  );
  expect(await readdir(root)).toEqual(['from']);
  expect((await openCheckpoint(from.directory)).config).toEqual(from.config);
});

test('some tensors can be stored otherwise than the rest', async () => {
  const { root, from, weights } = await source();
  const dtypeOf = (name: string) => (name.endsWith('norm.weight') ? 'float32' : 'bfloat16');
  await writeCheckpoint(join(root, 'to'), { from, weights, dtype: 'bfloat16', dtypeOf });
  const to = await openCheckpoint(join(root, 'to'));
  expect(to.config.torch_dtype).toBe('bfloat16');
  for (const name of to.weights.names()) expect(to.weights.dtype(name)).toBe(dtypeOf(name));
});

test('where a model may go can be asked before there is one', async () => {
  const { root, from, weights } = await source();
  expect(await checkReplaceable(join(root, 'new'))).toBeUndefined();
  await writeCheckpoint(join(root, 'to'), { from, weights, dtype: 'float32' });
  expect(await checkReplaceable(join(root, 'to'))).toContain('config.json');
  await expect(checkReplaceable(join(root, 'from'))).rejects.toThrow('expected a new or empty directory');
});
