import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { collectStatistics, quantizeModel, rangesOf } from '@mobilequant/calibration';
import { openCheckpoint } from '@mobilequant/checkpoint/node';
import {
  checkpointForm,
  createDecoder,
  fromCheckpoint,
  languageModel,
  parseConfig,
  simulatedReading,
} from '@mobilequant/core';
import { recipeByName } from '@mobilequant/quantizer';
import { expect, test } from 'vitest';
import { exportOnnx, integerKernels, integerModel } from '../src/index.ts';
import { runtime } from './tiny-model.ts';

const shared = process.env.MOBILEQUANT_SHARED;
const tokens = 128;

/** Texts of `tokens` tokens from a file with one `{"text"}` a line. */
async function texts(file: string, count: number, encode: (text: string) => ArrayLike<number>): Promise<Int32Array[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter(Boolean);
  const ids = lines.map((line) => Int32Array.from(encode((JSON.parse(line) as { text: string }).text)));
  return ids
    .filter((text) => text.length >= tokens)
    .slice(0, count)
    .map((text) => text.subarray(0, tokens));
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

// Skipped unless MOBILEQUANT_SHARED names the folder with models/stories260k and data/stories-samples.
test.skipIf(!shared).each(['w8a8', 'w4a8'] as const)(
  'a small trained llama in %s: the integer model is the simulated model',
  { timeout: 60_000 },
  async (name) => {
    const checkpoint = await openCheckpoint(join(shared as string, 'models/stories260k'));
    const { encode } = await checkpoint.tokenizer();
    const data = join(shared as string, 'data/stories-samples');
    const config = parseConfig(checkpoint.config);
    const weights = fromCheckpoint(checkpointForm(checkpoint.config), checkpoint.weights);
    const samples = await texts(join(data, 'calibration.jsonl'), 4, encode);
    const ranges = rangesOf(await collectStatistics(runtime, config, weights, samples));
    const { model } = await quantizeModel({ config, weights, recipe: recipeByName(name), ranges });

    const graph = await exportOnnx(model, { tokens });
    const report = integerKernels(graph);
    expect(report.linears - report.integer).toBe(1); // the head, whose input is float
    const integer = await integerModel(runtime, graph);
    const simulated = languageModel(
      createDecoder(runtime, config, model.weights, { reading: simulatedReading(model.encodings) }),
    );

    const losses = { integer: [] as number[], simulated: [] as number[] };
    for (const text of await texts(join(data, 'test.jsonl'), 4, encode)) {
      losses.integer.push(...((await integer.negativeLogLikelihood?.(text)) ?? []));
      losses.simulated.push(...((await simulated.negativeLogLikelihood?.(text)) ?? []));
      expect(await integer.logits(text)).toEqual(await simulated.logits(text));
    }
    const ratio = Math.exp(mean(losses.integer) - mean(losses.simulated));
    expect(Math.abs(ratio - 1)).toBeLessThan(1e-5);
    await Promise.all([integer.release?.(), simulated.release?.()]);
  },
);
