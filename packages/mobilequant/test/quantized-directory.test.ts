import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Method, quantizeBy } from '@mobilequant/calibration';
import {
  checkpointForm,
  createDecoder,
  fromCheckpoint,
  languageModel,
  mulberry32,
  type QuantizedModel,
  simulatedReading,
  toCheckpoint,
  type Weights,
  weightsFrom,
} from '@mobilequant/core';
import { recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readModel, readQuantized, writeQuantized } from '../src/index.ts';

const fixture = (name: string): string => fileURLToPath(new URL(`../../core/test/fixtures/${name}`, import.meta.url));
const runtime = nodeRuntime();
const PROVENANCE = { source: 'test', method: 'minmax', options: {}, widened: [] };

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-directory-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const textOf = (seed: number, vocab: number, tokens = 16): Int32Array => {
  const random = mulberry32(seed);
  return Int32Array.from({ length: tokens }, () => Math.floor(random() * vocab));
};

async function logitsOf({ config, weights, encodings }: QuantizedModel): Promise<Float32Array> {
  const decoder = createDecoder(runtime, config, weights, { reading: simulatedReading(encodings) });
  const model = languageModel(decoder);
  const logits = await model.logits(textOf(3, config.vocab));
  await model.release?.();
  return logits;
}

async function quantized(name: string, recipe: keyof typeof recipes, method: Method) {
  const { config, weights, checkpoint } = await readModel(fixture(name));
  const calibration = [1, 2].map((seed) => textOf(seed, config.vocab));
  const input = { config, weights, recipe: recipes[recipe], method, calibration };
  return { ...(await quantizeBy(runtime, input, { epochs: 1 })).model, checkpoint };
}

describe.each(['gemma', 'stablelm', 'phi', 'gemma3', 'qwen3'])('a quantized %s', (name) => {
  test.each<[keyof typeof recipes, Method]>([
    ['w8a8', 'minmax'],
    ['paper-w4a8', 'smoothquant'],
    ['w4a8', 'mobilequant'],
  ])('by %s and %s is read as it was written', async (recipe, method) => {
    const folder = join(directory, `${name}-${recipe}`);
    const { checkpoint, ...model } = await quantized(name, recipe, method);
    await writeQuantized(folder, model, checkpoint, PROVENANCE);
    const read = await readQuantized(folder);
    expect(read.encodings).toEqual(model.encodings);
    expect(read.config).toEqual({ ...model.config, tiedEmbeddings: read.config.tiedEmbeddings });
    expect(await logitsOf(read)).toEqual(await logitsOf(model));
  });
});

/** A model's weights with more of them. */
const withTensors = (weights: Weights, added: Readonly<Record<string, Float32Array>>, rows?: number): Weights => {
  const more = weightsFrom(
    new Map(
      Object.entries(added).map(([name, data]) => [
        name,
        { data, shape: name.endsWith('bias') ? [data.length] : [rows as number, data.length / (rows as number)] },
      ]),
    ),
  );
  const of = (name: string) => (more.has(name) ? more : weights);
  return {
    names: () => [...new Set([...weights.names(), ...more.names()])],
    has: (name) => of(name).has(name),
    shape: (name) => of(name).shape(name),
    read: (name) => of(name).read(name),
    readRows: (name, wanted) => of(name).readRows(name, wanted),
  };
};

const noise = (length: number): Float32Array => {
  const random = mulberry32(length);
  return Float32Array.from({ length }, () => 0.2 * (random() - 0.5));
};

test.each(['gemma', 'qwen3', 'phi'])('a %s with biases and a head of its own is read with them', async (name) => {
  const { checkpoint, ...model } = await quantized(name, 'w8a8', 'minmax');
  const { hidden, vocab, ffn } = model.config;
  const weights = withTensors(
    model.weights,
    {
      'model.layers.0.input_layernorm.bias': noise(hidden),
      'model.layers.0.self_attn.o_proj.bias': noise(hidden),
      'model.layers.1.mlp.w1.bias': noise(ffn),
      'lm_head.weight': noise(vocab * hidden),
    },
    vocab,
  );
  const own = { ...model, weights };
  const folder = join(directory, `${name}-more`);
  await writeQuantized(folder, own, checkpoint, PROVENANCE);
  expect(JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')).tie_word_embeddings).toBe(false);
  const read = await readQuantized(folder);
  expect(await logitsOf(read)).toEqual(await logitsOf(own));
  expect(await logitsOf(read)).not.toEqual(await logitsOf(model));
});

test('gemma’s norm weights less one come back exactly where float32 has them less one, else within its last bit', async () => {
  const form = checkpointForm({ model_type: 'gemma' });
  const random = mulberry32(8);
  const norms = Float32Array.from({ length: 4096 }, () => 10 ** (4 * random() - 3));
  const name = 'model.norm.weight';
  const weights = weightsFrom(new Map([[name, { data: norms, shape: [norms.length] }]]));
  const back = await fromCheckpoint(form, toCheckpoint(form, weights)).read(name);
  norms.forEach((w, i) => {
    const exact = w >= 0.5 || Math.fround(w - 1) === w - 1;
    if (exact) expect(back[i]).toBe(w);
    else expect(Math.abs((back[i] as number) - w)).toBeLessThanOrEqual(2 ** -25);
  });
  expect(norms.filter((w, i) => back[i] === w).length).toBeGreaterThan(1000);
});
