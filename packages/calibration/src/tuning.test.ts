/** Tuning: the integers stay, what is trained is what is deployed, and the divergence from the float model falls. */

import {
  createDecoder,
  deriveWeights,
  headName,
  layerTensorNames,
  type QuantizedModel,
  rowsOf,
  simulatedReading,
} from '@mobilequant/core';
import { type Encoding, type QuantizerSpec, quantize, type Recipe, recipes, withRules } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { type Architecture, architecture, architectures } from '../test/architectures.ts';
import { normal, tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import type { Tree } from './adamw.ts';
import { InterruptedError, type LearningState, type LearningStore, StateMismatchError } from './learning.ts';
import { quantizeBy } from './methods.ts';
import type { Progress } from './progress.ts';
import { inOrder, type Tuned, type TuningInput, type TuningOptions, tune, tuningGradients } from './tuning.ts';
import { type TuningTargets, tunable } from './tuning-parameters.ts';
import { tuningPrograms } from './tuning-programs.ts';

const runtime = nodeRuntime();
const everything: TuningTargets = { scales: true, norms: true, biases: true, ranges: true, head: true, rounding: 0 };
const inGroups: QuantizerSpec = { bits: 4, symmetric: false, granularity: { kind: 'group', size: 8 } };
const text = (first: number, tokens = 12): Int32Array =>
  Int32Array.from({ length: tokens }, (_, i) => (5 * i + first * first) % 24);
const samples = [1, 2, 3].map((first) => text(first));

const RECIPES: readonly Recipe[] = [
  recipes.w4a8,
  recipes['paper-w8a8'],
  withRules(recipes.w8a8, 'in groups', [
    { site: 'model.layers.*.mlp.w*.weight', spec: inGroups },
    { site: 'lm_head.input', spec: { bits: 8, symmetric: false, granularity: { kind: 'tensor' } } },
  ]),
];

async function inputOf(
  config = tinyConfig({ hidden: 16, ffn: 24, heads: 4, kvHeads: 2, headDim: 4, layers: 2 }),
  recipe = recipes.w4a8,
): Promise<TuningInput> {
  const weights = tinyWeights(config, 5);
  const { model } = await quantizeBy(runtime, { config, weights, recipe, method: 'minmax', calibration: samples });
  return { model, float: { config, weights }, samples, heldOut: [text(4)] };
}

/** Random parameters. */
async function moved(model: QuantizedModel, targets: TuningTargets = everything, size = 0.1) {
  const tuning = await tunable(runtime, model, targets);
  const [parameters, next] = [tuning.start(), normal(3)];
  for (const data of Object.values(parameters)) for (let i = 0; i < data.length; i++) data[i] = size * next();
  return { tuning, parameters, model: tuning.model(parameters) };
}

async function logitsOf({ config, weights, encodings }: QuantizedModel, sample: Int32Array): Promise<Float32Array> {
  const decoder = createDecoder(runtime, config, weights, { reading: simulatedReading(encodings) });
  return decoder.logits(await decoder.hidden(sample));
}

const behindPrefix: Architecture = {
  name: 'llama, behind a prefix',
  config: { ...architecture('llama'), prefix: [3, 7] },
};

/** Every architecture with one recipe, and some with the others. */
const some = (recipe: Recipe): readonly Architecture[] =>
  recipe === recipes.w4a8
    ? [...architectures, behindPrefix]
    : architectures.filter(({ name }) => ['llama', 'gemma3', 'phi'].includes(name));

describe.each(RECIPES)('$name', (recipe) => {
  test.each(some(recipe))('a tuned $name has the integers that it had, and rounds to them', async ({ config }) => {
    const { model } = await inputOf(config, recipe);
    const tuned = (await moved(model)).model;
    let moves = 0;
    for (let layer = 0; layer < config.layers; layer++) {
      for (const own of layerTensorNames(model.weights, layer)) await check(`model.layers.${layer}.${own}`);
    }
    await check('lm_head.weight', headName(model.weights));

    async function check(site: string, name = site): Promise<void> {
      const [before, after] = [model.encodings.get(site), tuned.encodings.get(site)];
      if (!before || !after || model.weights.shape(name).length === 1) return;
      const levels = quantize(await model.weights.read(name), before);
      const data = await tuned.weights.read(site);
      expect(quantize(data, after), site).toEqual(levels);
      const columns = tuned.weights.shape(site)[1] as number;
      expect(await tuned.weights.readRows(site, [3, 1])).toEqual(rowsOf(data, columns, [3, 1]));
      if (before.scale.some((s, i) => s !== after.scale[i])) moves++;
    }
    expect(moves).toBeGreaterThan(10);
  });

  test.each(some(recipe))('what is trained is what is deployed, bit for bit: $name', async ({ config }) => {
    const input = await inputOf(config, recipe);
    const { tuning, model } = await moved(input.model, { ...everything, rounding: 3 }, 0.5);
    const programs = tuningPrograms(runtime, model.config, input.float, tuning.inputs);
    const decoder = createDecoder(runtime, model.config, model.weights, { reading: simulatedReading(model.encodings) });
    let x = await decoder.embed(text(7));
    for (let layer = 0; layer < config.layers; layer++) {
      const own = await programs.layer(model, layer);
      const { data } = await own.forward({ data: x, shape: [12, config.hidden] });
      x = await decoder.block(layer, x);
      expect(data).toEqual(x);
    }
    const float = createDecoder(runtime, config, input.float.weights);
    const target = await float.hidden(text(7));
    const [p, q] = [await float.logits(target), await decoder.logits(x)];
    const head = await programs.head(model);
    expect(await head.divergence(x, target)).toBeCloseTo(kullbackLeibler(p, q, config.vocab), 4);
    expect((await head.vjp(x, target)).divergence).toBe(await head.divergence(x, target));
  });
});

/** Added up over the rows. */
function kullbackLeibler(p: Float32Array, q: Float32Array, vocab: number): number {
  let sum = 0;
  for (let from = 0; from < p.length; from += vocab) {
    const [a, b] = [p, q].map((z) => [...z.subarray(from, from + vocab)]) as [number[], number[]];
    const [na, nb] = [a, b].map((z) => Math.log(z.reduce((total, v) => total + Math.exp(v), 0))) as [number, number];
    a.forEach((v, i) => (sum += Math.exp(v - na) * (v - na - ((b[i] as number) - nb))));
  }
  return sum;
}

const options: TuningOptions = { steps: 6, batch: 2, warmUp: 1, evaluateEvery: 2, targets: everything };

test('no steps leave the model as it is, bit for bit', async () => {
  const input = await inputOf();
  const { model, step, evaluations } = await tune(runtime, input, { ...options, steps: 0 });
  expect([step, evaluations.length]).toEqual([0, 1]);
  expect([...model.encodings]).toEqual([...input.model.encodings]);
  expect(await logitsOf(model, text(9))).toEqual(await logitsOf(input.model, text(9)));
});

test('learned rounding starts at the integers that there are, moves some, and comes closer than without', async () => {
  const input = await inputOf();
  const only = { scales: false, norms: false, biases: false, ranges: false, head: false };
  const best = async (targets: Partial<TuningTargets>, steps: number) => {
    const tuned = await tune(runtime, input, { ...options, steps, rate: 5e-3, patience: 100, targets });
    return { ...tuned, divergence: Math.min(...tuned.evaluations.map(({ divergence }) => divergence)) };
  };
  const start = await best({ ...only, rounding: 4 }, 0);
  expect(await logitsOf(start.model, text(9))).toEqual(await logitsOf(input.model, text(9)));
  const moved = await best({ ...only, rounding: 4 }, 40);
  expect(moved.divergence).toBeLessThan(0.8 * start.divergence);
  const site = 'model.layers.1.mlp.w2.weight';
  const levels = async ({ weights, encodings }: QuantizedModel) =>
    quantize(await weights.read(site), encodings.get(site) as Encoding);
  const [before, after] = [await levels(input.model), await levels(moved.model)];
  const share = before.filter((level, i) => level !== after[i]).length / before.length;
  expect(share).toBeGreaterThan(0.01);
  expect(share).toBeLessThan(0.5);
  const all = { ...everything, ranges: false, head: false };
  expect((await best({ ...all, rounding: 4 }, 40)).divergence).toBeLessThan((await best(all, 40)).divergence);
});

test('the divergence falls, and the best state is the result', async () => {
  const input = await inputOf();
  const { model, evaluations, step } = await tune(runtime, input, { ...options, steps: 40, rate: 5e-3, patience: 100 });
  const best = evaluations.reduce((a, b) => (b.divergence < a.divergence ? b : a));
  expect(best.divergence).toBeLessThan(0.8 * (evaluations[0]?.divergence as number));
  expect(step).toBe(best.step);
  const again = await tune(runtime, { ...input, model }, { ...options, steps: 0 });
  expect(again.evaluations[0]?.divergence).toBe(best.divergence);
});

const copy = (tree: Tree): Tree => Object.fromEntries(Object.entries(tree).map(([name, data]) => [name, data.slice()]));

/** Keeps every state that was saved, as a file would. */
function memory(first?: LearningState): LearningStore & { readonly states: LearningState[] } {
  const states = first ? [first] : [];
  return {
    states,
    load: async () => states.at(-1),
    save: async (state) => {
      const { parameters, first, second } = state;
      states.push({ ...state, parameters: copy(parameters), first: copy(first), second: copy(second) });
    },
  };
}

async function bits({ model, ...rest }: Tuned): Promise<unknown> {
  return { ...rest, encodings: [...model.encodings], logits: await logitsOf(model, text(9)) };
}

test('tuning goes on from any step to the same bits', async () => {
  const input = await inputOf();
  const store = memory();
  const whole = await bits(await tune(runtime, input, { ...options, store, saveEvery: 0 }));
  expect(store.states.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
  for (const state of store.states) {
    expect(await bits(await tune(runtime, input, { ...options, store: memory(state) })), `${state.step}`).toEqual(
      whole,
    );
  }
});

test('tuning stops when it is told to, saved, and goes on as if nothing had happened', async () => {
  const input = await inputOf();
  const whole = await bits(await tune(runtime, input, options));
  const controller = new AbortController();
  const store = memory();
  const onProgress = ({ stage, done }: Progress) => stage === 'tuning' && done === 3 && controller.abort();
  const stopped = tune(runtime, input, { ...options, store, signal: controller.signal, onProgress });
  await expect(stopped).rejects.toThrow(InterruptedError);
  expect(store.states.map(({ step }) => step)).toEqual([3]);
  const steps: string[] = [];
  const resumed = await tune(runtime, input, {
    ...options,
    store,
    onProgress: ({ stage, done }) => steps.push(`${stage} ${done}`),
  });
  expect(steps).toEqual(['targets 1', 'targets 2', 'tuning 4', 'tuning 5', 'tuning 6']);
  expect(await bits(resumed)).toEqual(whole);
  await expect(tune(runtime, input, { ...options, batch: 1, store })).rejects.toThrow(StateMismatchError);
});

test('a state of other integers is refused, before the targets are computed', async () => {
  const input = await inputOf();
  const store = memory();
  await tune(runtime, input, { ...options, store, saveEvery: 0 });
  const site = 'model.layers.1.mlp.w2.weight';
  const step = input.model.encodings.get(site)?.scale[0] as number;
  const data = await input.model.weights.read(site);
  const next = data.with(0, (data[0] as number) + ((data[0] as number) > 0 ? -step : step)); // another integer, the same grid
  const moved = { shape: input.model.weights.shape(site), read: async () => next };
  const model = { ...input.model, weights: deriveWeights(input.model.weights, new Map([[site, moved]])) };
  const onProgress = () => expect.unreachable();
  const resumed = tune(runtime, { ...input, model }, { ...options, store, onProgress });
  await expect(resumed).rejects.toThrow(StateMismatchError);
});

test('tuning stops within its targets when it is told to', async () => {
  const controller = new AbortController();
  const seen: string[] = [];
  const onProgress = ({ stage, done }: Progress) => {
    seen.push(`${stage} ${done}`);
    controller.abort();
  };
  const stopped = tune(runtime, await inputOf(), { ...options, signal: controller.signal, onProgress });
  await expect(stopped).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
  expect(seen).toEqual(['targets 1']);
});

test('tuning needs samples, and hidden states of one size where they are compared', async () => {
  const input = await inputOf();
  await expect(tune(runtime, { ...input, samples: [] }, options)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: tune: expected samples to learn from, got none. Give some that are not held out.]`,
  );
  const wide = tinyConfig({ hidden: 24, ffn: 24, heads: 4, kvHeads: 2, headDim: 4 });
  const float = { config: wide, weights: tinyWeights(wide, 6) };
  await expect(
    tune(runtime, { ...input, float }, { ...options, hidden: 1 }),
  ).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: tune: expected hidden states of one size, got 192 and 288 numbers. Leave out 'hidden'.]`,
  );
  const { evaluations } = await tune(runtime, { ...input, float }, options); // logits alone are compared
  expect(evaluations.every(({ divergence }) => divergence > 0)).toBe(true);
});

test('tuning ends when the held-out text has not become likelier for so many evaluations, with the best state', async () => {
  const input = await inputOf();
  const wild = { ...options, steps: 30, rate: 1, evaluateEvery: 1, patience: 2, warmUp: 0 };
  const { model, evaluations, step } = await tune(runtime, input, wild);
  expect(evaluations.at(-1)?.step).toBe(step + 2);
  const again = await tune(runtime, { ...input, model }, { ...options, steps: 0 });
  expect(again.evaluations[0]?.divergence).toBe(evaluations.find((one) => one.step === step)?.divergence);
});

test('each epoch visits every sample once, in an order of its own that the seed decides', () => {
  const visited = (seed: number) => Array.from({ length: 30 }, (_, i) => inOrder([...'abcdefghij'], i, seed)).join('');
  const epochs = visited(0).match(/.{10}/g) as string[];
  expect(new Set(epochs).size).toBe(3);
  for (const epoch of epochs) expect([...epoch].sort().join('')).toBe('abcdefghij');
  expect(visited(0)).toBe(visited(0));
  expect(visited(0)).not.toBe(visited(1));
});

const STEP = 0.02;

/** Weights on their grids, everything else in float: the loss is smooth in scales, norms and biases. */
const weightsOnly = (recipe: Recipe): Recipe => {
  const rules = [
    { site: '*.output', spec: null },
    { site: '*.input', spec: null },
    { site: '*.input2', spec: null },
  ];
  return withRules(recipe, `${recipe.name}, weights only`, [
    ...rules,
    { site: 'model.layers.*.*norm.weight', spec: null },
  ]);
};

describe.each(RECIPES)('$name', (recipe) => {
  test.each(some(recipe))('the gradient is that of the loss: $name', async ({ config }) => {
    const { model, float } = await inputOf(config, weightsOnly(recipe));
    const { tuning, parameters } = await moved(model);
    const programs = tuningPrograms(runtime, model.config, float, tuning.inputs);
    const decoder = createDecoder(runtime, config, float.weights);
    const session = { tuning, programs, targetOf: decoder.hidden, hidden: 0.3 };
    const { gradients } = await tuningGradients(session, parameters, samples.slice(0, 2));
    const lossAt = async (point: Tree) => (await tuningGradients(session, point, samples.slice(0, 2))).loss;
    const wrong: string[] = [];
    const head = recipe.conventions === 'exact' ? [/lm_head.weight.gain$/] : []; // the paper leaves it in float
    for (const kind of [
      /norm.weight.gain$/,
      /proj.weight.gain$/,
      /mlp.*.weight.gain$/,
      /mlp.*.bias$/,
      /lm_head.bias$/,
      ...head,
    ]) {
      const names = Object.keys(parameters).filter((name) => kind.test(name));
      // along the gradient, where the loss moves most
      const length = Math.hypot(...names.flatMap((name) => [...(gradients[name] as Float32Array)]));
      const along = (step: number): Tree => {
        const moved = names.map((name) => {
          const gradient = gradients[name] as Float32Array;
          return [name, parameters[name]?.map((v, i) => v + (step * (gradient[i] as number)) / length)];
        });
        return { ...parameters, ...Object.fromEntries(moved) };
      };
      const slope = ((await lossAt(along(STEP))) - (await lossAt(along(-STEP)))) / (2 * STEP);
      if (!(names.length > 0 && Math.abs(slope - length) < 0.01 * length))
        wrong.push(`${kind}: ${length} instead of ${slope}`);
    }
    expect(wrong).toEqual([]);
  });
});

test('the ends of a range move scale and zero point as the gradient says', async () => {
  const { model } = await inputOf();
  const { tuning, parameters } = await moved(model);
  const site = 'model.layers.0.mlp.w2.input'; // 16 bits: the zero point is fine enough
  const at = (end: string, step: number) => {
    const name = `${site}.${end}`;
    const point = { ...parameters, [name]: Float32Array.of((parameters[name]?.[0] as number) + step) };
    const { scale, zeroPoint } = tuning.model(point).encodings.get(site) as Encoding;
    return { scale: scale[0] as number, offset: zeroPoint[0] as number };
  };
  for (const end of ['low', 'high']) {
    const [after, before] = [at(end, 0.05), at(end, -0.05)];
    for (const [ports, slope] of [
      [{ scale: 1, offset: 0 }, (after.scale - before.scale) / 0.1],
      [{ scale: 0, offset: 1 }, (after.offset - before.offset) / 0.1],
    ] as const) {
      const inputs = {
        [`${site}.scale`]: Float32Array.of(ports.scale),
        [`${site}.offset`]: Float32Array.of(ports.offset),
      };
      const got = tuning.gradients(parameters, inputs)[`${site}.${end}`]?.[0] as number;
      expect(Math.abs(got / slope - 1)).toBeLessThan(0.01);
    }
  }
});
