import type { Encoding } from '@mobilequant/quantizer';
import { type Executor, eagerExecutor, type Value, type Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { block, type KeysValues } from './block.ts';
import type { DecoderConfig } from './config.ts';
import { contextValues, specsOf } from './context.ts';
import { createDecoder } from './decoder.ts';
import { deriveWeights } from './derived-weights.ts';
import { languageModel } from './language-model.ts';
import { parseConfig } from './parse-config.ts';
import './fake-quantize.lowering.ts';
import { simulatedReading } from './reading.ts';
import { growingTree } from './token-tree.ts';
import { cachedWeights, layerShapes, readLayer, type Weights, weightsFrom } from './weights.ts';

const runtime = nodeRuntime();
const config = parseConfig({
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 20,
});

/** Numbers between -1 and 1 without a pattern, the same every time. */
function weightsOf({ hidden, ffn, heads, kvHeads, headDim, layers, vocab }: DecoderConfig): Weights {
  let state = 5;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>();
  const add = (name: string, ...shape: number[]) => {
    const length = shape.reduce((a, b) => a * b);
    tensors.set(name, {
      shape,
      data: Float32Array.from({ length }, () => (shape.length === 1 ? 1 : 0) + 0.6 * next()),
    });
  };
  add('model.embed_tokens.weight', vocab, hidden);
  for (let layer = 0; layer < layers; layer++) {
    const linear = (module: string, ...shape: number[]) => add(`model.layers.${layer}.${module}.weight`, ...shape);
    for (const norm of ['input_layernorm', 'post_attention_layernorm']) linear(norm, hidden);
    linear('self_attn.q_proj', heads * headDim, hidden);
    for (const module of ['k_proj', 'v_proj']) linear(`self_attn.${module}`, kvHeads * headDim, hidden);
    linear('self_attn.o_proj', hidden, heads * headDim);
    for (const module of ['w1', 'w3']) linear(`mlp.${module}`, ffn, hidden);
    linear('mlp.w2', hidden, ffn);
  }
  add('model.norm.weight', hidden);
  add('lm_head.weight', vocab, hidden);
  return weightsFrom(tensors);
}

const weights = weightsOf(config);
const tokens = Int32Array.from({ length: 11 }, (_, i) => (7 * i + 3) % 20);
const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(...Array.from(a, (v, i) => Math.abs(v - (b[i] as number))));

/** `-log softmax(logits)[token]` behind each token but the last, in float64. */
function slowLikelihood(logits: Float32Array, vocab = config.vocab): number[] {
  return Array.from(tokens.subarray(1), (token, t) => {
    const row = Array.from(logits.subarray(t * vocab, (t + 1) * vocab));
    return Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0)) - (row[token] as number);
  });
}

beforeAll(async () => {
  await tf.setBackend('cpu');
});

describe('createDecoder', () => {
  test('computes the same eagerly as traced', async () => {
    const logitsBy = async (executor: Executor) =>
      languageModel(createDecoder(executor, config, weights)).logits(tokens);
    const [traced, eager] = [await logitsBy(runtime), await logitsBy(eagerExecutor())];
    expect(traced).toHaveLength(tokens.length * config.vocab);
    expect(distance(traced, eager)).toBeLessThan(1e-5);
  });

  test.each([1, 4, 5, 11, 64])('attends in chunks of %i queries as in one', async (queryChunk) => {
    const hidden = (chunk: number) => createDecoder(runtime, config, weights, { queryChunk: chunk }).hidden(tokens);
    expect(distance(await hidden(queryChunk), await hidden(0))).toBeLessThan(2e-6);
  });

  test('a token does not see what comes after it', async () => {
    const decoder = createDecoder(runtime, config, weights);
    const changed = tokens.slice();
    changed[7] = (changed[7] as number) + 1;
    const [a, b] = [await decoder.hidden(tokens), await decoder.hidden(changed)];
    const row = (x: Float32Array, t: number) => x.slice(t * config.hidden, (t + 1) * config.hidden);
    expect(a.slice(0, 7 * config.hidden)).toEqual(b.slice(0, 7 * config.hidden));
    for (let t = 7; t < tokens.length; t++) expect(distance(row(a, t), row(b, t))).toBeGreaterThan(1e-4);
  });

  test('shows every block', async () => {
    const decoder = createDecoder(runtime, config, weights);
    const seen: Float32Array[] = [];
    const last = await decoder.hidden(tokens, (layer, x) => (seen[layer] = x));
    expect(seen).toHaveLength(2);
    expect(seen[0]).toEqual(await decoder.block(0, await decoder.embed(tokens)));
    expect(seen[1]).toEqual(last);
  });

  test('compiles a block once for all layers, and again after a release', async () => {
    let compiled = 0;
    const counting: Executor = {
      program(fn, specs) {
        compiled++;
        return runtime.program(fn, specs);
      },
    };
    const decoder = createDecoder(counting, config, weights);
    const first = await decoder.hidden(tokens);
    expect(compiled).toBe(1);
    await decoder.release();
    expect(await decoder.hidden(tokens)).toEqual(first);
    expect(compiled).toBe(2);
  });
});

