import { type Encoding, encodingFromRanges, type QuantizerSpec, quantize, rangesOf } from '@mobilequant/quantizer';
import { programCache } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { normal } from '../test/tiny-layer.ts';
import { type Moves, movedBy, movedLevels, noMoves } from './learned-rounding.ts';

const [ROWS, COLUMNS, RANK] = [6, 20, 3];

const numbers = (count: number, seed: number): Float32Array => {
  const next = normal(seed);
  return Float32Array.from({ length: count }, next);
};

const specs: [string, QuantizerSpec][] = [
  ['per tensor', { bits: 8, symmetric: false, granularity: { kind: 'tensor' } }],
  ['per channel', { bits: 4, symmetric: true, granularity: { kind: 'channel' } }],
  ['in groups', { bits: 4, symmetric: false, granularity: { kind: 'group', size: 10 } }],
  ['in 16 bits', { bits: 16, symmetric: true, granularity: { kind: 'channel' } }],
];

describe.each(specs)('%s', (_, spec) => {
  const w = numbers(ROWS * COLUMNS, 1);
  const shape = [ROWS, COLUMNS];
  const { encoding } = encodingFromRanges(rangesOf(w, shape, spec.granularity), spec);
  const stepOf = ({ scale }: Encoding, i: number) => scale[Math.floor((i * scale.length) / w.length)] as number;
  const moves: Moves = { up: numbers(ROWS * RANK, 2), down: numbers(RANK * COLUMNS, 3) };
  const at = (i: number): number => {
    let sum = 0;
    for (let r = 0; r < RANK; r++)
      sum +=
        (moves.up[Math.floor(i / COLUMNS) * RANK + r] as number) * (moves.down[r * COLUMNS + (i % COLUMNS)] as number);
    return sum / Math.sqrt(RANK);
  };

  test('integers are those of the weight and so many steps more', async () => {
    const levels = await movedLevels(programCache(nodeRuntime()), { data: w, shape }, encoding, moves);
    const slow = quantize(
      w.map((x, i) => x + at(i) * stepOf(encoding, i)),
      encoding,
      { signed: true },
    );
    expect(levels).toEqual(slow);
    expect(levels).not.toEqual(quantize(w, encoding, { signed: true }));
  });

  test('at first they are those of the weight', async () => {
    const levels = await movedLevels(
      programCache(nodeRuntime()),
      { data: w, shape },
      encoding,
      noMoves([ROWS, COLUMNS], RANK, 5),
    );
    expect(levels).toEqual(quantize(w, encoding, { signed: true }));
  });

  test('the gradient is that of the sum before its rounding', () => {
    const groups = encoding.scale.length;
    const scale = groups === 1 ? tf.scalar(encoding.scale[0] as number) : tf.tensor2d(encoding.scale, [groups, 1]);
    const [weight, up, down] = [
      tf.tensor2d(w, [ROWS, COLUMNS]),
      tf.tensor2d(moves.up, [ROWS, RANK]),
      tf.tensor2d(moves.down, [RANK, COLUMNS]),
    ] as const;
    const loss = (x: tf.Tensor) => tf.sum(tf.mul(x, tf.tensor2d(numbers(ROWS * COLUMNS, 4), [ROWS, COLUMNS])));
    const unrounded = (x: tf.Tensor, u: tf.Tensor, d: tf.Tensor) => {
      const steps = tf.div(tf.matMul(u as tf.Tensor2D, d as tf.Tensor2D), Math.sqrt(RANK));
      return tf.add(x, tf.reshape(tf.mul(tf.reshape(steps, [groups, -1]), scale), x.shape));
    };
    const gradients = (f: (x: tf.Tensor, u: tf.Tensor, d: tf.Tensor) => tf.Tensor) =>
      tf
        .grads((x, u, d) => loss(f(x as tf.Tensor, u as tf.Tensor, d as tf.Tensor)))([weight, up, down])
        .map((g) => [...g.dataSync()]);
    const got = gradients((x, u, d) => movedBy(x, scale, u, d));
    for (const [i, wanted] of gradients(unrounded).entries())
      for (const [j, g] of wanted.entries()) expect(got[i]?.[j]).toBeCloseTo(g, 4);
    expect([...movedBy(weight, scale, up, down).dataSync()]).toEqual([...w]);
  });
});
