import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSafetensors, writeSafetensors } from '@mobilequant/checkpoint/node';
import { createDecoder, languageModel, type QuantizedModel, simulatedReading } from '@mobilequant/core';
import { type Encodings, rangesOf, referenceAffine, referenceGrid } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readQuantized, writeReference } from '../src/index.ts';
import {
  KINDS,
  LAYERS,
  layerSettings,
  type ReferenceFiles,
  VOCAB,
  writeReferenceFixture,
} from './reference-fixture.ts';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';
const at = (...parts: string[]) => join(directory, ...parts);
const mobilequant = (...args: string[]) => run(directory, args);
const runtime = nodeRuntime();

const TEXT = Int32Array.from({ length: 20 }, (_, i) => (7 * i + 3) % VOCAB);
const IDS = ['--data', 'ids.safetensors:ids'];
const CALIBRATION = ['--calibration', 'text.txt', '--samples', '3', '--tokens', '16', '--threads', '1'];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-reference-'));
  for (const [name, kind] of Object.entries(KINDS)) await writeReferenceFixture(at(name), kind);
  await writeTinyModel(at('tiny'));
  await writeFile(at('text.txt'), tinyText(400, 4));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

/** What the simulated model says of a text. */
async function logitsOf({ config, weights, encodings }: QuantizedModel): Promise<Float32Array> {
  const model = languageModel(createDecoder(runtime, config, weights, { reading: simulatedReading(encodings) }));
  const logits = await model.logits(TEXT);
  await model.release?.();
  return logits;
}

/** Encodings as plain values, without what is known of a site's range beforehand. */
const plain = (encodings: Encodings) =>
  Object.fromEntries(
    [...encodings].map(([site, { spec, scale, zeroPoint }]) => {
      const { range: _, ...rest } = spec;
      return [site, { ...rest, scale: [...scale], zeroPoint: [...zeroPoint] }] as const;
    }),
  );

describe.each(['llama', 'gemma', 'stablelm'] as const)('a %s in the reference’s form', (name) => {
  test('is a quantized model with the sites and grids that its files say', async () => {
    const { config, encodings, recipe, weights } = await readQuantized(at(name));
    const kind = KINDS[name];
    const expected = Object.entries(layerSettings(kind)).flatMap(([module, ports]) =>
      Object.entries(ports).flatMap(([port, [bits]]) =>
        bits > 16 ? [] : Array.from({ length: LAYERS }, (_, layer) => `model.layers.${layer}.${module}.${port}`),
      ),
    );
    expect([...encodings.keys()].sort()).toEqual(expected.sort());
    expect(recipe.conventions).toBe('reference');
    expect(config).toMatchObject({
      norm: name === 'stablelm' ? 'layer' : 'l2',
      finalNorm: name === 'stablelm' ? 'layer' : 'epsilon',
      activation: name === 'gemma' ? 'gelu' : 'silu',
      embeddingFactor: name === 'gemma' ? Math.fround(Math.sqrt(32)) : 1,
    });

    const ranges = JSON.parse(await readFile(at(name, 'act_dict.json'), 'utf8'));
    for (const [site, { spec, scale, zeroPoint }] of encodings) {
      const [, module, port] = /^(.+)\.(\w+)$/.exec(site) as unknown as [string, string, string];
      if (port === 'weight') {
        const data = await weights.read(site);
        const grid = referenceGrid(rangesOf(data, weights.shape(site), spec.granularity), spec);
        if (!module.endsWith('norm')) expect([...scale], site).toEqual([...grid.scale]); // those of norms leave 0 out
        continue;
      }
      const [min, max] = ranges[module][port] ?? [0, 1];
      const grid = referenceAffine({ min, max }, spec);
      expect(scale[0], site).toBe(grid.scale);
      expect(zeroPoint[0], site).toBe(grid.offset - (spec.symmetric ? grid.qmin : 0) + 0); // no -0
    }
  });

  test('survives being written and read again, bit for bit', async () => {
    const model = await readQuantized(at(name));
    const passedOver = await writeReference(at(`${name}-again`), { model, from: model.checkpoint, dtype: 'float32' });
    expect(passedOver).toEqual([]);
    const again = await readQuantized(at(`${name}-again`));
    expect(plain(again.encodings)).toEqual(plain(model.encodings));
    expect(again.config).toEqual(model.config);
    expect(await logitsOf(again)).toEqual(await logitsOf(model));
  });

  test('can be measured, simulated and in integers, and exported', async () => {
    const ids = TEXT.length;
    await writeSafetensors(at('ids.safetensors'), [{ name: 'ids', dtype: 'int32', shape: [1, ids], data: () => TEXT }]);
    const measure = async (form: string) => {
      const args = [...IDS, '--tokens', `${ids}`, '--form', form, '--threads', '1', '--json'];
      const { out, reports } = await mobilequant('evaluate', name, ...args);
      expect(reports).toBe('');
      return JSON.parse(out).tokenPerplexity as number;
    };
    const [simulated, integer] = [await measure('simulated'), await measure('integer')];
    expect(integer / simulated).toBeCloseTo(1, 3);
    expect(await mobilequant('export', name, '--out', `${name}-onnx`, '--tokens', `${ids}`)).toMatchObject({
      status: 0,
    });
    expect(await readdir(at(`${name}-onnx`))).toContain('model.onnx');
  });
});

