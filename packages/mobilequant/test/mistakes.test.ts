/** What a hurried or hostile user does, and that it ends in one line which says what to do, with nothing overwritten. */
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '@mobilequant/checkpoint/node';
import { recipes, referenceConfigFromRecipe } from '@mobilequant/quantizer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exportDirectory, readModel } from '../src/index.ts';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';
const at = (...parts: string[]) => join(directory, ...parts);
const mobilequant = (...args: string[]) => run(directory, args);

const CALIBRATION = ['--calibration', 'calibration.txt', '--samples', '2', '--tokens', '16', '--threads', '1'];
const MEASURE = ['--data', 'calibration.txt', '--tokens', '16', '--windows', '1', '--threads', '1'];
const quantize = (model: string, out: string, ...more: string[]) =>
  mobilequant('quantize', model, '--out', out, '--method', 'minmax', ...CALIBRATION, ...more);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-mistakes-'));
  await writeTinyModel(at('model'));
  await writeFile(at('calibration.txt'), tinyText(400, 1));
  await quantize('model', 'quantized');
  await mobilequant('export', 'quantized', '--out', 'exported', '--tokens', '16');
});

afterAll(() => rm(directory, { recursive: true, force: true }));

/** A copy of a directory with one of its JSON files changed. */
async function changed(from: string, to: string, file: string, change: (json: never) => void): Promise<void> {
  await cp(at(from), at(to), { recursive: true });
  const json = JSON.parse(await readFile(at(to, file), 'utf8'));
  change(json as never);
  await writeFile(at(to, file), JSON.stringify(json));
}

/** A copy of the model with one tensor changed, or left out. */
async function withTensor(to: string, name: string, change?: (data: Float32Array) => void): Promise<void> {
  await cp(at('model'), at(to), { recursive: true });
  const { tensors, metadata } = await readSafetensors(at('model', 'model.safetensors'));
  change?.(tensors.get(name)?.data as Float32Array);
  const kept = [...tensors].filter(([other]) => change || other !== name);
  const entries = kept.map(([key, { shape, data }]) => ({
    name: key,
    dtype: 'float32' as const,
    shape,
    data: () => data,
  }));
  await writeSafetensors(at(to, 'model.safetensors'), entries, metadata);
}

