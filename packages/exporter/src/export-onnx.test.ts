import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDecoder, languageModel, type QuantizedModel, simulatedReading, weightsFrom } from '@mobilequant/core';
import {
  decodeModel,
  elementCode,
  encodeModel,
  type Graph,
  type Initializer,
  printGraph,
  valuesOf,
  verify,
} from '@mobilequant/graph';
import { readModel } from '@mobilequant/graph/node';
import { fakeQuantize, type Recipe, recipeByName, withRules } from '@mobilequant/quantizer';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { config, quantized, randomTokens, randomWeights, runtime } from '../test/tiny-model.ts';
import { ExportError } from './errors.ts';
import { exportOnnx } from './export-onnx.ts';
import { onnxTarget } from './export-target.ts';
import { integerForm, integerKernels } from './integer-kernels.ts';
import { integerModel } from './integer-model.ts';
import { writeExport } from './write-export.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'exporter-'));
});
afterAll(() => rm(folder, { recursive: true }));

const tokens = 24;
const text = randomTokens(tokens, config.vocab, 7);
const recipes = ['w8a8', 'w4a8', 'paper-w8a8', 'paper-w4a8', 'paper-w4a8-sym'] as const;

async function simulated({ config, weights, encodings }: QuantizedModel, text: Int32Array): Promise<Float32Array> {
  const model = languageModel(createDecoder(runtime, config, weights, { reading: simulatedReading(encodings) }));
  const logits = await model.logits(text);
  await model.release?.();
  return logits;
}

async function exported(graph: Graph, text: Int32Array, file?: string): Promise<Float32Array> {
  const model = await integerModel(runtime, graph, file === undefined ? {} : { file });
  const logits = await model.logits(text);
  await model.release?.();
  return logits;
}

const rms = (a: Float32Array): number => Math.sqrt(a.reduce((sum, value) => sum + value * value, 0) / a.length);
const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value - (b[i] as number));
const operators = ({ nodes }: Graph): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { op } of nodes) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
};
const initializer = (graph: Graph, name: string): Initializer => {
  const found = graph.initializers.get(name);
  if (!found) throw new Error(`expected an initializer '${name}', got none.`);
  return found;
};
const bytesOf = async ({ data }: Initializer): Promise<Uint8Array> =>
  typeof data === 'function' ? await data() : data;

/** A recipe with one rule more. */
const withSite = (site: string, spec: Recipe['rules'][number]['spec']): Recipe =>
  withRules(recipeByName('w8a8'), 'test', [{ site, spec }]);
const asymmetric8 = { bits: 8, symmetric: false, granularity: { kind: 'tensor' } } as const;

// Exact sums on both sides, and the same float operations in the same order: not a bit differs.
test.each(recipes)('a %s export gives the logits of the simulated model, bit for bit', async (recipe) => {
  const model = await quantized(recipe);
  const graph = verify(await exportOnnx(model, { tokens }));
  const wanted = await simulated(model, text);
  expect(rms(wanted)).toBeGreaterThan(1);
  expect(await exported(graph, text)).toEqual(wanted);
});

test('a text shorter than the graph gets the logits that it gets in a graph of its own length', async () => {
  const model = await quantized('w8a8');
  const short = text.subarray(0, 9);
  expect(await exported(await exportOnnx(model, { tokens }), short)).toEqual(
    await exported(await exportOnnx(model, { tokens: 9 }), short),
  );
});

test('a text longer than the graph is refused', async () => {
  const model = await integerModel(runtime, await exportOnnx(await quantized('w8a8'), { tokens: 8 }));
  await expect(model.logits(text)).rejects.toThrow('input_ids: expected at most 8 tokens, got 24');
});

test('attention in chunks of queries computes the same', async () => {
  const model = await quantized('w8a8');
  const whole = await exported(await exportOnnx(model, { tokens }), text);
  const chunks = await exported(await exportOnnx(model, { tokens, queryChunk: 7 }), text);
  expect(rms(difference(whole, chunks))).toBeLessThan(1e-3 * rms(whole)); // sums over fewer zeros, in another order
});

test('the negative log-likelihood is that of the simulated model', async () => {
  const model = await quantized('w8a8');
  const decoder = languageModel(
    createDecoder(runtime, config, model.weights, { reading: simulatedReading(model.encodings) }),
  );
  const integer = await integerModel(runtime, await exportOnnx(model, { tokens }));
  const wanted = (await decoder.negativeLogLikelihood?.(text)) as Float32Array;
  const got = (await integer.negativeLogLikelihood?.(text)) as Float32Array;
  expect(got.length).toBe(tokens - 1);
  expect(rms(difference(got, wanted))).toBeLessThan(1e-4);
});

