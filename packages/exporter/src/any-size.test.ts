import { type Graph, printGraph } from '@mobilequant/graph';
import { trace } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { anySize } from './any-size.ts';

type F = (x: tf.Tensor) => tf.Tensor;
const both = (shape: (rows: number) => number[], f: F) =>
  [11, 13].map((rows) => trace(({ x }) => ({ y: f(x) }), { x: shape(rows) })) as [Graph, Graph];

test('shapes say 0 for a dimension that stays in its place, -1 for one that moved, and slices go to the end', () => {
  const f: F = (x) => {
    const rows = x.shape[0] as number;
    const heads = tf.reshape(x, [rows, 2, 3]);
    return tf.reshape(tf.slice(tf.transpose(heads, [1, 0, 2]), [0, 2, 0], [2, rows - 2, 3]), [-1, 3]);
  };
  expect(printGraph(anySize(...both((rows) => [rows, 6], f)))).toMatchInlineSnapshot(`
    "graph graph
    input x: float32[?, 6]
    c3: int64[1] = [2]
    c5: int64[1] = [1]
    list.0_2_3: int64[3] = [0, 2, 3]
    list.2147483647: int64[1] = [2147483647]
    list.-1_3: int64[2] = [-1, 3]
    t1: float32[?, 2, 3] = Reshape(x, list.0_2_3)
    t2: float32[2, ?, 3] = Transpose(t1) {perm: [1, 0, 2]}
    t6: float32[2, ?, 3] = Slice(t2, c3, list.2147483647, c5)
    t8: float32[?, 3] = Reshape(t6, list.-1_3)
    y: float32[?, 3] = Identity(t8)
    output y: float32[?, 3]
    "
  `);
});

test('what depends on sizes in any other way is refused by its name', () => {
  const halves: F = (x) => tf.slice(x, [0, 0], [((x.shape[0] as number) - 1) / 2, 6]);
  expect(() => anySize(...both((rows) => [rows, 6], halves))).toThrow('a slice to the end of its input');
  const tiled: F = (x) => tf.tile(tf.slice(x, [0, 0], [1, 6]), [x.shape[0] as number, 1]);
  expect(() => anySize(...both((rows) => [rows, 6], tiled))).toThrow('Tile of a shape');
  const scaled: F = (x) => tf.mul(x, x.shape[0] as number);
  expect(() => anySize(...both((rows) => [rows, 6], scaled))).toThrow('a constant that is the same at all sizes');
  const [a, b] = both(
    (rows) => [rows, 6],
    (x) => tf.tanh(x),
  );
  const other = { ...b, nodes: b.nodes.map((node) => ({ ...node, op: 'Erf' })) };
  expect(() => anySize(a, other)).toThrow('the same nodes at all sizes');
});