describe('a model of ours', () => {
  test.each([
    ['paper-w8a8', 'mobilequant'],
    ['paper-w4a8', 'omniquant'],
    ['paper-w4a8-sym', 'smoothquant'],
  ])('by %s and %s goes to the reference’s form and comes back the same', async (recipe, method) => {
    const own = `own-${recipe}`;
    const done = await mobilequant(
      ...['quantize', 'tiny', '--recipe', recipe, '--method', method, '--epochs', '1', '--out', own, ...CALIBRATION],
    );
    expect(done.status).toBe(0);
    const converted = await mobilequant(
      ...['convert', own, '--to', 'reference', '--out', `${own}-theirs`],
      ...['--check', 'text.txt', '--tokens', '16', '--threads', '1', '--json'],
    );
    expect(converted).toMatchObject({ status: 0, reports: '' });
    expect(JSON.parse(converted.out).comparison).toMatchObject({ relativeError: 0, agreement: 1 });
    const [ours, theirs] = [await readQuantized(at(own)), await readQuantized(at(`${own}-theirs`))];
    expect(plain(theirs.encodings)).toEqual(plain(ours.encodings));
    expect(theirs.config).toEqual({ ...ours.config, biases: theirs.config.biases });
    expect(await logitsOf(theirs)).toEqual(await logitsOf(ours));
  });

  test('has every entry that the reference’s loader looks up', async () => {
    const settings = JSON.parse(await readFile(at('own-paper-w8a8-theirs', 'default_qcfg.json'), 'utf8'));
    const ranges = JSON.parse(await readFile(at('own-paper-w8a8-theirs', 'act_dict.json'), 'utf8'));
    for (let layer = 0; layer < LAYERS; layer++) {
      for (const [module, ports] of Object.entries(layerSettings(KINDS.llama))) {
        const name = `model.layers.${layer}.${module}`;
        expect(Object.keys(settings[name]).sort(), name).toEqual(Object.keys(ports).sort());
        const activations = Object.keys(ports).filter((port) => port !== 'weight');
        expect(Object.keys(ranges[name]).sort(), name).toEqual(activations.sort());
      }
    }
    const { tensors } = await openSafetensors(at('own-paper-w8a8-theirs', 'model.safetensors'));
    expect([...tensors.keys()]).toContain('model.layers.0.mlp.w1.weight');
  });

  test('by a device recipe keeps its clipping, and sites that the reference passes over are named', async () => {
    await mobilequant(
      ...['quantize', 'tiny', '--recipe', 'w4a8', '--method', 'omniquant', '--epochs', '1', '--out', 'device'],
      ...CALIBRATION,
    );
    const { status, reports } = await mobilequant('convert', 'device', '--to', 'reference', '--out', 'device-theirs');
    expect({ status, reports }).toEqual({ status: 0, reports: expect.stringContaining('passes over lm_head.weight') });
    const [ours, theirs] = [await readQuantized(at('device')), await readQuantized(at('device-theirs'))];
    expect(plain(theirs.encodings)).toEqual(plain(ours.encodings));
    expect(await logitsOf(theirs)).toEqual(await logitsOf(ours));
  });

  test('in float has the names and switches of the reference, and computes the same', async () => {
    const check = ['--check', 'text.txt', '--tokens', '16', '--threads', '1', '--json'];
    const { status, out } = await mobilequant('convert', 'tiny', '--to', 'reference', '--out', 'tiny-theirs', ...check);
    expect(status).toBe(0);
    expect(JSON.parse(out).comparison.relativeError).toBe(0);
    const config = JSON.parse(await readFile(at('tiny-theirs', 'config.json'), 'utf8'));
    expect(config).toMatchObject({
      model_type: 'hfmodel',
      hidden_act: 'silu',
      l2norm_as_rmsnorm: false,
      head_dim: null,
    });
    expect(await readdir(at('tiny-theirs'))).not.toContain('act_dict.json');
  });
});