describe('calls', () => {
  test.each([
    [['quantize', 'model', '--out', '', ...CALIBRATION], '--out: expected DIR, got an empty text'],
    [['quantize', '', '--out', 'x', ...CALIBRATION], 'expected MODEL, got an empty text'],
    [['quantize', 'model', '--out', 'x', '--calibration', ''], '--calibration: expected FILE…, got an empty text'],
    [['quantize', 'model', '--out', 'x', ...CALIBRATION, '--seed', '-1'], "use '--seed=-XYZ'"],
    [
      ['quantize', 'model', '--out', 'x', ...CALIBRATION, '--alpha', '0.3', '--transform', 'smooth'],
      "--alpha: expected smoothquant, omniquant or mobilequant as --method, got 'fast'.",
    ],
    [
      ['quantize', 'model', '--out', 'x', ...CALIBRATION, '--method', 'minmax', '--variant', 'original'],
      "--variant: expected smoothquant, omniquant or mobilequant as --method, got 'minmax'.",
    ],
    [
      ['quantize', 'model', '--out', 'x', ...CALIBRATION, '--recipe', 'mine.json'],
      'mine.json: expected a file, got no such file. Check the path. A name without .json or / is a built-in recipe.',
    ],
  ])('%j ends with status 2', async (args, message) => {
    const { status, reports } = await mobilequant(...args);
    expect(reports).toContain(message);
    expect(status).toBe(2);
  });

  test('what a method is told has its defaults, and what it passes over is said', async () => {
    const by = (model: string, out: string, method: string, ...more: string[]) =>
      mobilequant('quantize', model, '--out', out, '--method', method, ...CALIBRATION, ...more);
    await by('model', 'smoothed', 'smoothquant');
    const { options } = JSON.parse(await readFile(at('smoothed', 'quantization.json'), 'utf8'));
    expect(options.smoothing).toEqual({ alpha: 0.5, variant: 'modified' });
    const { status, reports } = await by('nowhere', 'never', 'fast', '--epochs', '3');
    expect({ status, reports }).toMatchObject({
      status: 1,
      reports: expect.stringContaining('--epochs is passed over: fast learns nothing in passes over samples.'),
    });
    const learned = await by('nowhere', 'never', 'fast', '--epochs', '3', '--rounding', 'learned');
    expect(learned.reports).not.toContain('--epochs');
  });

  test('--version prints the version alone', async () => {
    expect(await mobilequant('--version')).toMatchObject({ status: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  });
});

describe('recipes', () => {
  const withRule = async (site: string, spec: object | null): Promise<string> => {
    await writeFile(at('r.json'), JSON.stringify({ name: 'r', extends: 'w8a8', rules: [{ site, spec }] }));
    const { status, reports } = await quantize('model', 'never', '--recipe', 'r.json');
    expect(status).toBe(1);
    return reports;
  };

  test('a rule for sites that are not there, or that have no such grid, is refused', async () => {
    expect(await withRule('model.layers.*.mlp.gate_proj.weight', { bits: 8 })).toContain('a pattern that covers none');
    expect(await withRule('model.layers.*.mlp.w1.output', { bits: 8, granularity: 'channel' })).toContain('per tensor');
    expect(await readdir(directory)).not.toContain('never');
  });

  test('the reference’s file is a recipe too', async () => {
    await writeFile(
      at('default_qcfg.json'),
      JSON.stringify(referenceConfigFromRecipe(recipes['paper-w8a8'], (await readModel(at('model'))).config)),
    );
    const { out } = await quantize('model', 'reference', '--recipe', 'default_qcfg.json', '--json');
    expect(JSON.parse(out)).toMatchObject({ recipe: 'default_qcfg' });
    const encodings = async (of: string) => JSON.parse(await readFile(at(of, 'quantization.json'), 'utf8')).encodings;
    await quantize('model', 'paper', '--recipe', 'paper-w8a8');
    expect(await encodings('reference')).toEqual(await encodings('paper'));
  });

  test('a name that leads out of the directory, or two of the same, are refused by all', async () => {
    await writeFile(at('evil.json'), JSON.stringify({ name: '../evil', extends: 'w8a8', rules: [] }));
    const all = (names: string) =>
      mobilequant('all', 'model', '--recipes', names, '--out', 'all', ...CALIBRATION, '--data', 'calibration.txt');
    expect((await all('w8a8,evil.json')).reports).toContain("expected a name that a directory can have, got '../evil'");
    expect((await all('w8a8,w8a8')).reports).toContain("got 'w8a8' twice");
    expect(await readdir(directory)).not.toContain('all');
  });
});

describe('files', () => {
  test.each([
    ['merge', 'nothing.json'],
    ['quantize', 'model', '--out', 'never', ...CALIBRATION, '--observed', 'nothing.json'],
    ['report', 'quantized', '--out', 'never', '--results', 'nothing.json'],
    ['encodings', 'calibration.txt', '--out', 'never', '--model', 'nothing.json'],
  ])('%s of a file that is not there', async (...args) => {
    const { status, reports } = await mobilequant(...args);
    expect({ status, reports }).toEqual({
      status: 1,
      reports: `mobilequant: ${at('nothing.json')}: expected a file, got no such file. Check the path.`,
    });
  });

  test('a directory is no file', async () => {
    expect((await mobilequant('merge', 'model')).reports).toContain('model: expected a file, got a directory.');
  });

  test('what is not text is refused, a text’s ending may be written large', async () => {
    await writeFile(at('bytes.txt'), Uint8Array.of(0x66, 0xff, 0x00, 0xfe));
    await writeFile(at('LARGE.TXT'), tinyText(400, 1));
    const { status, reports } = await quantize('model', 'never', '--calibration', 'bytes.txt');
    expect({ status, reports }).toMatchObject({
      status: 1,
      reports: expect.stringContaining('expected a text in UTF-8'),
    });
    const data = ['--data', 'LARGE.TXT', '--tokens', '16', '--windows', '1'];
    expect((await mobilequant('evaluate', 'model', '--form', 'float', ...data)).status).toBe(0);
  });

  test('weights that do not fit the config are refused by name', async () => {
    await withTensor('missing', 'model.norm.weight');
    expect((await quantize('missing', 'never')).reports).toContain(
      "expected a tensor 'model.norm.weight' [32], got none",
    );
    await changed('model', 'resized', 'config.json', (config: { vocab_size: number }) => config.vocab_size++);
    expect((await quantize('resized', 'never')).reports).toContain('as config.json says');
  });

  test('a perplexity that is none is an error', async () => {
    await withTensor('nan', 'model.norm.weight', (data) => data.fill(Number.NaN, 0, 1));
    const { status, out, reports } = await mobilequant('evaluate', 'nan', '--form', 'float', '--json', ...MEASURE);
    expect({ status, out }).toEqual({ status: 1, out: '' });
    expect(reports).toContain('expected a perplexity, got NaN');
  });

  type Quantization = {
    encodings: Record<string, { scale: number[] }>;
    recipe: { rules: { spec: { bits: number } }[] };
  };
  const site = 'model.layers.1.mlp.w1.output';
  test.each<[string, (json: Quantization) => void, string]>([
    ['without an encoding', ({ encodings }) => delete encodings[site], `expected an encoding of '${site}'`],
    [
      'with one too many',
      ({ encodings }) => Object.assign(encodings, { 'lm_head.output': encodings[site] }),
      "got 'lm_head.output'",
    ],
    [
      'with a scale of 0',
      ({ encodings }) => Object.assign(encodings[site] as object, { scale: [0] }),
      `${site}.scale[0]`,
    ],
    ['with 77 bits', ({ recipe }) => Object.assign(recipe.rules[0]?.spec as object, { bits: 77 }), 'from 2 to 16'],
  ])('a quantization.json %s is refused', async (title, change, message) => {
    const name = title.replaceAll(' ', '-');
    await changed('quantized', name, 'quantization.json', change);
    const { status, reports } = await mobilequant('evaluate', name, ...MEASURE);
    expect(reports).toContain('quantization.json');
    expect(reports).toContain(message);
    expect(status).toBe(1);
  });
});

describe('directories', () => {
  test('export does not write into a directory of something else, but replaces an export, or goes beside its model', async () => {
    const { status, reports } = await mobilequant('export', 'quantized', '--out', 'model');
    expect({ status, reports }).toMatchObject({
      status: 1,
      reports: expect.stringContaining('expected a new or empty'),
    });
    expect(await readdir(at('model'))).not.toContain('model.onnx');
    expect((await mobilequant('export', 'quantized', '--out', 'calibration.txt')).reports).toContain('got a file');
    expect((await mobilequant('export', 'quantized', '--out', 'exported', '--tokens', '16')).status).toBe(0);
    await cp(at('quantized'), at('beside'), { recursive: true });
    for (const target of ['onnx', 'onnx', 'genai', 'genai'])
      expect(await mobilequant('export', 'beside', '--out', 'beside', '--target', target)).toMatchObject({ status: 0 });
  });

  test('export beside its model writes over none of its files', async () => {
    await cp(at('quantized'), at('source'), { recursive: true });
    const files = () =>
      readdir(at('source')).then((names) => Promise.all(names.map((name) => readFile(at('source', name)))));
    const before = await files();
    const { status, reports } = await mobilequant('export', 'source', '--out', 'source', '--target', 'transformers-js');
    expect({ status, reports }).toMatchObject({
      status: 1,
      reports: expect.stringContaining(
        "source: expected a directory without config.json for the target transformers-js, got the model's own. Choose another.",
      ),
    });
    expect(await files()).toEqual(before);
  });

  test('a model from the hub with a folder onnx is no older export', async () => {
    await cp(at('model'), at('download'), { recursive: true });
    await mkdir(at('download', 'onnx'));
    const args = ['export', 'quantized', '--target', 'transformers-js', '--out', 'download'];
    let last = 'model.safetensors';
    for (const weights of [last, 'pytorch_model.bin', 'model-00001-of-00002.safetensors', 'model.gguf']) {
      await rename(at('download', last), at('download', weights));
      last = weights;
      const { status, reports } = await mobilequant(...args);
      expect({ weights, status, reports }).toMatchObject({
        status: 1,
        reports: expect.stringContaining('expected a new or empty directory, or one with an exported model'),
      });
    }
  });

  test('a target of one’s own replaces what it wrote, and nothing else', async () => {
    const files = new Map<string, string | Uint8Array>([
      ['net.bin', Uint8Array.of(1)],
      ['parts/more.txt', 'text'],
    ]);
    const target = { name: 'own', description: '', export: async () => files };
    const write = () => exportDirectory(at('quantized'), at('own'), { target });
    expect([...(await write()).keys()]).toEqual(['net.bin', 'parts/more.txt', 'tokenizer.json']);
    await write();
    await writeFile(at('own', 'parts', 'mine.txt'), 'mine');
    await expect(write()).rejects.toThrow('expected a new or empty directory, or one with an exported model');
  });

  test('an exported directory has one form, which the error names', async () => {
    await mobilequant('export', 'quantized', '--out', 'web', '--target', 'transformers-js');
    const tasks = ['--tasks', 'lambada', '--data-dir', 'data'];
    await mkdir(at('data', 'lambada_openai'), { recursive: true });
    await writeFile(at('data', 'lambada_openai', 'test.jsonl'), '{"text":"to be"}\n');
    for (const name of ['exported', 'web'])
      for (const args of [MEASURE, tasks, [...MEASURE, '--form', 'float']])
        expect(await mobilequant('evaluate', name, ...args)).toMatchObject({
          status: 1,
          reports: expect.stringContaining('Ask for the form integer'),
        });
  });

  test('what cannot be compared is found out before anything is measured', async () => {
    const { statuses } = await mobilequant('evaluate', 'model', '--form', 'float', '--layers', ...MEASURE);
    expect(statuses).toEqual([]);
  });

  test('a method that does not learn leaves the state of one that did', async () => {
    await mkdir(at('unfinished'));
    await writeFile(at('unfinished', 'learning.safetensors'), 'state');
    for (const more of [[], ['--resume']]) {
      expect((await quantize('model', 'unfinished', ...more)).reports).toContain('expected no unfinished run');
    }
    expect(await readFile(at('unfinished', 'learning.safetensors'), 'utf8')).toBe('state');
  });

  test('longer windows than the model has positions are reported', async () => {
    const long = ['--data', 'calibration.txt', '--tokens', '65', '--windows', '1'];
    const { status, reports } = await mobilequant('evaluate', 'model', '--form', 'float', ...long);
    expect({ status, reports }).toEqual({ status: 0, reports: expect.stringContaining("the model's 64 positions") });
  });
});
