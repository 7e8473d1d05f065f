import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createDecoder, type DecoderConfig, rowsOf, simulatedReading, type Weights } from '@mobilequant/core';
import { type Encoding, fakeQuantize, type QuantizerSpec, recipes, withRules } from '@mobilequant/quantizer';
import { type Executor, eagerExecutor } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { architectures } from '../test/architectures.ts';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import { collectOutputHessians } from './collect-output-hessians.ts';
import { type GptqInput, type GptqOptions, gptq } from './gptq.ts';
import type { Progress } from './progress.ts';
import { type QuantizeInput, quantizeModel, withKnownRanges } from './quantize-model.ts';
import { collectStatistics, rangesOf } from './statistics.ts';

const runtime = nodeRuntime();
const texts = (config: DecoderConfig, count: number, tokens: number, seed: number): Int32Array[] =>
  Array.from({ length: count }, (_, n) =>
    Int32Array.from({ length: tokens }, (_, i) => ((i + 1) * (7 + n * seed) + i * i) % config.vocab),
  );

const w4 = (granularity: QuantizerSpec['granularity'], symmetric = true) =>
  withRules(recipes.w4a8, 'w4', [
    { site: 'model.layers.*.self_attn.*_proj.weight', spec: { bits: 4, symmetric, granularity } },
    { site: 'model.layers.*.mlp.w*.weight', spec: { bits: 4, symmetric, granularity } },
  ]);

async function input(config: DecoderConfig, weights: Weights, recipe = w4({ kind: 'channel' })): Promise<GptqInput> {
  const samples = texts(config, 6, 16, 3);
  const statistics = await collectStatistics(runtime, config, weights, samples, { head: false });
  return { config, weights, recipe, ranges: withKnownRanges(rangesOf(statistics), recipe), samples };
}

/** Squared error of the quantized model's last hidden states against the float model's. */
async function outputError(
  float: GptqInput,
  quantized: QuantizeInput,
  samples: readonly Int32Array[],
): Promise<number> {
  const { model } = await quantizeModel(quantized);
  const exact = createDecoder(runtime, float.config, float.weights);
  const rounded = createDecoder(runtime, model.config, model.weights, { reading: simulatedReading(model.encodings) });
  let sum = 0;
  for (const sample of samples) {
    const [x, y] = [await exact.hidden(sample), await rounded.hidden(sample)];
    x.forEach((v, i) => (sum += (v - (y[i] as number)) ** 2));
  }
  return sum;
}

test('refuses what it cannot work with, before anything is computed', async () => {
  const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4 });
  const given = await input(config, tinyWeights(config, 21));
  const refused = (own: Partial<GptqInput>, options: GptqOptions) =>
    expect(gptq(eagerExecutor(), { ...given, ...own }, options)).rejects;
  await refused({ samples: [] }, {}).toThrow('gptq: expected at least one sample, got none.');
  await refused({}, { damping: Number.NaN }).toThrow('gptq, damping: expected 0 or more, got NaN.');
  await refused({}, { outputDamping: -1 }).toThrow('gptq, outputDamping: expected 0 or more, got -1.');
  await refused({}, { correction: 5 }).toThrow('gptq, correction: expected 0 to 1, got 5.');
});

test('rows of a rounded weight are those of the whole', async () => {
  const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4 });
  const given = await input(config, tinyWeights(config, 21));
  const { weights } = await gptq(runtime, given);
  const name = 'model.layers.0.mlp.w1.weight';
  expect(await weights.readRows(name, [5, 0])).toEqual(rowsOf(await weights.read(name), 8, [5, 0]));
  expect(await weights.readRows(name, [5, 0])).not.toEqual(await given.weights.readRows(name, [5, 0]));
});

describe.each(architectures)('$name', ({ config: checkpoint }) => {
  const config: DecoderConfig = { ...checkpoint, norm: checkpoint.norm === 'epsilon' ? 'l2' : checkpoint.norm };

  test('weights lie on the grids that quantizeModel makes, and the model is closer to the float one', async () => {
    const weights = tinyWeights(config, 21);
    const given = await input(config, weights);
    const result = await gptq(runtime, given);
    const { model } = await quantizeModel(result);
    const linears = weights.names().filter((name) => /layers.*(proj|mlp\.w\d)\.weight$/.test(name));
    expect(linears.length).toBe(config.layers * (config.mlp === 'gated' ? 7 : 6));
    for (const name of linears) {
      const encoding = model.encodings.get(name);
      if (!encoding) throw new Error(`no encoding of ${name}`);
      const rounded = await result.weights.read(name);
      expect(fakeQuantize(rounded, encoding)).toEqual(rounded);
      expect(rounded).not.toEqual(await weights.read(name));
    }
    const nearest = await gptq(runtime, given, { rounding: 'nearest' });
    const error = await outputError(given, result, given.samples);
    expect(error).toBeLessThan(0.9 * (await outputError(given, nearest, given.samples)));
  });
});