test.each([
  ['w8a8', { QGemm: 5 }],
  ['w4a8', { QGemm: 5 }],
  ['w8a8-strict', { QGemm: 5, QLinearSigmoid: 1, QLinearMul: 2 }],
] as const)('onnxruntime fuses the file of a %s export into integer kernels by itself', async (recipe, kernels) => {
  const model = await quantized(recipe);
  const files = await onnxTarget.export(model, { tokens });
  const directory = join(folder, `fused-${recipe}`);
  await writeExport(directory, files);
  const file = join(directory, 'model.onnx');
  const optimized = join(directory, 'optimized.onnx');
  const session = await InferenceSession.create(file, { optimizedModelFilePath: optimized, logSeverityLevel: 3 });
  await session.release();
  expect(operators(await readModel(optimized))).toMatchObject(
    Object.fromEntries(Object.entries(kernels).map(([name, count]) => [name, count * config.layers])),
  );

  if (!(await runtime.exactIntegerProducts())) return; // these kernels' sums saturate on this processor
  const graph = files.get('model.onnx') as Graph;
  const wanted = await simulated(model, text);
  expect(rms(difference(await exported(graph, text, file), wanted))).toBeLessThan(0.02 * rms(wanted)); // single steps where a sum is rounded otherwise
});

test('the report names every linear that stays in float, and why', async () => {
  const graph = await exportOnnx(await quantized('w4a8'), { tokens });
  const report = integerKernels(graph);
  expect(report).toEqual({
    linears: 15,
    integer: 14,
    float: [{ site: 'lm_head.weight', reason: 'the input is not quantized' }],
  });
  // o_proj and w2 have inputs of two bytes
  expect(operators(integerForm(graph)).MatMulIntegerToFloat).toBe(18);
});

test('in the recipes of the paper all linears of the layers run in integers', async () => {
  const report = integerKernels(await exportOnnx(await quantized('paper-w4a8'), { tokens }));
  expect(report).toEqual({
    linears: 15,
    integer: 14,
    float: [{ site: 'model.embed_tokens.weight', reason: 'the weight is not quantized' }],
  });
});

test('four-bit weights are INT4 in the file, half a byte each, and survive writing and reading', async () => {
  const model = await quantized('w4a8');
  const directory = join(folder, 'w4a8');
  const written = await writeExport(directory, await onnxTarget.export(model, { tokens }));
  const graph = await readModel(join(directory, 'model.onnx'));
  const site = 'model.layers.1.mlp.w2.weight';
  const weight = initializer(graph, `${site}_quantized`);
  expect([weight.type, weight.shape]).toEqual(['int4', [32, 64]]);
  expect((await bytesOf(weight)).length).toBe((32 * 64) / 2);

  // what the integers mean is what the quantizer says the weight is worth
  const levels = valuesOf(weight, await bytesOf(weight));
  const scale = valuesOf(initializer(graph, `${site}_scale`), await bytesOf(initializer(graph, `${site}_scale`)));
  const wanted = fakeQuantize(await model.weights.read(site), model.encodings.get(site) as never);
  expect(levels.map((q, i) => Math.fround(q * (scale[Math.floor(i / 64)] as number)))).toEqual(Array.from(wanted));

  const eight = await writeExport(
    join(folder, 'w8a8-size'),
    await onnxTarget.export(await quantized('w8a8'), { tokens }),
  );
  const linears = config.layers * (32 * (32 + 16 + 16 + 32) + 3 * 32 * 64);
  expect((eight.get('model.onnx') as number) - (written.get('model.onnx') as number)).toBeGreaterThan(
    0.9 * (linears / 2) - config.layers * 7 * 4096,
  ); // padded to pages
  expect(await exported(graph, text)).toEqual(await simulated(model, text));
});

test('INT4 is type 22 of ONNX, behind a Cast unless that is not wanted', async () => {
  const model = await quantized('w4a8');
  const bare = await exportOnnx(model, { tokens, castInt4: false });
  const cast = await exportOnnx(model, { tokens });
  expect([operators(bare).Cast ?? 0, operators(cast).Cast]).toEqual([0, 14]);
  expect(initializer(bare, 'model.layers.0.mlp.w1.weight_zero_point').type).toBe('int4');
  const decoded = decodeModel(await encodeModel(bare));
  expect([initializer(decoded, 'model.layers.0.mlp.w1.weight_quantized').type, elementCode('int4')]).toEqual([
    'int4',
    22,
  ]);
  expect(await exported(bare, text)).toEqual(await exported(cast, text));
});

