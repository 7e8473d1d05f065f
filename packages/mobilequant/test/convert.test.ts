import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  openCheckpoint,
  openSafetensors,
  readSafetensors,
  type TensorSource,
  writeSafetensors,
} from '@mobilequant/checkpoint/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommandLine } from '../src/index.ts';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

/** Models of other architectures, which the oracle's script wrote. */
const fixture = (name: string): string => fileURLToPath(new URL(`../../core/test/fixtures/${name}`, import.meta.url));

let directory = '';
const at = (...parts: string[]) => join(directory, ...parts);
const mobilequant = (...args: string[]) => run(directory, args);
const convert = (model: string, out: string, ...more: string[]) => mobilequant('convert', model, '--out', out, ...more);
const CHECK = ['--check', 'text.txt', '--tokens', '16', '--threads', '1'];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-convert-'));
  await writeTinyModel(at('model'));
  await writeFile(at('text.txt'), tinyText(200, 3));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

/** The bytes of every tensor in a file, by name. */
async function bytesIn(...path: string[]): Promise<Record<string, string>> {
  const { tensors, readStored } = await openSafetensors(at(...path));
  const entries = [...tensors].map(async ([name, { dtype }]) => {
    const { buffer, byteOffset, byteLength } = await readStored(name);
    return [name, `${dtype} ${Buffer.from(buffer, byteOffset, byteLength).toString('base64')}`] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

const jsonOf = async (...path: string[]) => JSON.parse(await readFile(at(...path), 'utf8'));

/** A copy of a model with other tensors. */
async function withTensors(
  from: string,
  to: string,
  change: (tensors: readonly TensorSource[]) => readonly TensorSource[],
): Promise<void> {
  await cp(at(from), at(to), { recursive: true });
  const { tensors } = await readSafetensors(at(from, 'model.safetensors'));
  const sources = [...tensors].map(([name, { shape, data, dtype }]) => ({ name, dtype, shape, data: () => data }));
  await writeSafetensors(at(to, 'model.safetensors'), change(sources));
}

describe('what is kept', () => {
  test.each(['llama-bias', 'gemma', 'gemma3', 'qwen3', 'stablelm', 'phi'])(
    'a %s keeps its names, bits, and config, and computes the same',
    async (name) => {
      await cp(fixture(name), at('in', name), { recursive: true });
      const ids = join(fixture(name), 'expected.safetensors:input_ids');
      const done = await convert(join('in', name), name, '--check', ids, '--tokens', '24', '--threads', '1', '--json');
      expect(done).toMatchObject({ status: 0, reports: '' });
      expect(JSON.parse(done.out)).toMatchObject({
        dtype: 'float32',
        others: [],
        exact: true,
        comparison: { relativeError: 0, logitError: 0, agreement: 1, tokens: 48 },
      });
      expect(await bytesIn(name, 'model.safetensors')).toEqual(await bytesIn('in', name, 'model.safetensors'));
      expect(await jsonOf(name, 'config.json')).toEqual({
        ...(await jsonOf('in', name, 'config.json')),
        producer: 'mobilequant',
      });
    },
  );

  test('16-bit types come back bit for bit, from shards and in shards', async () => {
    for (const dtype of ['float16', 'bfloat16']) {
      await convert('model', `in-${dtype}`, '--dtype', dtype);
      const { reports, out } = await convert(`in-${dtype}`, `shards-${dtype}`, '--max-shard-size', '0.00001', '--json');
      expect({ reports, out: JSON.parse(out) }).toMatchObject({ reports: '', out: { dtype, exact: true } });
      expect(await readdir(at(`shards-${dtype}`))).toContain('model.safetensors.index.json');
      expect((await jsonOf(`shards-${dtype}`, 'config.json')).torch_dtype).toBe(dtype);
      await convert(`shards-${dtype}`, `out-${dtype}`);
      expect(await bytesIn(`out-${dtype}`, 'model.safetensors')).toEqual(
        await bytesIn(`in-${dtype}`, 'model.safetensors'),
      );
    }
  });

  test('what the type of most does not hold exactly goes into float32', async () => {
    await convert('model', 'bf16', '--dtype', 'bfloat16');
    const norm = 'model.norm.weight';
    const other = 'model.layers.0.input_layernorm.weight';
    await withTensors('bf16', 'mixed', (tensors) =>
      tensors.map((tensor) => {
        if (tensor.name === norm) return { ...tensor, dtype: 'float32', data: () => new Float32Array(32).fill(1 / 3) };
        if (tensor.name === other) return { ...tensor, dtype: 'float32', data: () => new Float32Array(32).fill(1.5) };
        return { ...tensor, dtype: 'bfloat16' };
      }),
    );
    const { reports, out } = await convert('mixed', 'unmixed', ...CHECK, '--json');
    expect(reports).toBe('1 tensors that bfloat16 does not hold exactly are in float32.');
    expect(JSON.parse(out)).toMatchObject({ dtype: 'bfloat16', others: [norm], comparison: { relativeError: 0 } });
    const { tensors } = await openSafetensors(at('unmixed', 'model.safetensors'));
    expect([norm, other].map((name) => tensors.get(name)?.dtype)).toEqual(['float32', 'bfloat16']);
  });

  test('the tokenizer goes along, and a head that the config ties to the embedding does not', async () => {
    const head = { name: 'lm_head.weight', dtype: 'float32', shape: [31, 32] } as const;
    await withTensors('model', 'with-head', (tensors) => [
      ...tensors,
      { ...head, data: () => new Float32Array(31 * 32) },
    ]);
    expect(await convert('with-head', 'without', ...CHECK)).toMatchObject({ status: 0 });
    expect(await bytesIn('without', 'model.safetensors')).toEqual(await bytesIn('model', 'model.safetensors'));
    expect(await jsonOf('without', 'tokenizer.json')).toEqual(await jsonOf('model', 'tokenizer.json'));
  });
});

test('a GGUF file becomes a directory with the tokenizer that it holds', async () => {
  const gguf = fileURLToPath(new URL('../../checkpoint/test/fixtures/gguf/tiny.gguf', import.meta.url));
  const { status, reports, out } = await convert(gguf, 'from-gguf', ...CHECK, '--json');
  expect({ status, reports }).toEqual({ status: 0, reports: '' });
  expect(JSON.parse(out)).toMatchObject({ dtype: 'float32', exact: true, comparison: { relativeError: 0 } }); // its blocks are quantized
  const [gone, stayed] = [await openCheckpoint(gguf), await openCheckpoint(at('from-gguf'))];
  expect(stayed.config).toEqual({ ...gone.config, torch_dtype: 'float32', producer: 'mobilequant' });
  expect(stayed.files).toContain('tokenizer_config.json');
  expect(await jsonOf('from-gguf', 'generation_config.json')).toEqual({ bos_token_id: 1, eos_token_id: 2 });
  const text = 'the cat sat, on 17 mats';
  expect((await stayed.tokenizer()).encode(text)).toEqual((await gone.tokenizer()).encode(text));

  const half = await convert(gguf, 'half-gguf', '--dtype', 'float16', ...CHECK, '--json');
  expect(JSON.parse(half.out)).toMatchObject({ dtype: 'float16', exact: false, tolerance: 2e-3 });
  expect(half.status).toBe(0);
});

describe('what is compared', () => {
  test('rounding is seen, and too much of it is an error after the fact', async () => {
    const rounded = await convert('model', 'rounded', '--dtype', 'float16', ...CHECK, '--json');
    expect(rounded.status).toBe(0);
    const { exact, comparison, tolerance } = JSON.parse(rounded.out);
    expect({ exact, tolerance }).toEqual({ exact: false, tolerance: 2e-3 });
    expect(comparison.relativeError).toBeGreaterThan(1e-5);
    const strict = await convert('model', 'strict', '--dtype', 'float16', ...CHECK, '--tolerance', '1e-6');
    expect(strict.reports).toContain('strict: expected logits within 0.000001 of the original');
    expect(strict.status).toBe(1);
    expect(await readdir(directory)).toContain('strict');
  });

  test('ids and logits of the written model go to a file', async () => {
    const name = fixture('gemma');
    const ids = join(name, 'expected.safetensors:input_ids');
    const { status } = await convert(
      name,
      'logits',
      '--check',
      ids,
      '--tokens',
      '24',
      '--logits',
      'logits.safetensors',
    );
    expect(status).toBe(0);
    const [own, theirs] = await Promise.all(
      [at('logits.safetensors'), join(name, 'expected.safetensors')].map(readSafetensors),
    );
    expect(own?.tensors.get('input_ids')).toEqual(theirs?.tensors.get('input_ids'));
    const [got, want] = [own, theirs].map((file) => file?.tensors.get('logits'));
    expect(got?.shape).toEqual(want?.shape);
    got?.data.forEach((value, i) => expect(value).toBeCloseTo(want?.data[i] as number, 4));
  });
});

describe('what is refused', () => {
  const refused = async (model: string, message: string, ...more: string[]) => {
    const { status, reports } = await convert(model, 'never', ...more);
    expect(reports).toContain(message);
    expect(status).toBe(1);
    expect(await readdir(directory)).not.toContain('never');
  };

  test('an architecture, a key, or a tensor that is not covered, by name, before anything is written', async () => {
    const changed = async (name: string, change: object) => {
      await cp(at('model'), at(name), { recursive: true });
      await writeFile(
        at(name, 'config.json'),
        JSON.stringify({ ...(await jsonOf('model', 'config.json')), ...change }),
      );
    };
    await changed('mamba', { model_type: 'mamba' });
    await refused('mamba', 'model_type');
    await changed('odd-key', { attention_sinks: 4 });
    await refused('odd-key', 'attention_sinks');
    const extra = { name: 'model.layers.0.mlp.gate.weight', dtype: 'float32', shape: [1] } as const;
    await withTensors('model', 'extra', (tensors) => [...tensors, { ...extra, data: () => new Float32Array(1) }]);
    await refused('extra', "'model.layers.0.mlp.gate.weight'");
  });

  test('a value that the type does not hold', async () => {
    await withTensors('model', 'large', ([first, ...tensors]) => [
      { ...(first as TensorSource), data: () => new Float32Array(31 * 32).fill(1e6) },
      ...tensors,
    ]);
    await refused('large', 'float16', '--dtype', 'float16');
  });

  test('a directory of something else, and logits without a text', async () => {
    await mkdir(at('foreign'));
    await writeFile(at('foreign', 'diary.txt'), 'dear');
    expect(await convert('model', 'foreign')).toMatchObject({ status: 1 });
    expect(await readdir(at('foreign'))).toEqual(['diary.txt']);
    expect(await convert('model', 'never', '--logits', 'x.safetensors')).toMatchObject({ status: 2 });
  });

  test('Ctrl-C leaves nothing behind', async () => {
    const stop = new AbortController();
    const status = await runCommandLine(['convert', 'model', '--out', 'never'], {
      print: () => {},
      report: () => {},
      status: () => stop.abort(),
      signal: stop.signal,
      directory,
    });
    expect(status).toBe(130);
    expect((await readdir(directory)).filter((name) => name.includes('never'))).toEqual([]);
  });
});