describe('negativeLogLikelihood', () => {
  test('equals the log-softmax of the logits', async () => {
    const model = languageModel(createDecoder(runtime, config, weights));
    const got = (await model.negativeLogLikelihood?.(tokens)) as Float32Array;
    expect(got).toHaveLength(tokens.length - 1);
    expect(distance(got, slowLikelihood(await model.logits(tokens)))).toBeLessThan(1e-5);
  });

  test('equals it too where the logits are quantized', async () => {
    const spec = { bits: 4, symmetric: false, granularity: { kind: 'tensor' } } as const;
    const encoding: Encoding = { spec, scale: Float32Array.of(0.5), zeroPoint: Int32Array.of(8) };
    const reading = simulatedReading(new Map([['lm_head.output', encoding]]));
    const model = languageModel(createDecoder(runtime, config, weights, { reading }));
    const logits = await model.logits(tokens);
    expect(logits.every((v) => Number.isInteger(v / 0.5))).toBe(true);
    const got = (await model.negativeLogLikelihood?.(tokens)) as Float32Array;
    expect(distance(got, slowLikelihood(logits))).toBeLessThan(1e-5);
  });
});

describe('treeLogits', () => {
  const texts = [tokens, Int32Array.of(3, 10, 17, 1), Int32Array.of(9, 2), tokens.subarray(0, 5)];

  test.each([
    ['plain', config],
    ['with a window', { ...config, sliding: { window: 4, layers: [true, false] } }],
  ])('of texts that share beginnings are those of each text: %s', async (_, given) => {
    const model = languageModel(createDecoder(runtime, given, weights));
    const growing = growingTree();
    const places = texts.map((text) => growing.add(text));
    const tree = growing.tree();
    expect(tree.tokens).toHaveLength(11 + 1 + 2);
    const all = Int32Array.from(places.flatMap((of) => Array.from(of)));
    const got = (await model.treeLogits?.(tree, all)) as Float32Array;
    const want = await Promise.all(texts.map((text) => model.logits(text)));
    expect(got).toHaveLength(all.length * config.vocab);
    expect(distance(got, Float32Array.from(want.flatMap((logits) => Array.from(logits))))).toBeLessThan(1e-5);
  });
});

test('the likelihood in a large vocabulary loses none of the small terms', async () => {
  const large = { ...config, layers: 0, vocab: 2 ** 17 };
  const sharp = { shape: [large.hidden], read: async () => new Float32Array(large.hidden).fill(4) };
  const weights = deriveWeights(weightsOf(large), new Map([['model.norm.weight', sharp]]));
  const model = languageModel(createDecoder(runtime, large, weights));
  const exact = slowLikelihood(await model.logits(tokens), large.vocab);
  const got = (await model.negativeLogLikelihood?.(tokens)) as Float32Array;
  const bias = got.reduce((sum, loss, i) => sum + loss - (exact[i] as number), 0) / got.length;
  expect(Math.abs(bias)).toBeLessThan(2e-6);
});

describe('keys and values of the past', () => {
  /** The first block on tokens `from … to`, after the given keys and values. */
  async function blockOn(
    [from, to]: [number, number],
    past: Partial<Record<'keys' | 'values', Value>> = {},
    queryChunk = 0,
  ): Promise<Record<'x' | 'keys' | 'values', Value>> {
    const count = to - from;
    const given = {
      ...contextValues(config, count, from),
      x: { data: await weights.readRows('model.embed_tokens.weight', tokens.subarray(from, to)), shape: [count, 16] },
    };
    const program = await runtime.program(
      (inputs) => {
        const { keys, values } = inputs as typeof inputs & Partial<KeysValues>;
        const options = { queryChunk, ...(keys && values && { past: { keys, values } }) };
        const result = block(inputs.x, inputs, inputs, config, options);
        return { y: result.x, newKeys: result.keys, newValues: result.values };
      },
      { ...specsOf(given), ...layerShapes(weights, 0), ...specsOf(past as Values) },
    );
    const { y, newKeys, newValues } = await program.run({ ...given, ...(await readLayer(weights, 0)), ...past });
    return { x: y, keys: newKeys, values: newValues };
  }

  test.each([0, 2])('stand for the tokens before, with queries in chunks of %i', async (queryChunk) => {
    const whole = await blockOn([0, 11]);
    const { keys, values } = await blockOn([0, 6]);
    expect(keys.shape).toEqual([config.kvHeads, 6, config.headDim]);
    const rest = await blockOn([6, 11], { keys, values }, queryChunk);
    const want = (whole.x.data as Float32Array).subarray(6 * config.hidden);
    expect(distance(rest.x.data as Float32Array, want)).toBeLessThan(2e-6);
  });
});

describe('weights', () => {
  test('behind a cache are read once, also when asked for at the same time', async () => {
    const reads: string[] = [];
    const cached = cachedWeights({
      ...weights,
      async read(name) {
        reads.push(name);
        return weights.read(name);
      },
    });
    const [a, b] = await Promise.all([cached.read('model.norm.weight'), cached.read('model.norm.weight')]);
    expect(b).toBe(a);
    expect(await cached.read('model.norm.weight')).toBe(a);
    await cached.read('lm_head.weight');
    expect(reads).toEqual(['model.norm.weight', 'lm_head.weight']);
  });

  test('in memory name what is missing', () => {
    expect(() => weights.shape('model.norm.bias')).toThrowErrorMatchingInlineSnapshot(
      `[Error: weights: expected a tensor named 'model.norm.bias', got none.]`,
    );
  });

  test('give rows of a matrix in the order in which they are asked for', async () => {
    const matrix = weightsFrom(new Map([['m', { shape: [3, 2], data: Float32Array.of(0, 1, 10, 11, 20, 21) }]]));
    expect([...(await matrix.readRows('m', [2, 0, 2]))]).toEqual([20, 21, 0, 1, 20, 21]);
  });
});
