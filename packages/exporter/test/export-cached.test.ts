/** What is exported with a cache: at any length, the numbers of the simulated model; and behind a cache what it says without one. */
import { quantizedForm } from '@mobilequant/calibration';
import {
  createDecoder,
  type DecoderConfig,
  generate,
  type LanguageModel,
  languageModel,
  type QuantizedModel,
  simulatedReading,
  withPrefix,
} from '@mobilequant/core';
import { decodeModel, encodeModel, type Graph, verify } from '@mobilequant/graph';
import { type QuantizerSpec, type Recipe, recipes, withRules } from '@mobilequant/quantizer';
import type { Value, Values } from '@mobilequant/tracer';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import { cachedModel, exportCachedOnnx, fuseTransposes, onnxModel, runtimeForm } from '../src/index.ts';
import { config as llama, quantized, randomTokens, randomWeights, runtime } from './tiny-model.ts';

const textOf = (vocab: number, length = 24): Int32Array => randomTokens(length, vocab, 2);
const modelOf = (config: DecoderConfig, recipe: Recipe): Promise<QuantizedModel> =>
  quantized(recipe, { config, weights: tinyWeights(config, 21) });

async function simulated({ config, weights, encodings }: QuantizedModel, text: Int32Array): Promise<Float32Array> {
  const model = languageModel(createDecoder(runtime, config, weights, { reading: simulatedReading(encodings) }));
  const logits = await model.logits(text);
  await model.release?.();
  return logits;
}

const rms = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);
const relative = (a: Float32Array, b: Float32Array): number => rms(a.map((v, i) => v - (b[i] as number))) / rms(b);

describe.each(architectures)('$name', ({ config: checkpoint }) => {
  test('gives the logits of the simulated model at every length, bit for bit', async () => {
    const model = await modelOf(quantizedForm(checkpoint, 'exact'), recipes.w8a8);
    const cached = await cachedModel(runtime, verify(await exportCachedOnnx(model)));
    for (const length of [2, 7, 24]) {
      const text = textOf(checkpoint.vocab, length);
      expect(await cached.logits(text)).toEqual(await simulated(model, text));
    }
    // A block that is traced for one token has products of other forms, whose sums are of another order.
    const text = textOf(checkpoint.vocab, 1);
    expect(relative(await cached.logits(text), await simulated(model, text))).toBeLessThan(1e-5);
    await cached.release?.();
  });
});

/** Everything that a text's parts say, each behind the cache of those before: logits, and the caches at the end. */
async function inParts(graph: Graph, text: Int32Array, part: number, padding = 0) {
  const program = await runtime.compile(fuseTransposes(graph));
  let cache: Values = Object.fromEntries(
    graph.inputs.flatMap(({ name, type, shape: [, heads, , size] }): [string, Value][] => {
      if (!name.startsWith('past_key_values.')) return [];
      const data = type === 'float32' ? new Float32Array(0) : type === 'uint8' ? new Uint8Array(0) : new Uint16Array(0);
      return [[name, { data, shape: [1, heads as number, 0, size as number] }]];
    }),
  );
  const padded = Int32Array.from({ length: padding + text.length }, (_, i) => text[i - padding] ?? 3);
  const logits: number[] = [];
  for (let at = 0; at < padded.length; at += part) {
    const ids = padded.slice(at, at + part);
    const total = at + ids.length;
    const outputs = await program.run({
      ...cache,
      input_ids: { data: BigInt64Array.from(ids, BigInt), shape: [1, ids.length] },
      attention_mask: {
        data: BigInt64Array.from({ length: total }, (_, i) => BigInt(Number(i >= padding))),
        shape: [1, total],
      },
    });
    logits.push(...((outputs['logits'] as Value).data as Float32Array));
    const presents = Object.keys(cache).map((name) => [name, outputs[name.replace('past_key_values', 'present')]]);
    cache = Object.fromEntries(presents) as Values;
  }
  await program.release();
  const vocab = logits.length / padded.length;
  return { logits: Float32Array.from(logits.slice(padding * vocab)), cache };
}