const config = tinyConfig({ hidden: 16, ffn: 24, heads: 4, kvHeads: 1, headDim: 4, layers: 2 });
const weights = tinyWeights(config, 8);
const read = async (of: Weights): Promise<Float32Array[]> => Promise.all(of.names().map((name) => of.read(name)));

describe('gptq', () => {
  test.each([
    ['group', { kind: 'group', size: 8 }, true],
    ['asymmetric group', { kind: 'group', size: 8 }, false],
    ['asymmetric channel', { kind: 'channel' }, false],
    ['tensor', { kind: 'tensor' }, true],
  ] as const)('rounds per %s', async (_, granularity, symmetric) => {
    const given = await input(config, weights, w4(granularity, symmetric));
    const result = await gptq(runtime, given);
    const { model } = await quantizeModel(result);
    const site = 'model.layers.1.mlp.w2.weight';
    const rounded = await result.weights.read(site);
    expect(fakeQuantize(rounded, model.encodings.get(site) as never)).toEqual(rounded);
    const nearest = await gptq(runtime, given, { rounding: 'nearest' });
    expect(await outputError(given, result, given.samples)).toBeLessThan(
      await outputError(given, nearest, given.samples),
    );
  });

  test('gives the weights before their rounding where it is asked to, which round to nearest to the same', async () => {
    const given = await input(config, weights);
    const [plain, kept] = [await gptq(runtime, given), await gptq(runtime, given, { fractions: true })];
    const { encodings } = (await quantizeModel(kept)).model;
    const name = 'model.layers.1.mlp.w2.weight';
    const before = await kept.unrounded.read(name);
    const rounded = await kept.weights.read(name);
    expect(before).not.toEqual(rounded);
    expect(fakeQuantize(before, encodings.get(name) as Encoding)).toEqual(rounded);
    expect(await plain.unrounded.read(name)).toEqual(rounded);
  });

  test('is the same every time', async () => {
    const given = await input(config, weights);
    expect(await read((await gptq(runtime, given)).weights)).toEqual(await read((await gptq(runtime, given)).weights));
  });

  test('is the same whether inputs are kept or computed again', async () => {
    const given = await input(config, weights);
    const [all, none] = [await gptq(runtime, given), await gptq(runtime, given, { kept: 0 })];
    expect(await read(none.weights)).toEqual(await read(all.weights));
  });

  test('is what tfjs computes without a runtime, but for what float32 decides', async () => {
    await tf.setBackend('cpu');
    const given = await input(config, weights);
    const [a, b] = [await gptq(runtime, given), await gptq(eagerExecutor(), given)];
    const [x, y] = [(await read(a.weights)).flatMap((w) => [...w]), (await read(b.weights)).flatMap((w) => [...w])];
    expect(x.filter((v, i) => v !== y[i]).length / x.length).toBeLessThan(0.02);

    const corrected = { correction: 0.5 }; // one integer that falls the other way moves every weight behind it
    const [c, d] = [await gptq(runtime, given, corrected), await gptq(eagerExecutor(), given, corrected)];
    const error = await outputError(given, c, given.samples);
    expect(Math.abs((await outputError(given, d, given.samples)) / error - 1)).toBeLessThan(0.25);
  });

  test('holds nothing of the hidden states once it is done', async () => {
    setFlagsFromString('--expose-gc');
    const held = (): number => {
      runInNewContext('gc')();
      return process.memoryUsage().arrayBuffers;
    };
    const given = { ...(await input(config, weights)), samples: texts(config, 32, 512, 5) };
    const before = held();
    const result = await gptq(runtime, given, { correction: 0.5 });
    const states = 32 * 512 * config.hidden * 4; // bytes, of one of two streams
    // The runtime lets go of its outputs a little later.
    await expect.poll(() => held() - before, { timeout: 5000 }).toBeLessThan(states / 2);
    expect(result.weights.names()).toEqual(weights.names());
  });

  test('comes closer to the float model by making up for errors of inputs and stream', async () => {
    const given = await input(config, weights, w4({ kind: 'channel' }));
    const error = async (correction: number) =>
      outputError(given, await gptq(runtime, given, { correction }), given.samples);
    expect(await error(0.5)).toBeLessThan(await error(0));
  });

  test.each([0, 4])('rounds by what errors of outputs cost together where it is told, in %d sweeps', async (sweeps) => {
    const given = await input(config, weights);
    const name = 'model.layers.1.mlp.w2.weight'; // the last
    const cost = (await collectOutputHessians(runtime, given)).get(name);
    if (!cost) throw new Error(`no cost of ${name}`);
    const [alone, together] = [
      await gptq(runtime, given, { sweeps }),
      await gptq(runtime, { ...given, outputs: new Map([[name, cost]]) }, { sweeps }),
    ];
    const { encodings } = (await quantizeModel(together)).model;
    for (const other of weights.names()) {
      const [before, after] = [await alone.weights.read(other), await together.weights.read(other)];
      if (other !== name) expect(after, other).toEqual(before);
      else expect(after).not.toEqual(before);
    }
    const rounded = await together.weights.read(name);
    expect(fakeQuantize(rounded, encodings.get(name) as Encoding)).toEqual(rounded);
  });

  test('gradients that are no numbers are an error', async () => {
    const given = await input(config, weights);
    const site = 'model.layers.0.self_attn.q_proj.weight';
    const outputs = new Map([[site, { data: new Float32Array(16 * 16).fill(Infinity), shape: [16, 16] }]]);
    await expect(gptq(runtime, { ...given, outputs })).rejects.toThrow(`finite gradients in the outputs of ${site}`);
  });

  test('comes closer to the float model when integers are decided again', async () => {
    const given = await input(config, weights);
    const [once, again] = [await gptq(runtime, given), await gptq(runtime, given, { sweeps: 6 })];
    expect(await outputError(given, again, given.samples)).toBeLessThan(await outputError(given, once, given.samples));
    const { encodings } = (await quantizeModel(again)).model;
    for (const name of ['model.layers.0.mlp.w2.weight', 'model.layers.1.self_attn.q_proj.weight']) {
      const rounded = await again.weights.read(name);
      expect(fakeQuantize(rounded, encodings.get(name) as Encoding)).toEqual(rounded);
    }
  });

  test.each([
    [1e4, true],
    [1, false],
  ])(
    'a token whose stream is %d times as large, last so that no other sees it: decides nothing: %s',
    async (size, same) => {
      const one = { ...config, layers: 1 };
      const rest = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'mlp.w1', 'mlp.w3'];
      const rules = rest.map((module) => ({ site: `model.layers.*.${module}.weight`, spec: null }));
      const recipe = withRules(w4({ kind: 'channel' }), 'o and w2', rules);
      const last = 5;
      const larger: Weights = {
        ...weights,
        async readRows(name, rows) {
          const found = await weights.readRows(name, rows);
          if (!name.includes('embed')) return found;
          return found.map((x, i) => (rows[Math.floor(i / config.hidden)] === last ? size * x : x));
        },
      };
      const given = await input(one, larger, recipe);
      const without = given.samples.map((sample) => sample.filter((id) => id !== last));
      const rounded = async (samples: Int32Array[]) => read((await gptq(runtime, { ...given, samples })).weights);
      const [few, more] = [await rounded(without), await rounded(without.map((ids) => Int32Array.of(...ids, last)))];
      if (same) expect(more).toEqual(few);
      else expect(more).not.toEqual(few);
    },
  );

  test('keeps what clipping says, and chooses the rest', async () => {
    const given = await input(config, weights);
    const site = 'model.layers.0.mlp.w1.weight';
    const range = { min: new Float32Array(24).fill(-0.7), max: new Float32Array(24).fill(0.7) };
    const { clipping, weights: rounded } = await gptq(runtime, { ...given, clipping: new Map([[site, range]]) });
    expect(clipping.get(site)).toEqual(range);
    expect(clipping.size).toBe(14);
    const steps = (await rounded.read(site)).map((x) => Math.abs(x * 10 - Math.round(x * 10)));
    expect(Math.max(...steps)).toBeLessThan(1e-5);
  });

  test('leaves a linear in float that the recipe does not quantize', async () => {
    const site = 'model.layers.*.mlp.w1.weight';
    const recipe = withRules(recipes.w4a8, 'float w1', [{ site, spec: null }]);
    const given = await input(config, weights, recipe);
    const result = await gptq(runtime, given);
    const name = 'model.layers.1.mlp.w1.weight';
    expect(result.clipping.has(name)).toBe(false);
    expect(await result.weights.read(name)).toBe(await weights.read(name));
  });

  test('says how far it is, and stops between layers', async () => {
    const given = await input(config, weights);
    const seen: Progress[] = [];
    const stop = new AbortController();
    const running = gptq(runtime, given, {
      onProgress: (progress) => {
        seen.push(progress);
        stop.abort();
      },
      signal: stop.signal,
    });
    await expect(running).rejects.toThrow('abort');
    expect(seen).toMatchObject([{ stage: 'gptq', done: 1, total: 2, secondsLeft: expect.any(Number) }]);
  });

  test('stops between samples', async () => {
    const stop = new AbortController();
    let runs = 0;
    const counting: Executor = {
      async program(fn, specs) {
        const program = await runtime.program(fn, specs);
        const run: typeof program.run = (feeds) => {
          if (++runs === 1) stop.abort();
          return program.run(feeds);
        };
        return { ...program, run };
      },
    };
    const running = gptq(counting, await input(config, weights), { signal: stop.signal });
    await expect(running).rejects.toThrow('abort');
    expect(runs).toBe(2); // the first sample's input and its products
  });
});
