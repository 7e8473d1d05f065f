/** Every architecture as a graph of integers: what is exported is what was evaluated. */
import { observedForm, quantizeBy, quantizedForm } from '@mobilequant/calibration';
import {
  createDecoder,
  type DecoderConfig,
  decoderTensors,
  deviceForm,
  languageModel,
  type QuantizedModel,
  simulatedReading,
} from '@mobilequant/core';
import { dataOf, encodeModel, type Graph, verify } from '@mobilequant/graph';
import {
  decoderSites,
  type QuantizerSpec,
  type Recipe,
  recipes,
  resolveRecipe,
  withRules,
} from '@mobilequant/quantizer';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import { exportOnnx, integerKernels, integerModel } from '../src/index.ts';
import { quantized, randomTokens, runtime } from './tiny-model.ts';

const tokens = 12;
const text = randomTokens(tokens, 24, 7);

async function simulated({ config, weights, encodings }: QuantizedModel): Promise<Float32Array> {
  const model = languageModel(createDecoder(runtime, config, weights, { reading: simulatedReading(encodings) }));
  const logits = await model.logits(text);
  await model.release?.();
  return logits;
}

async function exported(graph: Graph, file?: Uint8Array): Promise<Float32Array> {
  const model = await integerModel(runtime, graph, file && { file });
  const logits = await model.logits(text);
  await model.release?.();
  return logits;
}

const modelOf = (config: DecoderConfig, recipe: Recipe): Promise<QuantizedModel> =>
  quantized(recipe, { config, weights: tinyWeights(config, 21) });

const rms = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);
const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((v, i) => v - (b[i] as number));
const count = ({ nodes }: Graph, op: string): number => nodes.filter((node) => node.op === op).length;

/** Names of initializers that some node takes. */
function used({ nodes, initializers }: Graph): Set<string> {
  return new Set(nodes.flatMap(({ inputs }) => inputs.filter((name) => initializers.has(name))));
}

const SATURATES = 'integer products saturate on this processor: programs that use them get other results';

describe.each(architectures)('$name', ({ config: checkpoint }) => {
  const config = quantizedForm(checkpoint, 'exact');

  test.each([recipes.w8a8, recipes['paper-w8a8'], recipes['paper-w4a8-sym']])(
    'its $name export gives the logits of the simulated model, bit for bit',
    async (recipe) => {
      const model = await modelOf(quantizedForm(checkpoint, recipe.conventions), recipe);
      const graph = verify(await exportOnnx(model, { tokens }));
      const wanted = await simulated(model);
      expect(rms(wanted)).toBeGreaterThan(0.1);
      expect(await exported(graph)).toEqual(wanted);
    },
  );

  test('every site of the recipe and every tensor of the model is in the graph, and every linear is in integers', async () => {
    const model = await modelOf(config, recipes.w8a8);
    const graph = await exportOnnx(model, { tokens });
    const names = used(graph);
    const resolve = resolveRecipe(recipes.w8a8);
    const sites = decoderSites(config).filter((site) => resolve(site));
    expect(sites.filter((site) => !names.has(`${site}_scale`) || !names.has(`${site}_zero_point`))).toEqual([]);

    const tensors = [...decoderTensors(config)].filter(({ optional }) => !optional).map(({ name }) => name);
    expect(tensors.filter((name) => !names.has(name) && !names.has(`${name}_quantized`))).toEqual([]);
    expect(graph.nodes.filter(({ domain }) => domain !== '')).toEqual([]);
    expect(count(graph, 'Tanh')).toBe(
      (config.scoreCap ? config.layers : 0) +
        (config.logitCap ? 1 : 0) +
        (config.activation === 'gelu-tanh' ? config.layers : 0),
    );
    expect(integerKernels(graph)).toEqual({
      linears: config.layers * (config.mlp === 'gated' ? 7 : 6) + 1,
      integer: config.layers * (config.mlp === 'gated' ? 7 : 6),
      float: [{ site: 'lm_head.weight', reason: 'the input is not quantized' }],
    });
  });

  test('its device form is exported likewise', async () => {
    const model = await quantized(recipes.w8a8, deviceForm(checkpoint, tinyWeights(checkpoint, 21)));
    expect(await exported(await exportOnnx(model, { tokens }))).toEqual(await simulated(model));
  });

  test('a head that is quantized on all sides is exported so, its bias and cap behind it', async () => {
    const a8: QuantizerSpec = { bits: 8, symmetric: false, granularity: { kind: 'tensor' } };
    const sites = ['model.norm.input', 'model.norm.weight', 'model.norm.output', 'lm_head.output'];
    const recipe = withRules(
      recipes.w8a8,
      'with the head',
      sites.map((site) => ({ site, spec: a8 })),
    );
    const model = await modelOf(config, recipe);
    const graph = await exportOnnx(model, { tokens });
    expect(integerKernels(graph).float).toEqual([]);
    expect(await exported(graph)).toEqual(await simulated(model));
  });

  test('its file, run as other programs do, is a step beside here and there', async ({ skip }) => {
    skip(!(await runtime.exactIntegerProducts()), SATURATES);
    const graph = await exportOnnx(await modelOf(config, recipes.w8a8), { tokens });
    const [wanted, got] = [await exported(graph), await exported(graph, await encodeModel(graph))];
    expect(rms(difference(got, wanted))).toBeLessThan(0.02 * rms(wanted));
  });
});

