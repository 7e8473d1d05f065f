/**
 * Trains the small llama from nothing and writes `model/model.safetensors` (fp16). The same seed gives the same model on the same machine.
 *
 *     node examples/tiny-llama/train.ts [--steps 4000] [--seed 1]
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { adamW, learningRateAt, type Tree } from '@mobilequant/calibration';
import type { Tokenizer } from '@mobilequant/checkpoint';
import { openWeights, readTokenizer, writeSafetensors } from '@mobilequant/checkpoint/node';
import { checkpointForm, parseConfig, storedName } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { MODEL, readJson } from './files.ts';
import { generateDocuments, generateText, SPLITS } from './generator.ts';
import { compileLoss, initialParameters, type LossProgram, type Parameters } from './model.ts';
import { createOutliers, OUTLIERS } from './outliers.ts';
import { createRandom, type Random } from './random.ts';

/** Targets of a window. */
const TOKENS = 256;
/** Windows of a step. */
const WINDOWS = 4;
const CHARACTERS = 16_000_000;
const RATE = { from: 4e-3, to: 2e-4 };
const WARM_UP = 100;
/** Gradients longer than this, all together, are shortened to it. */
const LONGEST = 1;

const { values } = parseArgs({
  options: { steps: { type: 'string', default: '4000' }, seed: { type: 'string', default: '1' } },
});
const steps = Number(values.steps);
const random = createRandom(Number(values.seed));
const config = parseConfig(readJson('config.json'));
const form = checkpointForm(readJson('config.json'));
const directory = fileURLToPath(MODEL);
const tokenizer = await readTokenizer(directory);

const text = trainingTokens(tokenizer, random);
const heldOut = windows(tokenizer.encode(generateText({ seed: SPLITS.test, characters: 60_000 }))).slice(0, 24);
console.error(`${text.length} tokens of training text`);

const runtime = nodeRuntime({ threads: 1 });
const training = await compileLoss(runtime, config, TOKENS, true);
const testing = await compileLoss(runtime, config, TOKENS, false);
const parameters = initialParameters(config, random);

/** Matrices are pulled to zero, norms not. */
const groups = [0.05, 0].map((weightDecay) => {
  const chosen = [...parameters].filter(([, { shape }]) => shape.length > 1 === weightDecay > 0);
  const tree: Tree = Object.fromEntries(chosen.map(([name, { data }]) => [name, data]));
  const optimizer = adamW({ beta2: 0.98, weightDecay });
  return { tree, optimizer, state: optimizer.init(tree) };
});

const started = performance.now();
let recent = 0;
for (let step = 0; step < steps; step++) {
  const sum: Tree = Object.fromEntries(
    [...parameters].map(([name, { data }]) => [name, new Float32Array(data.length)]),
  );
  for (let i = 0; i < WINDOWS; i++) {
    const { loss, gradients } = await training.run(parameters, randomWindow(text, random));
    for (const [name, gradient] of gradients) add(sum[name] as Float32Array, gradient);
    recent += loss / WINDOWS;
  }
  shorten(sum, 1 / WINDOWS);
  const rate = learningRateAt(RATE, step, steps, WARM_UP);
  for (const { tree, optimizer, state } of groups) optimizer.update(tree, sum, state, () => rate);
  if ((step + 1) % 100 === 0) {
    const seconds = Math.round((performance.now() - started) / 1000);
    const test =
      (step + 1) % 400 === 0 ? `, test perplexity ${(await perplexity(testing, parameters)).toFixed(3)}` : '';
    console.error(`step ${step + 1}: training perplexity ${Math.exp(recent / 100).toFixed(3)}${test}, ${seconds} s`);
    recent = 0;
  }
}

const difficult = createOutliers(config, parameters, OUTLIERS);
const file = join(directory, 'model.safetensors');
await writeSafetensors(
  file,
  [...difficult].map(([name, { shape, data }]) => ({
    name: storedName(form, name),
    dtype: 'float16',
    shape,
    data: () => data,
  })),
  { format: 'pt' },
);
const written = await openWeights(directory);
const saved = await Promise.all(
  [...difficult].map(async ([name, { shape }]) => [name, { shape, data: await written.read(name) }] as const),
);
console.log(
  JSON.stringify(
    {
      steps,
      tokens: steps * WINDOWS * TOKENS,
      trained: await perplexity(testing, parameters),
      saved: await perplexity(testing, new Map(saved)),
      sha256: createHash('sha256').update(readFileSync(file)).digest('hex'),
    },
    null,
    2,
  ),
);
await Promise.all([training.release(), testing.release()]);

/** The training text as ids: documents with a blank line between them, or, one time in four, the token that ends a text. */
function trainingTokens(tokenizer: Tokenizer, random: Random): Int32Array {
  const ids: number[] = [];
  let piece = '';
  const flush = (): void => {
    for (const id of tokenizer.encode(piece)) ids.push(id);
    piece = '';
  };
  for (const document of generateDocuments({ seed: SPLITS.train, characters: CHARACTERS })) {
    piece += `${document}${random.chance(0.25) ? '<|endoftext|>' : '\n\n'}`;
    if (piece.length > 10_000) flush();
  }
  flush();
  return Int32Array.from(ids);
}

function randomWindow(ids: Int32Array, random: Random): Int32Array {
  const from = random.below(ids.length - TOKENS - 1);
  return ids.subarray(from, from + TOKENS + 1);
}

/** Consecutive windows, without the rest that fills none. */
function windows(ids: Int32Array): Int32Array[] {
  return Array.from({ length: Math.floor((ids.length - 1) / TOKENS) }, (_, i) =>
    ids.subarray(i * TOKENS, (i + 1) * TOKENS + 1),
  );
}

async function perplexity(program: LossProgram, parameters: Parameters): Promise<number> {
  let sum = 0;
  for (const window of heldOut) sum += (await program.run(parameters, window)).loss;
  return Math.exp(sum / heldOut.length);
}

function add(sum: Float32Array, addend: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (addend[i] as number);
}

/** Multiplies gradients by `factor`, or by less where they would be too long. */
function shorten(gradients: Tree, factor: number): void {
  let squares = 0;
  for (const gradient of Object.values(gradients)) for (const g of gradient) squares += g * g;
  const scale = Math.min(factor, LONGEST / Math.sqrt(squares));
  for (const gradient of Object.values(gradients))
    for (let i = 0; i < gradient.length; i++) gradient[i] = (gradient[i] as number) * scale;
}
