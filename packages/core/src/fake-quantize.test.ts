/** The tensor version of fake quantization against the plain one of the quantizer: the same arithmetic, element by element. */
import {
  encodingFromRanges,
  fakeQuantizeGradient,
  type Granularity,
  fakeQuantize as plain,
  type QuantizerSpec,
  rangesOf,
} from '@mobilequant/quantizer';
import { type Runtime, trace } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import './fake-quantize.lowering.ts';
import type { FakeQuantizeAttributes } from './fake-quantize.ts';
import { quantizeAs } from './quantize-as.ts';
import { scaleShape } from './reading.ts';

const runtime: Runtime = nodeRuntime();
const shape = [6, 64];
let state = 9;
const uniform = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
const x = Float32Array.from({ length: 6 * 64 }, (_, i) => normal() * (1 + Math.floor(i / 64)) + 0.3);
const dy = Float32Array.from({ length: x.length }, normal);

const positiveZero = (v: number) => v + 0;

beforeAll(async () => {
  await tf.setBackend('cpu');
});

type Results = Record<'y' | 'dx' | 'dscale' | 'doffset', Float32Array>;

async function run(
  how: 'eager' | 'traced',
  spec: QuantizerSpec,
  scale: Float32Array,
  offset: Float32Array,
  attributes: Partial<FakeQuantizeAttributes>,
): Promise<Results> {
  const fn = (inputs: Record<string, tf.Tensor>): Record<string, tf.Tensor> => {
    const f = (x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) => quantizeAs(spec, x, scale, offset, attributes);
    const at = [inputs['x'], inputs['scale'], inputs['offset']] as [tf.Tensor, tf.Tensor, tf.Tensor];
    const [dx, dscale, doffset] = tf.grads(f as (...xs: tf.Tensor[]) => tf.Tensor)(at, inputs['dy'] as tf.Tensor) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    return { y: f(...at), dx, dscale, doffset };
  };
  const column = scaleShape(scale.length);
  const values = {
    x: { data: x, shape },
    dy: { data: dy, shape },
    scale: { data: scale, shape: column },
    offset: { data: offset, shape: column },
  };
  if (how === 'traced') {
    const program = await runtime.compile(trace(fn, { x: shape, dy: shape, scale: column, offset: column }));
    const results = await program.run(values);
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data])) as Results;
  }
  const tensors = Object.fromEntries(Object.entries(values).map(([name, v]) => [name, tf.tensor(v.data, v.shape)]));
  return Object.fromEntries(Object.entries(fn(tensors)).map(([name, t]) => [name, t.dataSync()])) as Results;
}

const GRANULARITIES: readonly Granularity[] = [{ kind: 'tensor' }, { kind: 'channel' }, { kind: 'group', size: 16 }];
const CASES = [2, 3, 4, 5, 8, 10, 16].flatMap((bits) =>
  [true, false].flatMap((symmetric) =>
    GRANULARITIES.map((granularity): QuantizerSpec => ({ bits, symmetric, granularity })),
  ),
);

describe.each(['eager', 'traced'] as const)('%s fake quantization equals the plain one', (how) => {
  test.each(CASES)('$bits bits, symmetric $symmetric, $granularity.kind', async (spec) => {
    const ranges = rangesOf(x, shape, spec.granularity, { site: 'x' });
    const narrow = { min: ranges.min.map((v) => 0.6 * v), max: ranges.max.map((v) => 0.6 * v) };
    const { encoding } = encodingFromRanges(narrow, spec, { site: 'x' });
    const offset = Float32Array.from(encoding.zeroPoint);
    const want = fakeQuantizeGradient(x, dy, encoding);
    const y = plain(x, encoding);
    expect(want.x.includes(0)).toBe(true); // something clips
    for (const signed of [false, true]) {
      const got = await run(how, spec, encoding.scale, offset, { signed });
      expect(got.y.map(positiveZero)).toEqual(y.map(positiveZero));
      expect(got.dx.map(positiveZero)).toEqual(want.x.map(positiveZero));
      for (const [name, sums] of [
        ['dscale', want.scale],
        ['doffset', want.offset],
      ] as const) {
        // Sums of as many terms as a group has, of the size of what is summed: levels for the scale.
        const terms = name === 'dscale' ? 2 ** spec.bits : (encoding.scale[0] as number);
        sums.forEach((v, i) =>
          expect(Math.abs((got[name][i] as number) - v), `${name}[${i}]`).toBeLessThan(
            1e-5 * Math.max(Math.abs(v), terms),
          ),
        );
      }
    }
  });
});

test('a fixed range passes the gradient and learns nothing', async () => {
  for (const how of ['eager', 'traced'] as const) {
    const got = await run(
      how,
      { bits: 8, symmetric: false, granularity: { kind: 'tensor' } },
      Float32Array.of(0.01),
      Float32Array.of(100),
      { fixed: true },
    );
    expect([...got.dx]).toEqual([...dy]);
    expect([got.dscale[0], got.doffset[0]].map((v) => (v as number) + 0)).toEqual([0, 0]);
  }
});

test('a free offset may lie outside the grid, as the reference has it for norm weights', async () => {
  for (const how of ['eager', 'traced'] as const) {
    const spec: QuantizerSpec = { bits: 16, symmetric: false, granularity: { kind: 'tensor' } };
    const grid = { scale: Float32Array.of(0.0001), offset: Float32Array.of(-9000), qmin: 0, qmax: 65535 };
    const got = await run(how, spec, grid.scale, grid.offset, { freeOffset: true });
    expect([...got.y]).toEqual([...plain(x, grid)]);
    expect(Math.min(...got.y)).toBeGreaterThan(0.89);
  }
});