test('every weight that the recipe names is stored as integers, and every operator is standard', async () => {
  const graph = await exportOnnx(await quantized('w8a8'), { tokens });
  const floats = [...graph.initializers.values()]
    .filter(({ name, type }) => type.startsWith('float') && name.endsWith('.weight'))
    .map(({ name }) => name);
  expect(floats).toEqual(['model.embed_tokens.weight', 'model.norm.weight']);
  expect(initializer(graph, 'model.layers.0.input_layernorm.weight_quantized').type).toBe('uint16');
  expect(new Set(graph.nodes.map(({ domain }) => domain))).toEqual(new Set(['']));
});

test('tied embeddings in float are stored once, in float16 where that loses nothing', async () => {
  const weights = randomWeights(config);
  const halves = new Map(
    await Promise.all(
      weights
        .names()
        .map(
          async (name) =>
            [
              name,
              { shape: weights.shape(name), data: (await weights.read(name)).map((x) => Math.round(x * 256) / 256) },
            ] as const,
        ),
    ),
  );
  const model = await quantized('paper-w8a8', { weights: weightsFrom(halves) });
  const graph = await exportOnnx(model, { tokens });
  expect(initializer(graph, 'model.embed_tokens.weight').type).toBe('float16');
  expect([...graph.initializers.keys()].filter((name) => name.startsWith('lm_head'))).toEqual([]);
  expect(await exported(graph, text)).toEqual(await simulated(model, text));
});

test('a sub-byte activation keeps to its grid', async () => {
  const model = await quantized(withSite('model.layers.*.mlp.act_fn.output', { ...asymmetric8, bits: 6 }));
  expect(await exported(await exportOnnx(model, { tokens }), text)).toEqual(await simulated(model, text));
});

test('weights in groups are exported, and run in float', async () => {
  const model = await quantized(
    withSite('model.layers.*.mlp.w1.weight', { bits: 4, symmetric: true, granularity: { kind: 'group', size: 8 } }),
  );
  const graph = await exportOnnx(model, { tokens });
  expect(integerKernels(graph).float).toContainEqual({
    site: 'model.layers.0.mlp.w1.weight',
    reason: 'the weight has a scale for each group',
  });
  expect(rms(difference(await exported(graph, text), await simulated(model, text)))).toBeLessThan(1e-3);
});

test('what a target cannot express is refused by the name of its site', async () => {
  const twelve = await quantized(withSite('model.layers.*.mlp.w2.input', { ...asymmetric8, bits: 12 }));
  await expect(exportOnnx(twelve)).rejects.toThrow(
    'model.layers.0.mlp.w2.input: expected an activation of at most 8 bits, or 16, got 12',
  );

  const model = await quantized('w8a8');
  const site = 'model.layers.1.mlp.w1.output';
  const encoding = { spec: asymmetric8, scale: Float32Array.of(0.1), zeroPoint: Int32Array.of(300) };
  const changed = (name: string, value: object) => ({
    ...model,
    encodings: new Map([...model.encodings, [name, { ...encoding, ...value }]]),
  });
  await expect(exportOnnx(changed(site, {}))).rejects.toMatchObject({ name: 'ExportError', site, received: '300' });
  await expect(exportOnnx(changed(site, { scale: Float32Array.of(0), zeroPoint: Int32Array.of(0) }))).rejects.toThrow(
    `${site}: expected scales of at least 1e-20`,
  );
  await expect(exportOnnx(changed('model.layers.7.mlp.w1.output', {}))).rejects.toThrow(
    'model.layers.7.mlp.w1.output: expected a site of this decoder',
  );
  await expect(exportOnnx(model, { tokens: 65 })).rejects.toThrow(ExportError);
});

test('the graph of one layer reads as it always did', async () => {
  const one = { ...config, layers: 1 };
  const model = await quantized('w4a8', { config: one, weights: randomWeights(one) });
  await expect(printGraph(await exportOnnx(model, { tokens: 8 }))).toMatchFileSnapshot(
    '__snapshots__/one-layer-w4a8.txt',
  );
});

test('a model that went through bytes computes the same', async () => {
  const graph = await exportOnnx(await quantized('paper-w8a8'), { tokens });
  expect(await exported(decodeModel(await encodeModel(graph)), text)).toEqual(await exported(graph, text));
});
