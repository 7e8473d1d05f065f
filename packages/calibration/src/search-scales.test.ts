/**
 * Searched scales: algebra (the float function stays), a slow error computed from finished quantized models, and outliers that were
 * planted.
 */
import {
  block,
  contextValues,
  createDecoder,
  type DecoderConfig,
  readLayer,
  simulatedReading,
  type Tap,
  type Weights,
  withPrefix,
} from '@mobilequant/core';
import { type Recipe, recipes } from '@mobilequant/quantizer';
import type { Value, Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import type * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../test/architectures.ts';
import { evaluate } from '../test/evaluate.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { availablePairs, type Pair } from './learnables.ts';
import { observedForm } from './methods.ts';
import { type Part, partOf } from './part-error.ts';
import { quantizeModel, withKnownRanges } from './quantize-model.ts';
import {
  type ScaleChoice,
  type SearchedLayer,
  type SearchedScales,
  type SearchScalesOptions,
  searchScales,
} from './search-scales.ts';
import { smooth } from './smooth-quant.ts';
import { collectStatistics, rangesOf } from './statistics.ts';
import { scaledWeights } from './transformed-weights.ts';

const runtime = nodeRuntime();
const PAIRS: readonly Pair[] = ['qkv', 'fc1', 'out', 'fc2', 'qkt'];
const samples = [9, 9, 14].map((length, n) => Int32Array.from({ length }, (_, i) => (5 * i + 3 * n + 1) % 24));
const recipe = recipes.w8a8;

const search = (config: DecoderConfig, weights: Weights, options: SearchScalesOptions = {}): Promise<SearchedScales> =>
  searchScales(runtime, { config, weights, recipe, samples }, options);

async function logitsOf(config: DecoderConfig, weights: Weights): Promise<Float32Array> {
  const decoder = createDecoder(runtime, config, weights);
  const logits = await decoder.logits(await decoder.hidden(samples[2] as Int32Array));
  await decoder.release();
  return logits;
}

const change = (a: Float32Array, b: Float32Array): number =>
  Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number)))) / Math.max(...a.map(Math.abs));

/** What the sites of a part and the part's input hold, on tfjs, one text; the input can be given. */
async function runPart(
  config: DecoderConfig,
  tensors: Values,
  x: Value,
  layer: number,
  part: Part,
  {
    tap,
    given,
    inputs = {},
  }: { tap: (inputs: Readonly<Record<string, tf.Tensor>>) => Tap; given?: Value; inputs?: Values },
): Promise<Record<'input' | 'sum', Float32Array>> {
  const context = contextValues(config, x.shape[0] as number, 0, layer);
  return (await evaluate(
    'eager on tfjs',
    runtime,
    (all) => {
      const own = tap(all);
      const caught: tf.Tensor[] = [];
      let input = all.x as tf.Tensor;
      block(all.x as tf.Tensor, all, all as never, config, {
        tap: {
          weight: own.weight,
          activation(site, value, hint) {
            if (site === part.input) input = all.given ?? value;
            const y = own.activation(site, site === part.input ? input : value, hint);
            if (part.outputs.includes(site)) caught.push(y);
            return y;
          },
        },
      });
      return { input: input.clone(), sum: caught.reduce((a, b) => a.add(b)) };
    },
    { ...context, ...tensors, ...inputs, x, ...(given && { given }) },
  )) as Record<'input' | 'sum', Float32Array>;
}

/** The error of a layer's part with scaled weights, from a quantized model of these weights and its min-max ranges. */
async function slowError(
  config: DecoderConfig,
  float: Weights,
  scaled: Weights,
  layer: number,
  part: Part,
): Promise<number> {
  const statistics = await collectStatistics(runtime, config, scaled, samples, { head: false });
  const ranges = withKnownRanges(rangesOf(statistics), recipe);
  const { model } = await quantizeModel({ config, weights: scaled, recipe, ranges });
  const reading = simulatedReading(model.encodings);
  const decoder = createDecoder(runtime, config, float);
  let [total, tokens] = [0, 0];
  for (const sample of samples) {
    let data = await decoder.embed(sample);
    for (let before = 0; before < layer; before++) data = await decoder.block(before, data);
    const x = { data, shape: [sample.length, config.hidden] };
    const none: Tap = { weight: (_, w) => w, activation: (_, v) => v };
    const { input, sum } = await runPart(config, await readLayer(float, layer), x, layer, part, { tap: () => none });
    const simulated = await runPart(config, await readLayer(scaled, layer), x, layer, part, {
      tap: (inputs) => reading.tap(layer, inputs),
      inputs: reading.values(layer),
      given: { data: input, shape: x.shape },
    });
    for (let t = 0; t < sample.length; t++) {
      const row = (values: Float32Array) => values.subarray(t * config.hidden, (t + 1) * config.hidden);
      const [want, got, residual] = [row(sum), row(simulated.sum), row(input)];
      const squares = (values: Float32Array) => values.reduce((n, v) => n + v * v, 0);
      total += squares(want.map((v, i) => v - (got[i] as number))) / squares(residual);
    }
    tokens += sample.length;
  }
  await decoder.release();
  return total / tokens;
}

