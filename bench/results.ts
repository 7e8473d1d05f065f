/**
 * The table of methods × recipes on one model: perplexity simulated and in integers, error against float, time, memory.
 *
 *     pnpm bench results MODEL IDS.safetensors [--recipes a,b] [--methods a,b] [--epochs n] [--threads n]
 *         [--variant original|modified|omniquant] [--integer] [--out FILE]
 *
 * IDS holds int32 `[rows, tokens]`: `eval`, `calib`, `train`. Rows are texts of their own; the first token is not scored.
 * Learned rows use `train` in order, batch 1.
 */

import { appendFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import {
  collectStatistics,
  METHODS,
  type Method,
  observedForm,
  type PreparedModel,
  prepareModel,
  quantizePrepared,
} from '@mobilequant/calibration';
import { openCheckpoint, readSafetensors } from '@mobilequant/checkpoint/node';
import {
  cachedWeights,
  checkpointForm,
  createDecoder,
  type Decoder,
  fromCheckpoint,
  type LanguageModel,
  languageModel,
  parseConfig,
  type QuantizedModel,
  simulatedReading,
} from '@mobilequant/core';
import { compareModels, perplexity } from '@mobilequant/evaluator';
import { exportOnnx, integerModel } from '@mobilequant/exporter';
import { type Recipe, recipeByName } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    recipes: { type: 'string', default: 'paper-w8a8,paper-w4a8,paper-w4a8-sym,w8a8,w4a8' },
    methods: { type: 'string', default: METHODS.join(',') },
    epochs: { type: 'string', default: '2' },
    threads: { type: 'string', default: '2' },
    variant: { type: 'string', default: 'modified' },
    integer: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});
const [model, idsFile] = positionals;
if (!model || !idsFile) throw new Error('bench results: expected MODEL and IDS.safetensors, got one or none.');
const runtime = nodeRuntime({ threads: Number(values.threads) });
const checkpoint = await openCheckpoint(model);
const ids = await readSafetensors(idsFile);
const rows = (name: string): Int32Array[] => {
  const tensor = ids.tensors.get(name);
  if (!tensor) throw new Error(`${idsFile}: expected a tensor '${name}', got ${[...ids.tensors.keys()].join(', ')}.`);
  const [count, tokens] = tensor.shape as [number, number];
  return Array.from({ length: count }, (_, i) => (tensor.data as Int32Array).slice(i * tokens, (i + 1) * tokens));
};
const print = async (line: string): Promise<void> => {
  console.log(line);
  if (values.out) await appendFile(values.out, `${line}\n`);
};

const config = observedForm(parseConfig(checkpoint.config));
const floatWeights = fromCheckpoint(checkpointForm(checkpoint.config), checkpoint.weights);
const evaluation = rows('eval');
const tokens = evaluation[0]?.length as number;
const text = Int32Array.from(evaluation.flatMap((row) => [...row]));
const windows = { tokens, windows: evaluation.length };

/** The outputs of the last block on the evaluation rows. */
async function hiddenOf(decoder: Decoder): Promise<Float32Array[]> {
  const hidden: Float32Array[] = [];
  for (const row of evaluation) hidden.push(await decoder.hidden(row));
  return hidden;
}

const meanSquare = (a: readonly Float32Array[], b: readonly Float32Array[]): number => {
  const sums = a.map(
    (row, r) => row.reduce((sum, value, i) => sum + (value - (b[r]?.[i] as number)) ** 2, 0) / row.length,
  );
  return sums.reduce((x, y) => x + y) / sums.length;
};

const floatDecoder = createDecoder(runtime, config, cachedWeights(floatWeights));
const float = {
  hidden: await hiddenOf(floatDecoder),
  ...(await perplexity(languageModel(floatDecoder), text, windows)),
};
await floatDecoder.release();
await print(
  `Model ${basename(model)}, ${windows.windows} windows of ${tokens} tokens. Learned rows: ${values.epochs} epochs.\n`,
);
await print(
  '| recipe | method | simulated | integer | equal tokens | hidden MSE | seconds |\n|---|---|---|---|---|---|---|',
);
await print(`| - | float | ${float.tokenPerplexity.toFixed(2)} | | | | |`);

const statistics = await collectStatistics(runtime, config, cachedWeights(floatWeights), rows('calib'), {
  head: false,
});
const plain = await prepareModel(runtime, config, floatWeights, rows('calib'), { smoothing: false, statistics });
const smoothings: Record<string, Promise<PreparedModel>> = {};

/** Recipes with equal conventions start from the same smoothed model. */
function smoothed({ conventions }: Recipe): Promise<PreparedModel> {
  const smoothing = { variant: values.variant as 'modified', groupedHeads: conventions === 'exact' };
  smoothings[conventions] ??= prepareModel(runtime, config, floatWeights, rows('calib'), {
    smoothing,
    statistics,
  });
  return smoothings[conventions];
}

for (const name of values.recipes.split(',')) {
  const recipe = recipeByName(name);
  for (const method of values.methods.split(',') as Method[]) {
    const prepared = method === 'minmax' ? plain : await smoothed(recipe);
    const start = performance.now();
    const options = { epochs: Number(values.epochs) };
    const { model: quantized } = await quantizePrepared(runtime, prepared, recipe, method, rows('train'), options);
    const seconds = (performance.now() - start) / 1000;
    const weights = cachedWeights(quantized.weights);
    const decoder = createDecoder(runtime, config, weights, { reading: simulatedReading(quantized.encodings) });
    const error = meanSquare(await hiddenOf(decoder), float.hidden);
    const simulated = languageModel(decoder);
    const { tokenPerplexity } = await perplexity(simulated, text, windows);
    const integers = values.integer ? await integerColumns({ ...quantized, weights }, simulated) : ' | ';
    await decoder.release();
    await print(
      `| ${name} | ${method} | ${tokenPerplexity.toFixed(2)} | ${integers} | ${error.toFixed(1)} | ${seconds.toFixed(0)} |`,
    );
  }
}

/** Perplexity in integers, and how often the likeliest token is the simulated model's. */
async function integerColumns(quantized: QuantizedModel, simulated: LanguageModel): Promise<string> {
  const integer = await integerModel(runtime, await exportOnnx(quantized, { tokens, queryChunk: 128 }));
  const { tokenPerplexity } = await perplexity(integer, text, windows);
  const { agreement } = await compareModels(simulated, integer, text, { tokens, windows: 2 });
  await integer.release?.();
  return `${tokenPerplexity.toFixed(2)} | ${(100 * agreement).toFixed(1)} %`;
}
await print(`\nPeak memory ${(process.resourceUsage().maxRSS / 2 ** 20).toFixed(2)} GiB.`);
