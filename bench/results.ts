/**
 * The table of methods × recipes on one model: perplexity simulated and in integers, error against float, time, memory.
 *
 *     pnpm bench results MODEL IDS.safetensors [--recipes a,b] [--methods a,b] [--epochs n] [--threads n] [--out FILE]
 *
 * IDS holds int32 `[rows, tokens]`: `eval`, `calib`, `train`. Rows are texts of their own; the first token is not scored.
 * Learned rows use `train` in order, batch 1.
 */
import { parseArgs } from 'node:util';
import { appendFile } from 'node:fs/promises';
import { type Method, METHODS, type MethodOptions, quantizeBy, quantizedForm } from '@mobilequant/calibration';
import { openCheckpoint, readSafetensors } from '@mobilequant/checkpoint/node';
import { cachedWeights, createDecoder, type Decoder, parseConfig, simulatedReading, type Weights } from '@mobilequant/core';
import { recipeByName } from '@mobilequant/quantizer';
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
    out: { type: 'string' },
  },
});
const [model, idsFile] = positionals as [string, string];
const runtime = nodeRuntime({ threads: Number(values.threads) });
const checkpoint = await openCheckpoint(model);
const config = parseConfig(checkpoint.config);
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

interface Score {
  readonly perplexity: number;
  readonly hidden: readonly Float32Array[];
}

async function score(decoder: Decoder): Promise<Score> {
  let total = 0;
  let scored = 0;
  const hidden: Float32Array[] = [];
  for (const row of rows('eval')) {
    const x = await decoder.hidden(row);
    const nll = await decoder.negativeLogLikelihood(x.subarray(0, x.length - config.hidden), row.subarray(1));
    total += nll.reduce((a, b) => a + b, 0);
    scored += nll.length;
    hidden.push(x);
  }
  await decoder.release();
  return { perplexity: Math.exp(total / scored), hidden };
}

const meanSquare = (a: readonly Float32Array[], b: readonly Float32Array[]): number => {
  let sum = 0;
  let count = 0;
  a.forEach((row, r) => row.forEach((value, i) => {
    sum += (value - (b[r]?.[i] as number)) ** 2;
    count++;
  }));
  return sum / count;
};

const weights: Weights = checkpoint.weights;
const float = await score(createDecoder(runtime, quantizedForm(config), cachedWeights(weights)));
await print(`| method | recipe | perplexity | hidden MSE | seconds |\n|---|---|---|---|---|`);
await print(`| float | - | ${float.perplexity.toFixed(2)} | | |`);
for (const name of values.recipes.split(',')) {
  for (const method of values.methods.split(',') as Method[]) {
    const start = performance.now();
    const options: MethodOptions = { epochs: Number(values.epochs), smoothing: { variant: values.variant as 'modified' } };
    const { model: quantized } = await quantizeBy(
      runtime,
      { config, weights, recipe: recipeByName(name), method, calibration: rows('calib'), training: rows('train') },
      options,
    );
    const seconds = (performance.now() - start) / 1000;
    const simulated = createDecoder(runtime, quantized.config, cachedWeights(quantized.weights), { reading: simulatedReading(quantized.encodings) });
    const { perplexity, hidden } = await score(simulated);
    await print(`| ${method} | ${name} | ${perplexity.toFixed(2)} | ${meanSquare(hidden, float.hidden).toFixed(1)} | ${seconds.toFixed(0)} |`);
  }
}
const { rss } = process.memoryUsage();
await print(`\npeak memory ${(process.resourceUsage().maxRSS / 2 ** 20).toFixed(2)} GiB, now ${(rss / 2 ** 30).toFixed(2)} GiB`);
