import {
  cachedWeights,
  createDecoder,
  type DecoderConfig,
  languageModel,
  simulatedReading,
  type Weights,
} from '@mobilequant/core';
import { type Encoding, quantize, recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { carryOut, observe } from './carry-out.ts';
import { ObservationError } from './observation.ts';
import type { Plan } from './plan.ts';
import type { Progress } from './progress.ts';

const runtime = nodeRuntime();
const text = (first: number, vocab: number) =>
  Int32Array.from({ length: 24 }, (_, i) => (5 * i + first * i * i + first) % vocab);
const PLAIN: Plan = {
  prefix: [],
  transform: 'none',
  ranges: 'minmax',
  budget: 0,
  rounding: 'nearest',
  correction: 0,
  gradients: 0,
  sweeps: 0,
  reconstruction: 0,
  tuning: 0,
  learnedRounding: 0,
};

async function logitsOf(model: { config: DecoderConfig; weights: Weights }, tokens: Int32Array) {
  return languageModel(createDecoder(runtime, model.config, cachedWeights(model.weights))).logits(tokens);
}

const largest = (values: Float32Array) => values.reduce((max, v) => Math.max(max, Math.abs(v)), 0);

describe.each(['llama', 'gemma', 'gemma3', 'stablelm', 'phi'])('%s', (name) => {
  const { config, weights } = { config: architecture(name), weights: tinyWeights(architecture(name), 3) };
  const calibration = [1, 2, 3, 4].map((first) => text(first, config.vocab));
  const tokens = text(7, config.vocab);

  test.each([
    { transform: 'smooth' },
    { transform: 'scales' },
    { transform: 'rotation' },
    { transform: 'rotation+scales' },
    { transform: 'rotation', rounding: 'gptq' },
    { transform: 'rotation+scales', ranges: 'loss' },
  ] as const)('is the same float function behind a prefix after %o, and close to it in integers', async (changes) => {
    const plan: Plan = { ...PLAIN, prefix: [2, 5], ...changes };
    const { model, float, seconds } = await carryOut(
      runtime,
      { config, weights, recipe: recipes.w8a8, calibration },
      plan,
    );
    expect(Object.keys(seconds)).toEqual(['prefix', 'transform', 'ranges', 'rounding']);
    expect(model.config.prefix).toEqual([2, 5]);
    const wanted = await logitsOf(float, tokens);
    if (plan.rounding === 'nearest') {
      const got = await logitsOf(model, tokens);
      got.forEach((v, i) => expect(Math.abs(v - (wanted[i] as number))).toBeLessThan(2e-4 * largest(wanted)));
    }
    const reading = simulatedReading(model.encodings);
    const simulated = languageModel(createDecoder(runtime, model.config, cachedWeights(model.weights), { reading }));
    const rounded = await simulated.logits(tokens);
    rounded.forEach((v, i) => expect(Math.abs(v - (wanted[i] as number))).toBeLessThan(0.2 * largest(wanted)));
  });
});

describe('a plan', () => {
  const { config, weights } = { config: architecture('llama'), weights: tinyWeights(architecture('llama'), 3) };
  const input = { config, weights, recipe: recipes.w8a8, calibration: [text(1, config.vocab)] };

  test('tunes on a single sample, with none left to choose the best state by', async () => {
    const evaluations: unknown[] = [];
    const plan = { ...PLAIN, tuning: 2 };
    const onEvaluation = (found: unknown) => evaluations.push(found);
    const { seconds, tuning } = await carryOut(runtime, input, plan, { onEvaluation });
    expect(seconds).toHaveProperty('tuning');
    expect(evaluations).toEqual([]);
    expect(tuning).toEqual({ evaluations, step: 2 });
  });

  test('asks for texts to learn from before it computes anything', async () => {
    const onProgress = () => expect.unreachable();
    const refused = (own: Partial<typeof input & { heldOut: Int32Array[] }>, plan: Partial<Plan>) =>
      expect(carryOut(runtime, { ...input, ...own }, { ...PLAIN, ...plan }, { onProgress })).rejects;
    await refused({}, { rounding: 'gptq', reconstruction: 1 }).toThrow(
      'plan: expected texts to learn from and some that are held out, got 1 and 0 held out. Give more.',
    );
    await refused({ heldOut: input.calibration }, { tuning: 2 }).toThrow(
      'plan: expected texts to learn from, got 0 and 1 held out. Give more.',
    );
  });

  test('refuses what was observed of another text before it computes anything', async () => {
    const observed = await observe(runtime, { ...input, calibration: [text(2, config.vocab)] }, PLAIN);
    const onProgress = () => expect.unreachable();
    await expect(carryOut(runtime, { ...input, observed }, PLAIN, { onProgress })).rejects.toThrow(ObservationError);
  });

  test('says how tuning went', async () => {
    const evaluations: unknown[] = [];
    const two = { ...input, training: [text(1, config.vocab), text(2, config.vocab)] };
    const onEvaluation = (found: unknown) => evaluations.push(found);
    const { tuning } = await carryOut(runtime, two, { ...PLAIN, tuning: 2 }, { onEvaluation });
    expect(evaluations).toHaveLength(2); // as it came, and at the end
    expect(tuning?.evaluations).toEqual(evaluations);
  });

  test('rounds by the training text, if that is longer, where linears make up for their inputs', async () => {
    const training = [1, 2, 3, 4, 5, 6].map((first) => text(first, config.vocab));
    const rounded = async (own: typeof input & { training?: Int32Array[] }, correction: number) => {
      const plan: Plan = { ...PLAIN, rounding: 'gptq', correction };
      const { model } = await carryOut(runtime, { ...own, recipe: recipes.w4a8 }, plan);
      return model.weights.read('model.layers.1.mlp.w2.weight');
    };
    expect(await rounded({ ...input, training }, 0)).toEqual(await rounded(input, 0));
    expect(await rounded({ ...input, training }, 0.5)).not.toEqual(await rounded(input, 0.5));
    expect(await rounded({ ...input, training: training.slice(2, 3) }, 0.5)).toEqual(await rounded(input, 0.5));
  });

  test('rounds by what gradients say of the outputs, of as many samples as the plan says', async () => {
    const rounded = async (gradients: number) => {
      const plan: Plan = { ...PLAIN, rounding: 'gptq', gradients };
      const { model } = await carryOut(runtime, { ...input, recipe: recipes.w4a8 }, plan);
      return model.weights.read('model.layers.1.mlp.w2.weight');
    };
    const [none, one] = [await rounded(0), await rounded(1)];
    expect(one).not.toEqual(none);
    expect(await rounded(100)).toEqual(await rounded(input.calibration.length));
  });

  test('with a budget moves sites to 16 bits, and takes their ranges by the rules of 16 bits', async () => {
    const plan = { ...PLAIN, ranges: 'rules', budget: 0.3 } as const;
    const { model, placement, seconds } = await carryOut(runtime, input, plan);
    expect(Object.keys(seconds)).toEqual(['prefix', 'transform', 'ranges', 'placement', 'rounding']);
    expect(placement?.cost).toBeGreaterThan(0.1);
    expect(placement?.cost).toBeLessThanOrEqual(0.3);
    expect(model.recipe).toBe(placement?.recipe);
    for (const site of placement?.moved ?? []) expect(model.encodings.get(site)?.spec.bits).toBe(16);
    const { model: without, placement: none } = await carryOut(runtime, input, { ...plan, budget: 0 });
    expect(none).toBeUndefined();
    const wide = [...model.encodings].filter(
      ([site, { spec }]) => spec.bits !== without.encodings.get(site)?.spec.bits,
    );
    expect(wide.map(([site]) => site).sort()).toEqual([...(placement?.moved ?? [])].sort());
    await expect(carryOut(runtime, input, { ...plan, budget: 5 })).rejects.toThrow(RangeError);
  });

  test('learns as the paper does from where its transformation left off, and does not tune beside', async () => {
    const recipe = recipes.w4a8;
    const plan: Plan = { ...PLAIN, prefix: [2, 5], transform: 'rotation+scales', rounding: 'learned' };
    const calibration = [1, 2, 3, 4].map((first) => text(first, config.vocab));
    const own = { ...input, recipe, calibration };
    const distance = async (rounding: Plan['rounding']) => {
      const { model, float } = await carryOut(runtime, own, { ...plan, rounding }, { epochs: 20 });
      const reading = simulatedReading(model.encodings);
      const decoders = [
        createDecoder(runtime, model.config, cachedWeights(model.weights), { reading }),
        createDecoder(runtime, float.config, cachedWeights(float.weights)),
      ];
      let sum = 0;
      for (const sample of calibration) {
        const [a, b] = await Promise.all(decoders.map((decoder) => languageModel(decoder).logits(sample)));
        a?.forEach((v, i) => (sum += (v - (b?.[i] as number)) ** 2));
      }
      return sum;
    };
    expect(await distance('learned')).toBeLessThan(0.9 * (await distance('nearest')));
    await expect(carryOut(runtime, own, { ...plan, tuning: 1 })).rejects.toThrow(RangeError);
  });

  test('stops after the layer at hand when told to', async () => {
    const stop = new AbortController();
    const seen: string[] = [];
    const onProgress = ({ stage, done }: Progress) => {
      seen.push(`${stage} ${done}`);
      stop.abort();
    };
    const stopped = carryOut(runtime, input, { ...PLAIN, transform: 'scales' }, { onProgress, signal: stop.signal });
    await expect(stopped).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
    expect(seen).toEqual(['scales 1']);
  });
});

describe('reconstruction', () => {
  const config = architecture('llama');
  const weights = tinyWeights(config, 3);
  const calibration = [1, 2, 3, 4, 5, 6].map((first) => text(first, config.vocab));
  const input = { config, weights, recipe: recipes.w4a8, calibration };

  test('stands between rounding and tuning, and moves integers', async () => {
    const plan: Plan = { ...PLAIN, rounding: 'gptq', sweeps: 2, tuning: 1 };
    const without = await carryOut(runtime, input, plan);
    const { model, seconds } = await carryOut(runtime, input, { ...plan, reconstruction: 8 });
    expect(Object.keys(seconds)).toEqual(['prefix', 'transform', 'ranges', 'rounding', 'reconstruction', 'tuning']);
    const levels = async (of: typeof model, name: string) =>
      quantize(await of.weights.read(name), of.encodings.get(name) as Encoding);
    const name = 'model.layers.0.mlp.w1.weight';
    expect(await levels(model, name)).not.toEqual(await levels(without.model, name));
  });

  test('needs GPTQ', async () => {
    await expect(carryOut(runtime, input, { ...PLAIN, reconstruction: 1 })).rejects.toThrow('expected GPTQ before');
  });
});