describe('a learned model', () => {
  test.each([
    { name: 'gemma3', recipe: recipes.w4a8 },
    { name: 'stablelm', recipe: recipes['paper-w4a8'] },
    { name: 'phi', recipe: recipes.w8a8 },
  ])('of $name in $recipe.name is exported with the biases that shifts leave', async ({ name, recipe }) => {
    const config = architecture(name);
    const weights = tinyWeights(config, 21);
    const calibration = [randomTokens(tokens, config.vocab, 2)];
    const targets = { pairs: ['qkv', 'out', 'qkt', 'fc1', 'fc2'], shifts: true, clipping: true, ranges: true } as const;
    const fast = { from: 1e-2, to: 1e-3 };
    const slow = { from: 1e-6, to: 1e-7 };
    const options = { epochs: 2, targets, rates: { let: fast, lwc: fast, lrl: slow } };
    const { model } = await quantizeBy(
      runtime,
      { config, weights, recipe, method: 'mobilequant', calibration },
      options,
    );
    expect(model.weights.has('model.layers.1.self_attn.o_proj.bias')).toBe(true);
    const graph = verify(await exportOnnx(model, { tokens }));
    const biases = model.weights.names().filter((tensor) => tensor.endsWith('.bias'));
    expect(biases.filter((bias) => !used(graph).has(bias))).toEqual([]);
    const [got, wanted] = [await exported(graph), await simulated(model)];
    if (await runtime.exactIntegerProducts()) expect(got).toEqual(wanted);
    else expect(rms(difference(got, wanted))).toBeLessThan(0.02 * rms(wanted)); // sums in float, of another order
  });
});

describe('layers that slide', () => {
  const constant = async (graph: Graph, name: string): Promise<Float32Array> => {
    const { buffer, byteOffset, byteLength } = (await dataOf(graph.initializers.get(name) as never)).slice();
    return new Float32Array(buffer, byteOffset, byteLength / 4);
  };

  test.each(['gemma2', 'gemma3'])('of %s have a mask and rotary tables of their own', async (name) => {
    const config = observedForm(architecture(name));
    const graph = await exportOnnx(await modelOf(config, recipes.w8a8), { tokens });
    const takenBy = (layer: number) =>
      graph.nodes
        .filter(({ outputs }) => outputs[0]?.startsWith(`model.layers.${layer}.`))
        .flatMap(({ inputs }) => inputs.filter((input) => /^(rotary|attention)\./.test(input)));
    expect([...new Set(takenBy(0))].sort()).toEqual([
      'attention.sliding.mask',
      'rotary.sliding.cos',
      'rotary.sliding.sin',
    ]);
    expect([...new Set(takenBy(1))].sort()).toEqual(['attention.mask', 'rotary.cos', 'rotary.sin']);

    const seen = (mask: Float32Array) =>
      Array.from(
        { length: tokens },
        (_, t) => mask.subarray(t * tokens, (t + 1) * tokens).filter((m) => m === 0).length,
      );
    expect(seen(await constant(graph, 'attention.mask'))).toEqual(Array.from({ length: tokens }, (_, t) => t + 1));
    expect(seen(await constant(graph, 'attention.sliding.mask'))).toEqual(
      Array.from({ length: tokens }, (_, t) => Math.min(t + 1, config.sliding?.window as number)),
    );
    const [own, others] = [await constant(graph, 'rotary.sliding.cos'), await constant(graph, 'rotary.cos')];
    expect(rms(difference(own, others)) > 0.01).toBe(config.sliding?.rope !== undefined);
  });

  test.each(['gemma2', 'gemma3'])('of %s attend in chunks of queries as all at once', async (name) => {
    const model = await modelOf(observedForm(architecture(name)), recipes.w8a8);
    const chunks = await exported(await exportOnnx(model, { tokens, queryChunk: 5 }));
    const whole = await exported(await exportOnnx(model, { tokens }));
    expect(rms(difference(chunks, whole))).toBeLessThan(1e-3 * rms(whole));
  });
});

describe('the device form of a tied model with an embedding factor', () => {
  const gemma = architecture('gemma');
  const device = deviceForm(gemma, tinyWeights(gemma, 21));

  test.each([recipes.w8a8, recipes['paper-w8a8']])('has two matrices in its $name export', async (recipe) => {
    const model = await quantized(recipe, device);
    const graph = verify(await exportOnnx(model, { tokens }));
    const head = recipe === recipes.w8a8 ? 'lm_head.weight_quantized' : 'lm_head.weight';
    const outside = [...graph.initializers.values()].filter(({ name }) => !name.startsWith('model.layers.'));
    const matrices = outside.filter(({ shape: [rows, columns] }) => rows === gemma.vocab && columns === gemma.hidden);
    expect(matrices.map(({ name }) => name).sort()).toEqual([head, 'model.embed_tokens.weight']);
    const wanted = await simulated(model);
    expect(await exported(graph)).toEqual(wanted);

    const float = createDecoder(runtime, observedForm(gemma), tinyWeights(gemma, 21));
    const exact = await float.logits(await float.hidden(text));
    expect(rms(difference(wanted, exact))).toBeLessThan(0.05 * rms(exact));
  });
});