/** An exponent of 1 makes all channels equally wide: halves of a level wherever one looks, which may be rounded either way. */
const uneven: SearchScalesOptions = {
  alphas: [0.5, 0.7, 0.9],
  exponents: [
    [0.25, 0.5],
    [0.5, 0.25],
    [0.5, 0.5],
  ],
};
const models = architectures.map(({ name, config }) => ({ name, config: observedForm(config) }));

describe.each(models)('$name', ({ config }) => {
  const weights = tinyWeights(config, 21);
  const searched = search(config, weights, uneven);
  const pairs = availablePairs(PAIRS, config, 'exact');

  test('computes the same with its searched scales', async () => {
    const { weights: scaled, chosen } = await searched;
    expect(chosen).toHaveLength(config.layers);
    expect(Object.keys(chosen[0]?.scales ?? {}).length).toBeGreaterThan(0);
    expect(change(await logitsOf(config, weights), await logitsOf(config, scaled))).toBeLessThan(2e-5);
  });

  test('is never farther from float than it was unscaled, and each pair starts from what those before it chose', async () => {
    for (const { choices, scales } of (await searched).chosen) {
      expect(Object.keys(choices).sort()).toEqual([...pairs].sort());
      const last = new Map<string, number>();
      for (const pair of PAIRS) {
        const choice = choices[pair];
        if (!choice) continue;
        expect(choice.error).toBeLessThanOrEqual(choice.unscaled);
        expect(scales[pair] === undefined).toBe(choice.exponents.every((e) => e === 0));
        const part = JSON.stringify(partOf(pair, config));
        if (last.has(part)) expect(choice.unscaled).toBe(last.get(part));
        last.set(part, choice.error);
      }
    }
  });

  test('has the errors that models quantized with no scales and with these have, and less than with α = 0.5', async () => {
    const { weights: scaled, chosen } = await searched;
    const statistics = await collectStatistics(runtime, config, weights, samples, { head: false });
    const halved = smooth(runtime, config, weights, statistics, { variant: 'original' });
    const layer = config.layers - 1;
    const choiceOf = (pair: Pair): ScaleChoice => chosen[layer]?.choices[pair] as ScaleChoice;
    const errorWith = (own: Weights, pair: Pair) => slowError(config, weights, own, layer, partOf(pair, config));
    for (const first of pairs.filter((pair) => pair === 'qkv' || pair === 'fc1')) {
      expect(choiceOf(first).unscaled / (await errorWith(weights, first))).toBeCloseTo(1, 2);
      expect(choiceOf(first).error).toBeLessThan(1.01 * (await errorWith(halved, first)));
    }
    for (const last of pairs.filter((pair) => pair === 'qkt' || pair === 'fc2'))
      expect(choiceOf(last).error / (await errorWith(scaled, last))).toBeCloseTo(1, 2);
  });
});

describe('an outlier that was planted', () => {
  const name = (config: DecoderConfig): string => architectures.find((one) => one.config === config)?.name ?? '';
  const planted = (['llama', 'gemma3', 'stablelm, parallel'] as const).flatMap((architectureName) => {
    const config = architecture(architectureName);
    return availablePairs(PAIRS, config, 'exact').map((pair) => ({ pair, config, name: name(config) }));
  });

  test.each(planted)('is removed by $pair of $name', async ({ pair, config: checkpoint }) => {
    const config = { ...observedForm(checkpoint), layers: 1 };
    const even = tinyWeights(config, 8);
    const found = await search(config, even, { pairs: [pair] });
    const size = sizeOf(pair, config);
    const at = 2;
    const outlier = Float32Array.from({ length: size }, (_, i) => (i === at ? 1 / 64 : 1));
    const spoilt = scaledWeights(runtime, config, even, () => ({ [pair]: outlier }));
    const { chosen } = await search(config, spoilt, { pairs: [pair] });
    const { scales, choices } = chosen[0] as SearchedLayer;
    const { error, unscaled } = choices[pair] as ScaleChoice;
    const scale = scales[pair] as Float32Array;
    const others = scale.filter((_, i) => i !== at).toSorted((a, b) => a - b);
    expect((scale[at] as number) / (others[others.length >> 1] as number)).toBeGreaterThan(8);
    expect(error).toBeLessThan(unscaled / 4);
    expect(error).toBeLessThan(2 * (found.chosen[0]?.choices[pair]?.unscaled as number));
  });
});

