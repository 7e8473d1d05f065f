import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDecoder, languageModel, type QuantizedModel, simulatedReading } from '@mobilequant/core';
import { decodeModel, encodeModel, type Graph, printGraph, verify } from '@mobilequant/graph';
import { readModel } from '@mobilequant/graph/node';
import { recipeByName, withRules } from '@mobilequant/quantizer';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { config, quantized, randomTokens, runtime } from '../test/tiny-model.ts';
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

const maxDifference = (a: Float32Array, b: Float32Array): number => a.reduce((max, value, i) => Math.max(max, Math.abs(value - (b[i] as number))), 0);
const spread = (a: Float32Array): number => Math.sqrt(a.reduce((sum, value) => sum + value * value, 0) / a.length);

const recipes = ['w8a8', 'w4a8', 'paper-w8a8', 'paper-w4a8', 'paper-w4a8-sym'] as const;

test.each(recipes)('the integer form of a %s export computes the numbers of the simulated model', async (recipe) => {
  const model = await quantized(recipe);
  const graph = verify(await exportOnnx(model, { tokens }));
  const wanted = await simulated(model, text);
  const got = await exported(graph, text);
  console.log(recipe, maxDifference(got, wanted), spread(wanted));
  expect(got.length).toBe(tokens * config.vocab);
  expect(maxDifference(got, wanted)).toBeLessThan(1e-4 * spread(wanted));
});

test('the file as ONNX Runtime fuses it stays within a rounding here and there of the simulated model', async () => {
  const model = await quantized('w8a8');
  const files = await onnxTarget.export(model, { tokens });
  await writeExport(join(folder, 'w8a8'), files);
  const got = await exported(files.get('model.onnx') as Graph, text, join(folder, 'w8a8', 'model.onnx'));
  const wanted = await simulated(model, text);
  console.log(maxDifference(got, wanted), spread(wanted));
  expect(spread(got.map((value, i) => value - (wanted[i] as number)))).toBeLessThan(0.05 * spread(wanted));
});
