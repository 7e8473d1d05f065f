/** What learned parameters mean: the same in the graph that trains and in the numbers that are stored. */
import { quantizeAs } from '@mobilequant/core';
import { encodingFromRange, type QuantizerSpec, type Range, rangesOf } from '@mobilequant/quantizer';
import type { Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { normal, tinyConfig } from '../test/tiny-layer.ts';
import {
  availablePairs,
  clippingRange,
  initialLearnables,
  type LayerLearnables,
  type LearningTargets,
  learnedRange,
  learningTap,
  liftSmallScales,
  parameterGroup,
  transformOf,
} from './learnables.ts';

const grouped = tinyConfig({ hidden: 8, ffn: 12, heads: 4, kvHeads: 2, headDim: 4 });
const full = tinyConfig({ hidden: 8, ffn: 12, heads: 4, kvHeads: 4, headDim: 4 });
const pairs = ['qkv', 'out', 'qkt', 'fc1', 'fc2'] as const;
const targets: LearningTargets = { pairs, shifts: false, clipping: true, ranges: true };
const tensor = { kind: 'tensor' } as const;
const CONVENTIONS = ['reference', 'exact'] as const;

const SITE = 'mlp.w2.output';
const WEIGHT = 'mlp.w2.weight';

function learnablesOf(
  conventions: (typeof CONVENTIONS)[number],
  spec: QuantizerSpec,
  range: Range = { min: -1.5, max: 2.25 },
): LayerLearnables {
  return initialLearnables({ [WEIGHT]: [8, 12] }, new Map([[SITE, range]]), {
    config: grouped,
    conventions,
    targets,
    resolve: () => spec,
  });
}

const tensorsOf = ({ parameters, constants }: LayerLearnables): Record<string, tf.Tensor> =>
  Object.fromEntries(
    Object.entries({ ...parameters, ...constants }).map(([name, { data, shape }]) => [
      name,
      tf.tensor(data as Float32Array, [...shape]),
    ]),
  );

beforeAll(async () => {
  await tf.setBackend('cpu');
});

describe.each(CONVENTIONS)('activation ranges, %s', (conventions) => {
  const x = Float32Array.from({ length: 200 }, (_, i) => (i - 100) / 30);
  const cases = [
    { symmetric: false, bits: 8 },
    { symmetric: true, bits: 8 },
    { symmetric: false, bits: 16 },
  ].map((own): QuantizerSpec => ({ ...own, granularity: tensor }));

  test.each(cases)('are stored as they were trained: symmetric $symmetric, $bits bits', (spec) => {
    const learnables = learnablesOf(conventions, spec);
    for (const [name, { data }] of Object.entries(learnables.parameters)) {
      if (/\.(low|high)$/.test(name)) data[0] = name.endsWith('low') ? 0.2 : -0.3;
      else if (name === `${SITE}.scale`) data[0] = 0.9 * (data[0] as number);
      else if (name === `${SITE}.offset`) data[0] = (data[0] as number) + 3;
    }
    const tap = learningTap(tensorsOf(learnables), { resolve: () => spec, conventions, targets });
    const trained = tap.activation(SITE, tf.tensor1d(x)).dataSync();

    const range = learnedRange(SITE, spec, learnables) as Range;
    const { encoding } = encodingFromRange(range, spec, { site: SITE });
    const offset = tf.scalar(encoding.zeroPoint[0] as number);
    const stored = quantizeAs(spec, tf.tensor1d(x), tf.scalar(encoding.scale[0] as number), offset).dataSync();
    const step = encoding.scale[0] as number;
    trained.forEach((v, i) => expect(Math.abs(v - (stored[i] as number))).toBeLessThan(1e-3 * step + 1e-6));
    expect(Math.max(...trained.map(Math.abs))).toBeLessThan(3); // something is clipped
  });

  test('start as the calibrated ones', () => {
    const spec: QuantizerSpec = { bits: 8, symmetric: false, granularity: tensor };
    const range = learnedRange(SITE, spec, learnablesOf(conventions, spec)) as Range;
    const { encoding } = encodingFromRange({ min: -1.5, max: 2.25 }, spec, { site: SITE });
    const learned = encodingFromRange(range, spec, { site: SITE }).encoding;
    expect(learned.zeroPoint).toEqual(encoding.zeroPoint);
    expect(learned.scale[0]).toBeCloseTo(encoding.scale[0] as number, 8);
  });

  test('are not of sites that nobody learned', () => {
    const spec: QuantizerSpec = { bits: 8, symmetric: false, granularity: tensor };
    expect(learnedRange('mlp.w1.output', spec, learnablesOf(conventions, spec))).toBeUndefined();
  });
});

test('a scale that learning took below 0 is refused by name', () => {
  const spec: QuantizerSpec = { bits: 8, symmetric: false, granularity: tensor };
  const learnables = learnablesOf('reference', spec);
  (learnables.parameters[`${SITE}.scale`] as Value).data[0] = -1;
  expect(() => learnedRange(SITE, spec, learnables)).toThrow(`${SITE}: expected a learned scale above 0, got -1.`);
});

test.each([-2.7, 2.5, 257.2])('a zero point learned to be %d is stored as it was trained', (offset) => {
  const spec: QuantizerSpec = { bits: 8, symmetric: false, granularity: tensor };
  const learnables = learnablesOf('reference', spec);
  (learnables.parameters[`${SITE}.offset`] as Value).data[0] = offset;
  const x = tf.linspace(-4, 4, 301);
  const trained = learningTap(tensorsOf(learnables), { resolve: () => spec, conventions: 'reference', targets });
  const { encoding } = encodingFromRange(learnedRange(SITE, spec, learnables) as Range, spec, { site: SITE });
  const [scale, zero] = [encoding.scale[0] as number, encoding.zeroPoint[0] as number];
  const stored = quantizeAs(spec, x, tf.scalar(scale), tf.scalar(zero)).dataSync();
  trained
    .activation(SITE, x)
    .dataSync()
    .forEach((v, i) => expect(v).toBeCloseTo(stored[i] as number, 5));
});

test('exact ranges hold zero whatever is learned', () => {
  const spec: QuantizerSpec = { bits: 8, symmetric: false, granularity: tensor };
  const learnables = learnablesOf('exact', spec, { min: 0.5, max: 2 });
  for (const { data } of Object.values(learnables.parameters)) data[0] = -3;
  const { min, max } = learnedRange(SITE, spec, learnables) as Range;
  expect(min + 0).toBe(0);
  expect(max).toBeCloseTo(2 * Math.exp(-3), 6);
});

describe('clippingRange', () => {
  const next = normal(2);
  const w = Float32Array.from({ length: 96 }, next);
  const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
  const granularities = [tensor, { kind: 'channel' }, { kind: 'group', size: 4 }] as const;

  describe.each(CONVENTIONS)('%s', (conventions) => {
    test.each(granularities)('keeps the learned share of each $kind', (granularity) => {
      for (const symmetric of [false, true]) {
        const spec: QuantizerSpec = { bits: 4, symmetric, granularity };
        const learnables = learnablesOf(conventions, spec);
        const upper = learnables.parameters[`${WEIGHT}.upper`]?.data as Float32Array;
        const lower = learnables.parameters[`${WEIGHT}.lower`]?.data as Float32Array | undefined;
        expect(lower === undefined).toBe(conventions === 'exact' && symmetric);
        upper.forEach((_, g) => (upper[g] = 0.3 * g - 1));
        lower?.forEach((_, g) => (lower[g] = 1 - 0.2 * g));
        const got = clippingRange(WEIGHT, tf.tensor2d(w, [8, 12]), spec, tensorsOf(learnables), conventions);
        const all = rangesOf(w, [8, 12], granularity, { site: WEIGHT });
        const [min, max] = [got.min.dataSync(), got.max.dataSync()];
        expect(max).toHaveLength(all.max.length);
        all.max.forEach((largest, g) => {
          const smallest = all.min[g] as number;
          const [up, down] = [sigmoid(upper[g] as number), sigmoid((lower?.[g] ?? 0) as number)];
          const whole = up * Math.max(largest, -smallest);
          const [low, high] = lower === undefined ? [-whole, whole] : [down * smallest, up * largest];
          const exactly = conventions === 'exact' ? [Math.min(low, 0), Math.max(high, 0)] : [low, high];
          expect(min[g]).toBeCloseTo(exactly[0] as number, 5);
          expect(max[g]).toBeCloseTo(exactly[1] as number, 5);
        });
      }
    });
  });
});

describe('transformations', () => {
  const spec: QuantizerSpec = { bits: 8, symmetric: true, granularity: tensor };

  test.each(CONVENTIONS)('start as none, %s', (conventions) => {
    const transform = transformOf(tensorsOf(learnablesOf(conventions, spec)), conventions);
    for (const pair of ['qkv', 'fc1', 'fc2'] as const)
      expect(transform[pair]?.scale.dataSync().every((s) => s === 1)).toBe(true);
    expect(transform.out === undefined).toBe(conventions === 'reference'); // grouped heads
  });

  test('exact ones are shared where the function wants it: one scale a rotary pair, one a channel of a key head', () => {
    const { parameters } = learnablesOf('exact', spec);
    expect(parameters['qkt.scale']?.shape).toEqual([2 * (4 / 2)]);
    expect(parameters['out.scale']?.shape).toEqual([2 * 4]);
  });

  test('shifts are learned where they are exact; the reference shifts through the gate too', () => {
    const shifted = (conventions: (typeof CONVENTIONS)[number]) =>
      Object.keys(
        initialLearnables({}, new Map(), {
          config: full,
          conventions,
          targets: { ...targets, shifts: true },
          resolve: () => spec,
        }).parameters,
      ).filter((name) => name.endsWith('.shift'));
    expect(shifted('exact')).toEqual(['qkv.shift', 'out.shift', 'fc1.shift']);
    expect(shifted('reference')).toEqual(['qkv.shift', 'out.shift', 'fc1.shift', 'fc2.shift']);
  });

  test('the reference leaves out what grouped heads would have to share', () => {
    expect(availablePairs(pairs, grouped, 'reference')).toEqual(['qkv', 'fc1', 'fc2']);
    expect(availablePairs(pairs, full, 'reference')).toEqual(pairs);
    expect(availablePairs(['fc1', 'qkt'], grouped, 'exact')).toEqual(['qkt', 'fc1']);
  });

  test('scales near zero are lifted to 0.01 and keep their sign; nothing else moves', () => {
    const value = (...data: number[]) => ({ data: Float32Array.from(data), shape: [data.length] });
    const parameters = { 'qkv.scale': value(0.001, -0.005, 0.5, 0), [`${SITE}.scale`]: value(0.001) };
    liftSmallScales(parameters);
    expect(parameters['qkv.scale'].data).toEqual(Float32Array.of(0.01, -0.01, 0.5, 0));
    expect(parameters[`${SITE}.scale`]?.data).toEqual(Float32Array.of(0.001));
  });
});

test('every parameter is of one group', () => {
  const spec: QuantizerSpec = { bits: 8, symmetric: false, granularity: { kind: 'channel' } };
  const groups = CONVENTIONS.flatMap((conventions) =>
    Object.keys(learnablesOf(conventions, spec).parameters).map((name) => `${parameterGroup(name)} ${name}`),
  );
  expect([...new Set(groups)].sort()).toMatchInlineSnapshot(`
    [
      "let fc1.scale",
      "let fc2.scale",
      "let out.scale",
      "let qkt.scale",
      "let qkv.scale",
      "lrl mlp.w2.output.high",
      "lrl mlp.w2.output.low",
      "lrl mlp.w2.output.offset",
      "lrl mlp.w2.output.scale",
      "lwc mlp.w2.weight.lower",
      "lwc mlp.w2.weight.upper",
    ]
  `);
});