function sizeOf(pair: Pair, config: DecoderConfig): number {
  const { hidden, ffn, kvHeads, headDim, rotaryDim, queryKeyNorms } = config;
  if (pair === 'out') return kvHeads * headDim;
  if (pair === 'qkt') return (queryKeyNorms ? 1 : kvHeads) * (headDim - rotaryDim / 2);
  return pair === 'fc2' ? ffn : hidden;
}

describe('searchScales', () => {
  const config = observedForm(architecture('llama'));
  const weights = tinyWeights(config, 21);

  test('finds the same every time', async () => {
    const [a, b] = [await search(config, weights), await search(config, weights)];
    expect(a.chosen).toEqual(b.chosen);
  });

  test('scales the prefix of a model with it', async () => {
    const behind = await withPrefix(runtime, config, weights, [3, 7]);
    const { weights: scaled, chosen } = await search(behind.config, behind.weights);
    expect(chosen[0]?.scales).toHaveProperty('out');
    expect(change(await logitsOf(behind.config, behind.weights), await logitsOf(behind.config, scaled))).toBeLessThan(
      2e-5,
    );
  });

  test('leaves a model alone that is not quantized', async () => {
    const float: Recipe = { ...recipe, name: 'float', rules: [] };
    const { chosen, weights: same } = await searchScales(runtime, { config, weights, recipe: float, samples }, {});
    const name = 'model.layers.1.mlp.w2.weight';
    expect(await same.read(name)).toEqual(await weights.read(name));
    for (const { scales, choices } of chosen) {
      expect(scales).toEqual({});
      for (const choice of Object.values(choices)) expect(choice.unscaled).toBeLessThan(1e-12);
    }
  });

  test('tries what it is told to, for the pairs it is told to', async () => {
    const { chosen } = await search(config, weights, { pairs: ['fc1', 'out'], alphas: [0.7], exponents: [[0.5, 0.5]] });
    for (const { choices } of chosen) {
      expect(Object.keys(choices)).toEqual(['fc1', 'out']);
      expect([
        [0, 0],
        [0.7, 1 - 0.7],
      ]).toContainEqual(choices.fc1?.exponents);
      expect([
        [0, 0],
        [0.5, 0.5],
      ]).toContainEqual(choices.out?.exponents);
    }
  });

  test('asks how much of a site its range covers, and not of scores, which are covered whole', async () => {
    const asked = new Set<string>();
    const whole = await search(config, weights);
    const cut = await search(config, weights, {
      coverage(site) {
        asked.add(site);
        return 0.98;
      },
    });
    const some = ['model.layers.0.mlp.w2.input', 'model.layers.1.self_attn.qk_bmm.input2'];
    expect([...asked]).toEqual(expect.arrayContaining(some));
    expect([...asked].filter((site) => /qk_bmm.output|pv_bmm.input$|act_fn.input2/.test(site))).toEqual([]);
    expect(cut.chosen[0]?.choices.qkv?.unscaled).not.toBe(whole.chosen[0]?.choices.qkv?.unscaled);
  });

  test("covers what the recipe's range rules say, unless told otherwise", async () => {
    const pairs = ['fc1'] as const;
    const ruled: Recipe = {
      ...recipe,
      ranges: [{ site: '*', maxBits: 8, range: { kind: 'percentile', percent: 98 } }],
    };
    const own = await searchScales(runtime, { config, weights, recipe: ruled, samples }, { pairs });
    const told = await search(config, weights, { pairs, coverage: (_, { bits }) => (bits > 8 ? 1 : 0.98) });
    expect(own.chosen).toEqual(told.chosen);
    expect(own.chosen).not.toEqual((await search(config, weights, { pairs })).chosen);
  });

  test('compares on as many tokens as it is told', async () => {
    const few = await search(config, weights, { tokens: 12 });
    const all = await search(config, weights);
    expect(few.chosen[0]?.choices.fc1?.unscaled).not.toBe(all.chosen[0]?.choices.fc1?.unscaled);
    expect(few.chosen[0]?.choices.fc1?.unscaled).toBeGreaterThan((all.chosen[0]?.choices.fc1?.unscaled as number) / 4);
  });

  test('needs a sample', async () => {
    const searched = searchScales(runtime, { config, weights, recipe, samples: [] });
    await expect(searched).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: searchScales: expected at least one sample, got none.]`,
    );
  });
});