describe('behind a cache', () => {
  test.each([
    ['llama', 1, []],
    ['llama', 5, [5, 9]],
    ['gemma', 1, [5]],
    ['gemma2', 3, []],
    ['gemma3', 1, [7, 2]],
    ['qwen2', 4, [3]],
    ['stablelm', 1, []],
  ] as const)('%s, %i tokens at once, prefix %o: what it says without one', async (name, part, prefix) => {
    const own = quantizedForm(architecture(name), 'exact');
    const { config, weights } = await withPrefix(runtime, own, tinyWeights(own, 21), prefix);
    const model = await quantized(recipes.w8a8, { config, weights });
    const text = textOf(config.vocab);
    const graph = verify(await exportCachedOnnx(model));
    const whole = await inParts(graph, text, text.length);
    expect(whole.logits).toEqual(await simulated(model, text));
    const parts = await inParts(graph, text, part);
    expect(parts.cache).toEqual(whole.cache);
    expect(relative(parts.logits, whole.logits)).toBeLessThan(1e-5);
    const { data, shape } = whole.cache['past_key_values.1.value'] as Value;
    expect(data).toBeInstanceOf(Uint8Array);
    expect(shape).toEqual([1, config.kvHeads, text.length, config.headDim]); // none of the prefix
  });

  test.each(['llama', 'gemma3'])('%s, padded on the left: what it says without padding', async (name) => {
    const own = quantizedForm(architecture(name), 'exact');
    const { config, weights } = await withPrefix(runtime, own, tinyWeights(own, 21), [5]);
    const graph = await exportCachedOnnx(await quantized(recipes.w8a8, { config, weights }));
    const text = textOf(config.vocab, 12);
    const plain = await inParts(graph, text, 12);
    expect(relative((await inParts(graph, text, 16, 4)).logits, plain.logits)).toBeLessThan(1e-5);
    expect(relative((await inParts(graph, text, 1, 4)).logits, plain.logits)).toBeLessThan(1e-5);
  });

  const a8: QuantizerSpec = { bits: 8, symmetric: false, granularity: { kind: 'tensor' } };
  const keys = 'model.layers.*.self_attn.qk_bmm.input2';
  test.each([
    ['float32', null],
    ['uint16', { ...a8, bits: 16 }],
    ['uint8', { ...a8, bits: 5 }],
  ] as const)('keys are %s where the recipe says %o', async (type, spec) => {
    const { config, weights } = await withPrefix(runtime, llama, randomWeights(llama), [5]);
    const model = await quantized(withRules(recipes.w8a8, 'x', [{ site: keys, spec }]), { config, weights });
    const graph = verify(await exportCachedOnnx(model));
    const types = graph.inputs.filter(({ name }) => name.startsWith('past_key_values.1.')).map((input) => input.type);
    expect(types).toEqual([type, 'uint8']);
    const text = textOf(config.vocab, 12);
    const whole = await inParts(graph, text, 12);
    expect(whole.logits).toEqual(await simulated(model, text));
    const parts = await inParts(graph, text, 1);
    expect(relative(parts.logits, whole.logits)).toBeLessThan(1e-5);
  });
});

test.each([
  { heads: 4, kvHeads: 2, headDim: 88 },
  { heads: 11, kvHeads: 11, headDim: 22 },
  { heads: 8, kvHeads: 1, headDim: 32 },
])('sizes to trace at are none of the model: %o', async (sizes) => {
  const config = { ...architecture('llama'), ...sizes, rotaryDim: sizes.headDim, hidden: 26, ffn: 92 };
  verify(await exportCachedOnnx(await modelOf(quantizedForm(config, 'exact'), recipes.w8a8)));
});

describe('as a language model', () => {
  const collect = async (model: LanguageModel, prompt: Int32Array, count: number): Promise<number[]> => {
    const made: number[] = [];
    for await (const token of generate(model, prompt, { tokens: count })) made.push(token);
    return made;
  };
  const prompt = textOf(llama.vocab, 6);

  test.each([true, false])(
    'goes on as it would reading all again (logits of the last token alone: %s)',
    async (keepLogits) => {
      const graph = verify(await exportCachedOnnx(await quantized('w8a8'), { keepLogits }));
      const model = await cachedModel(runtime, graph);
      const { begin: _, ...uncached } = model;
      const made = await collect(model, prompt, 12);
      expect(made).toHaveLength(12);
      expect(made).toEqual(await collect(uncached, prompt, 12));
      await model.release?.();
    },
  );

  test('has as much room as it was exported with, and no more', async () => {
    const model = await cachedModel(runtime, await exportCachedOnnx(await quantized('w8a8'), { context: 8 }));
    const reader = model.begin?.();
    await reader?.read(textOf(llama.vocab, 8));
    await expect(reader?.read(Int32Array.of(1))).rejects.toThrow('at most 8 tokens, got 9');
    await expect(reader?.read(new Int32Array(0))).rejects.toThrow('at least one token');
    await model.release?.();
    await expect(exportCachedOnnx(await quantized('w8a8'), { context: 65 })).rejects.toThrow('from 1 to 64');
  });
});

describe.each(['w8a8', 'w4a8'] as const)('the runtime form of %s', (name) => {
  test('multiplies in integers that no processor saturates, with weights as small as they were', async () => {
    const graph = await exportCachedOnnx(await quantized(name));
    const form = verify(runtimeForm(graph));
    const products = form.nodes.filter(({ op }) => op === 'MatMulIntegerToFloat');
    expect(products).toHaveLength(2 * (5 + 2 * 2)); // o_proj and w2 byte by byte
    const stored = products.flatMap(({ inputs }) => form.initializers.get(inputs[1] as string)?.type ?? []);
    expect(new Set(stored)).toEqual(new Set(name === 'w8a8' ? ['uint8'] : []));
    const packed = [...form.initializers.values()].filter(({ type }) => type === 'int4');
    expect(packed.length > 0).toBe(name === 'w4a8');
  });

  test('gives the same logits, read from its file', async () => {
    const model = await quantized(name);
    const graph = await exportCachedOnnx(model, { keepLogits: true });
    const text = textOf(llama.vocab, 12);
    const form = decodeModel(await encodeModel(runtimeForm(graph)));
    const [exact, own] = [await cachedModel(runtime, form), await cachedModel(runtime, graph)];
    expect(relative(await exact.logits(text), await own.logits(text))).toBeLessThan(1e-5);
    await Promise.all([exact.release?.(), own.release?.()]);
  });

  test('is a file like any other, its cache of integers empty', async () => {
    const graph = runtimeForm(await exportCachedOnnx(await quantized(name), { keepLogits: true }));
    const text = textOf(llama.vocab, 12);
    const [foreign, own] = [await onnxModel(runtime, await encodeModel(graph)), await cachedModel(runtime, graph)];
    expect(relative(await foreign.logits(text), await own.logits(text))).toBeLessThan(1e-5);
    await Promise.all([foreign.release?.(), own.release?.()]);
  });
});
