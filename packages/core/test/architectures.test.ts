/**
 * The decoder against the transformers library: `scripts/oracle` wrote the fixtures, and says how to write them again. For each
 * case it made sure that no feature of the architecture could be missing without being seen (`manifest.json`, `switches`).
 */
import { readFileSync } from 'node:fs';
import type { Value, Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import type * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import {
  type BlockContext,
  block,
  checkedWeights,
  checkpointForm,
  contextValues,
  createDecoder,
  type Decoder,
  type DecoderConfig,
  type DecoderOptions,
  deviceForm,
  fromCheckpoint,
  layerShapes,
  parseConfig,
  readLayer,
  specsOf,
  type Weights,
  weightsFrom,
} from '../src/index.ts';
import { readTensors } from './safetensors.ts';

const fixtures = new URL('fixtures/', import.meta.url);
const json = (path: string): unknown => JSON.parse(readFileSync(new URL(path, fixtures), 'utf8'));
const names = Object.keys(json('manifest.json') as object);
const runtime = nodeRuntime();

/** Largest difference, relative to the largest value. */
function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  expect(got).toHaveLength(want.length);
  let [difference, largest] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    const apart = Math.abs((got[i] as number) - (want[i] as number));
    difference = Math.max(difference, Number.isNaN(apart) ? Infinity : apart);
    largest = Math.max(largest, Math.abs(want[i] as number));
  }
  return difference / largest;
}

interface Case {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** Token ids of each text. */
  readonly texts: readonly Int32Array[];
  decoder(options?: DecoderOptions, config?: DecoderConfig): Decoder;
  /** Of its device form. */
  device(): Decoder;
  /** A tensor of the fixture, `[texts, tokens, channels]`: what it says of one text. */
  expected(tensor: string, text: number): Float32Array;
}

function load(name: string): Case {
  const given = json(`${name}/config.json`);
  const config = parseConfig(given);
  const stored = readTensors(new URL(`${name}/model.safetensors`, fixtures));
  const floats = new Map([...stored].map(([key, { shape, data }]) => [key, { shape, data: Float32Array.from(data) }]));
  const weights = checkedWeights(config, fromCheckpoint(checkpointForm(given), weightsFrom(floats)));
  const expected = readTensors(new URL(`${name}/expected.safetensors`, fixtures));
  const partOf = (tensor: string, text: number) => {
    const { shape, data } = expected.get(tensor) ?? expect.fail(`${name}: no tensor '${tensor}'`);
    const length = data.length / (shape[0] as number);
    return data.subarray(text * length, (text + 1) * length);
  };
  return {
    config,
    weights,
    texts: [0, 1].map((text) => Int32Array.from(partOf('input_ids', text))),
    decoder: (options, other = config) => createDecoder(runtime, other, weights, options),
    device: () => {
      const form = deviceForm(config, weights);
      return createDecoder(runtime, form.config, form.weights);
    },
    expected: (tensor, text) => partOf(tensor, text) as Float32Array,
  };
}