describe('what is refused', () => {
  const site = 'model.layers.0.mlp.w1';
  test.each<[string, (files: ReferenceFiles) => void, string]>([
    ['a range that is missing', ({ ranges }) => delete ranges[site], `a range of '${site}.output' in act_dict.json`],
    [
      'a range of more than two numbers',
      ({ ranges }) => Object.assign(ranges[site] as object, { output: [-1, 0, 1] }),
      `act_dict.json: ${site}.output: expected [min, max], got [-1,0,1]`,
    ],
    [
      'a range that is upside down',
      ({ ranges }) => Object.assign(ranges[site] as object, { output: [1, -1] }),
      `${site}.output: expected min ≤ max`,
    ],
    [
      'settings without their bits',
      ({ settings }) => delete settings[site]?.['weight']?.['bitwidth'],
      `default_qcfg.json: ${site}.weight.bitwidth: expected an integer`,
    ],
    [
      'a quantizer whose range is found while it runs',
      ({ settings }) => Object.assign(settings[site]?.['output'] as object, { is_dynamic: 'True' }),
      `${site}.output: expected a static quantizer`,
    ],
    [
      'settings of a layer that is not there',
      ({ settings }) => Object.assign(settings, { 'model.layers.7.mlp.w1': settings[site] }),
      "only sites of the decoder in default_qcfg.json, got 'model.layers.7.mlp.w1.weight'",
    ],
    [
      'ranges of a module that is not there',
      ({ ranges }) => Object.assign(ranges, { 'vision.encoder': { input: [0, 1] } }),
      "only sites of the decoder in act_dict.json, got 'vision.encoder.input'",
    ],
    [
      'a norm that the reference cannot quantize',
      ({ config }) => Object.assign(config, { norm_class: 'skiprms' }),
      'skiprms',
    ],
  ])('%s', async (title, spoil, message) => {
    const name = title.replaceAll(' ', '-');
    await writeReferenceFixture(at(name), KINDS.llama, spoil);
    await expect(readQuantized(at(name))).rejects.toThrow(message);
  });

  test('weights of two kinds, since the reference’s choice is not the usual one', async () => {
    await cp(at('llama'), at('two'), { recursive: true });
    await writeFile(at('two', 'pytorch_model.bin'), 'x');
    await expect(readQuantized(at('two'))).rejects.toThrow('safetensors and .bin');
  });

  test('an architecture that the reference does not have, by the switch', async () => {
    const { status, reports } = await mobilequant(
      ...['convert', new URL('../../core/test/fixtures/gemma2', import.meta.url).pathname, '--to', 'reference'],
      ...['--out', 'never'],
    );
    expect({ status, reports }).toEqual({ status: 1, reports: expect.stringContaining('reference form, ') });
    expect(await readdir(directory)).not.toContain('never');
  });

  test('a prefix of tokens, for which its config has no place', async () => {
    const { checkpoint: from, ...given } = await readQuantized(at('llama'));
    const model = { ...given, config: { ...given.config, prefix: [1] } };
    await expect(writeReference(at('never'), { model, from, dtype: 'float32' })).rejects.toThrow(
      'reference form, prefix: expected [], got [1]',
    );
  });

  test('a bias of a root-mean-square norm, and a tensor that the reference does not know', async () => {
    const { checkpoint: from, ...model } = await readQuantized(at('llama'));
    const extended = (name: string, value: number): QuantizedModel => ({
      ...model,
      weights: {
        ...model.weights,
        names: () => [...model.weights.names(), name],
        has: (other) => other === name || model.weights.has(other),
        shape: (other) => (other === name ? [32] : model.weights.shape(other)),
        read: async (other) => (other === name ? new Float32Array(32).fill(value) : model.weights.read(other)),
      },
    });
    const write = (name: string, value: number) =>
      writeReference(at('never'), { model: extended(name, value), from, dtype: 'float32' });
    const norm = 'model.layers.0.input_layernorm.bias';
    await expect(write(norm, 0.5)).rejects.toThrow(`reference form, ${norm}`);
    await expect(write('model.layers.0.self_attn.sinks', 0)).rejects.toThrow('sinks');
    expect(await readdir(directory)).not.toContain('never');
    await writeReference(at('zero'), { model: extended(norm, 0), from, dtype: 'float32' });
    expect(plain((await readQuantized(at('zero'))).encodings)).toEqual(plain(model.encodings));
    await writeReference(at('o-bias'), {
      model: extended('model.layers.0.self_attn.o_proj.bias', 0.5),
      from,
      dtype: 'float32',
    });
    const biased = await readQuantized(at('o-bias')); // its group has them too, of zeros
    expect(biased.weights.has('model.layers.1.self_attn.q_proj.bias')).toBe(true);
    expect(await logitsOf(biased)).toEqual(await logitsOf(extended('model.layers.0.self_attn.o_proj.bias', 0.5)));
  });

  test('a 16-bit type for a quantized model, whose ranges it would change', async () => {
    const args = ['convert', 'llama', '--to', 'reference', '--dtype', 'float16', '--out', 'never'];
    expect(await mobilequant(...args)).toMatchObject({ status: 2, reports: expect.stringContaining('--dtype') });
  });
});
