/**
 * What holds the divergence of a quantized model: which weights, which activations, which tokens.
 *
 *     pnpm bench shares MODEL CALIBRATION TEXT [RECIPE] [WINDOWS]
 *
 * The plan of `best` up to its rounding: after tuning, whose norms and scales are others, there is no float model with the same weights to mix in.
 * Each row is that model with some of its tensors in float again (gained) and the float model with them alone rounded.
 */
import { carryOut, presetPlan } from '@mobilequant/calibration';
import {
  createDecoder,
  type FloatModel,
  languageModel,
  type QuantizedModel,
  simulatedReading,
  type Weights,
} from '@mobilequant/core';
import { alignedTable, windowsOf } from '@mobilequant/evaluator';
import { recipeByName, siteInLayer } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { allTokens, evenSamples, readModel, readTokens } from 'mobilequant';

const TOKENS = 512;
const SAMPLES = 32;
const BANDS = 6; // of layers
const SHARES = [0.01, 0.1, 0.5]; // of tokens

const [directory, calibrationText, text, recipeName = 'w4a8', windowCount = '4'] = process.argv.slice(2);
if (!directory || !calibrationText || !text) {
  console.error('bench shares: expected MODEL, CALIBRATION and TEXT.');
  process.exit(2);
}
const { config, weights, checkpoint } = await readModel(directory);
const tokenizer = () => checkpoint.tokenizer();
const calibration = evenSamples(await readTokens([calibrationText], tokenizer), { samples: SAMPLES, tokens: TOKENS });
const windows = windowsOf(allTokens(await readTokens([text], tokenizer)), {
  tokens: TOKENS,
  windows: Number(windowCount),
});
const recipe = recipeByName(recipeName);
const executor = nodeRuntime({ threads: 2 });

const { model, float, transformed } = await carryOut(
  executor,
  { config, weights, recipe, calibration, first: (await tokenizer()).bosId },
  { ...presetPlan('best', recipe, config), tuning: 0 },
  { onProgress: ({ stage, done, total }) => done % 10 === 0 && console.error(`${stage}: ${done} of ${total}`) },
);

const logitsOf = async (of: FloatModel, reading = simulatedReading(new Map())): Promise<Float32Array[]> => {
  const decoder = createDecoder(executor, of.config, of.weights, { reading });
  const said: Float32Array[] = [];
  for (const window of windows) said.push(await languageModel(decoder).logits(window));
  await decoder.release();
  return said;
};
const target = await logitsOf(float);

/** KL(float ‖ model) of each token, in nats. */
async function divergences(of: QuantizedModel): Promise<number[]> {
  const said = await logitsOf(of, simulatedReading(of.encodings));
  return said.flatMap((logits, w) => rowDivergences(target[w] as Float32Array, logits));
}

function rowDivergences(p: Float32Array, q: Float32Array): number[] {
  const { vocab } = config;
  return Array.from({ length: p.length / vocab }, (_, row) => {
    const [a, b] = [p, q].map((all) => all.subarray(row * vocab, (row + 1) * vocab)) as [Float32Array, Float32Array];
    const [topA, topB] = [a, b].map((own) => own.reduce((x, y) => Math.max(x, y))) as [number, number];
    let [sumA, sumB, apart] = [0, 0, 0];
    for (let i = 0; i < vocab; i++) {
      const [x, y] = [(a[i] as number) - topA, (b[i] as number) - topB];
      const likelihood = Math.exp(x);
      sumA += likelihood;
      sumB += Math.exp(y);
      apart += likelihood * (x - y);
    }
    return apart / sumA - Math.log(sumA) + Math.log(sumB);
  });
}

/** The model in which the sites that `rounds` says are rounded, and no others. */
const mixed = (rounds: (site: string) => boolean): QuantizedModel => ({
  ...model,
  weights: choosing(transformed.weights, model.weights, rounds),
  encodings: new Map([...model.encodings].filter(([site]) => rounds(site))),
});

/** Tensors of `b` where it is chosen, else of `a`. */
function choosing(a: Weights, b: Weights, choosesB: (name: string) => boolean): Weights {
  const of = (name: string): Weights => (choosesB(name) && b.has(name) ? b : a);
  return {
    names: () => a.names(),
    has: (name) => a.has(name),
    shape: (name) => a.shape(name),
    read: (name) => of(name).read(name),
    readRows: (name, rows) => of(name).readRows(name, rows),
  };
}

const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;
const cost = async (rounds: (site: string) => boolean): Promise<number> => 1e3 * mean(await divergences(mixed(rounds)));

const isWeight = (site: string): boolean => /_proj\.weight$|mlp\.w\d\.weight$/.test(site);
const layerOf = (site: string): number => Number(/^model\.layers\.(\d+)\./.exec(site)?.[1] ?? -1);

const each = await divergences(mixed(() => true));
const whole = 1e3 * mean(each);
const parts: [name: string, sites: (site: string) => boolean][] = [
  ['weights of linears', isWeight],
  ['all else', (site) => !isWeight(site)],
];
const kinds = [...new Set([...model.encodings.keys()].map(siteInLayer))];
for (const kind of kinds.filter(isWeight)) parts.push([kind, (site) => siteInLayer(site) === kind]);
const height = Math.ceil(config.layers / BANDS);
for (let from = 0; from < config.layers; from += height) {
  const last = Math.min(from + height, config.layers) - 1;
  parts.push([
    `weights, layers ${from} to ${last}`,
    (site) => isWeight(site) && layerOf(site) >= from && layerOf(site) <= last,
  ]);
}
for (const kind of kinds.filter((kind) => !isWeight(kind))) parts.push([kind, (site) => siteInLayer(site) === kind]);

console.log(`${recipeName}: ${whole.toFixed(2)} thousandths of a nat, ${each.length} tokens\n`);
const rows = [];
for (const [name, sites] of parts) {
  const [alone, spared] = [await cost(sites), await cost((site) => !sites(site))];
  rows.push({ name, cells: [alone, whole - spared] });
  console.error(`${name}: ${alone.toFixed(2)} alone, ${(whole - spared).toFixed(2)} gained`);
}
console.log(alignedTable({ corner: '10⁻³ nats', columns: ['alone', 'gained'], rows }));

const sorted = each.toSorted((a, b) => b - a);
const total = sorted.reduce((sum, x) => sum + x, 0);
for (const share of SHARES) {
  const held = sorted.slice(0, Math.ceil(share * sorted.length)).reduce((sum, x) => sum + x, 0);
  console.log(`the ${100 * share} % of tokens that diverge most hold ${((100 * held) / total).toFixed(1)} %`);
}