describe.each(names)('%s', (name) => {
  test('has the hidden states and logits of transformers', async () => {
    const { config, texts, decoder, expected } = load(name);
    const own = decoder();
    const errors: Record<string, number> = {};
    const compare = (tensor: string, text: number, got: Float32Array) => {
      errors[tensor] = Math.max(errors[tensor] ?? 0, relativeError(got, expected(tensor, text)));
    };
    for (const [text, tokens] of texts.entries()) {
      compare('hidden.0', text, await own.embed(tokens));
      const last = await own.hidden(tokens, (layer, x) => compare(`hidden.${layer + 1}`, text, x));
      compare('logits', text, await own.logits(last));
    }
    await own.release();
    expect(Object.keys(errors)).toHaveLength(config.layers + 2);
    expect(Object.entries(errors).filter(([, error]) => !(error <= 1e-4))).toEqual([]);
  });

  test('has those logits in its device form too, without its epsilon where that counts', async () => {
    const { config, texts, device, decoder, expected } = load(name);
    const counts = config.norm !== 'layer' && config.normEpsilon > 1e-4;
    const withoutEpsilon = decoder({}, { ...config, normEpsilon: 0 });
    const own = device();
    for (const [text, tokens] of texts.entries()) {
      const wanted = counts
        ? await withoutEpsilon.logits(await withoutEpsilon.hidden(tokens))
        : expected('logits', text);
      expect(relativeError(await own.logits(await own.hidden(tokens)), wanted)).toBeLessThan(1e-4);
    }
    await own.release();
  });

  test('likes tokens as much as its logits say', async () => {
    const { config, texts, decoder } = load(name);
    const [own, tokens] = [decoder(), texts[0] as Int32Array];
    const x = await own.hidden(tokens);
    const logits = await own.logits(x);
    const got = await own.negativeLogLikelihood(x, tokens);
    tokens.forEach((token, t) => {
      const row = logits.subarray(t * config.vocab, (t + 1) * config.vocab);
      const sum = row.reduce((total, v) => total + Math.exp(v), 0);
      expect(got[t]).toBeCloseTo(Math.log(sum) - (row[token] as number), 4);
    });
    await own.release();
  });

  test('takes keys and values of the past for the tokens before, in each layer', async () => {
    const { config, weights, texts, decoder } = load(name);
    const tokens = texts[0] as Int32Array;
    const before = tokens.length - 5;
    /** A layer over states of some positions, behind keys and values of those before. */
    const run = async (layer: number, x: Float32Array, past?: Record<'keys' | 'values', Value>) => {
      const count = x.length / config.hidden;
      const context = contextValues(config, count, past ? before : 0, layer);
      const given: Values = { ...context, ...past, x: { data: x, shape: [count, config.hidden] } };
      const program = await runtime.program(
        (inputs) => {
          const { x, cos, sin, mask, keys, values, ...own } = inputs as Readonly<Record<string, tf.Tensor>>;
          const behind = keys && values ? { past: { keys, values } } : {};
          const result = block(x as tf.Tensor, own, { cos, sin, mask } as BlockContext, config, behind);
          return { y: result.x, newKeys: result.keys, newValues: result.values };
        },
        { ...specsOf(given), ...layerShapes(weights, layer) },
      );
      const { y, newKeys, newValues } = await program.run({ ...given, ...(await readLayer(weights, layer)) });
      await program.release();
      return { y: y.data as Float32Array, past: { keys: newKeys, values: newValues } };
    };
    const own = decoder();
    let x = await own.embed(tokens);
    for (let layer = 0; layer < config.layers; layer++) {
      const [first, rest] = [x.subarray(0, before * config.hidden), x.subarray(before * config.hidden)];
      const { y, past } = await run(layer, first);
      const { y: behind } = await run(layer, rest, past);
      x = await own.block(layer, x);
      expect(relativeError(Float32Array.of(...y, ...behind), x)).toBeLessThan(1e-5);
    }
    await own.release();
  });
});

describe('attention that slides', () => {
  const sliding = names.filter((name) => load(name).config.sliding);

  test('is that of some cases', () => {
    expect(sliding).toEqual(['gemma2', 'gemma3', 'gemma3-linear-rope', 'mistral', 'qwen2-window', 'gemma3-v5']);
  });

  test.each(sliding)('of %s takes queries in chunks as all at once', async (name) => {
    const { texts, decoder } = load(name);
    const hidden = (queryChunk: number) => decoder({ queryChunk }).hidden(texts[0] as Int32Array);
    const whole = await hidden(0);
    for (const chunk of [1, 5, 8, 16]) expect(relativeError(await hidden(chunk), whole)).toBeLessThan(1e-5);
  });

  test('reaches as far back as the windows of all layers together', async () => {
    const { config, texts, decoder } = load('mistral');
    const tokens = texts[0] as Int32Array;
    const changed = tokens.with(0, ((tokens[0] as number) + 1) % config.vocab);
    const [a, b] = [await decoder().hidden(tokens), await decoder().hidden(changed)];
    const moved = (t: number) => relativeError(rowOf(a, t), rowOf(b, t)) > 0;
    const rowOf = (x: Float32Array, t: number) => x.subarray(t * config.hidden, (t + 1) * config.hidden);
    const last = tokens.findLastIndex((_, t) => moved(t));
    expect(last).toBe(config.layers * ((config.sliding?.window as number) - 1));
  });
});

describe('absent keys mean what transformers fills in', () => {
  const pairs = json('defaults.json') as readonly { given: Record<string, unknown>; full: object }[];

  test.each(pairs.map(({ given, full }) => [Object.values(given).slice(0, -5).join(' '), given, full] as const))(
    '%s',
    (_, given, full) => {
      expect(parseConfig(given)).toEqual(parseConfig(full));
    },
  );
});
