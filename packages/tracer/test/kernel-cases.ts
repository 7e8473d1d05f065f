/**
 * The functions that must be traceable, forward and gradient: what decoders and losses are made of. One list for every runtime.
 * Not in it, since tfjs has no gradient for them: einsum, gatherND, and comparisons on the path from an input.
 */
import * as tf from '@tensorflow/tfjs';
import type { InputSpec } from '../src/trace.ts';

type Spec = readonly number[] | (InputSpec & { readonly below: number });
type Tensors = Record<string, tf.Tensor>;

export interface KernelCase {
  readonly name: string;
  readonly fn: (i: Tensors) => tf.Tensor;
  /** Shapes of float inputs; integer inputs say what they are below. */
  readonly inputs: Readonly<Record<string, Spec>>;
  /** Values between 0.5 and 1.5 instead of -1 and 1: for roots and logarithms. */
  readonly positive?: boolean;
  /** tfjs has no gradient for it, or it is zero everywhere. */
  readonly forwardOnly?: string;
}

const [T, D, V] = [6, 16, 20];
const x = { x: [T, D] };
const ids = { shape: [T], dtype: 'int32', below: V } as const;
const t = (inputs: Tensors, name = 'x'): tf.Tensor => inputs[name] as tf.Tensor;

const layerNorm = (i: Tensors): tf.Tensor => {
  const { mean, variance } = tf.moments(t(i), -1, true);
  return tf.add(tf.mul(tf.mul(tf.sub(t(i), mean), tf.rsqrt(tf.add(variance, 1e-5))), t(i, 'w')), t(i, 'b'));
};
const geluTanh = (v: tf.Tensor): tf.Tensor => {
  const inner = tf.mul(Math.sqrt(2 / Math.PI), tf.add(v, tf.mul(0.044715, tf.pow(v, 3))));
  return tf.mul(tf.mul(0.5, v), tf.add(1, tf.tanh(inner)));
};
const geluErf = (v: tf.Tensor): tf.Tensor => tf.mul(tf.mul(0.5, v), tf.add(1, tf.erf(tf.mul(v, Math.SQRT1_2))));
const partialRotary = (i: Tensors): tf.Tensor => {
  const turned = tf.slice(t(i), [0, 0], [-1, 4]);
  const [u, v] = tf.split(turned, 2, -1) as [tf.Tensor, tf.Tensor];
  const swapped = tf.mul(tf.concat([tf.neg(v), u], -1), t(i, 'sin'));
  return tf.concat([tf.add(tf.mul(turned, t(i, 'cos')), swapped), tf.slice(t(i), [0, 4], [-1, -1])], -1);
};
const checkered = () =>
  tf.tensor(
    Uint8Array.from({ length: T * D }, (_, i) => i % 2),
    [T, D],
    'bool',
  );
const causal = () =>
  tf.tensor2d(Array.from({ length: T }, (_, r) => Array.from({ length: D }, (_, c) => (c > r ? -40000 : 0))));

const unary = (name: string, fn: (v: tf.Tensor) => tf.Tensor, more: Partial<KernelCase> = {}): KernelCase => ({
  name,
  fn: (i) => fn(t(i)),
  inputs: x,
  ...more,
});

export const KERNEL_CASES: readonly KernelCase[] = [
  unary('sum, mean, max, min along an axis', (v) =>
    tf.concat([tf.sum(v, 1), tf.mean(v, 1), tf.max(v, 1), tf.min(v, 1)]),
  ),
  unary('reductions of everything', (v) => tf.stack([tf.sum(v), tf.mean(v), tf.max(v), tf.min(v)])),
  unary('product along an axis', (v) => tf.prod(v, 1), { forwardOnly: 'tfjs divides by the elements' }),
  unary('sqrt, rsqrt, log, reciprocal', (v) => tf.addN([tf.sqrt(v), tf.rsqrt(v), tf.log(v), tf.reciprocal(v)]), {
    positive: true,
  }),
  unary('exp, square, abs, neg', (v) => tf.addN([tf.exp(v), tf.square(v), tf.abs(v), tf.neg(v)])),
  unary('sigmoid, tanh, relu, softplus, sin, cos', (v) =>
    tf.addN([tf.sigmoid(v), tf.tanh(v), tf.relu(v), tf.softplus(v), tf.sin(v), tf.cos(v)]),
  ),
  unary(
    'round, floor, ceil, sign',
    (v) => tf.addN([tf.round(tf.mul(v, 7)), tf.floor(tf.mul(v, 7)), tf.ceil(tf.mul(v, 7)), tf.sign(v)]),
    { forwardOnly: 'zero everywhere' },
  ),
  unary('rounds halves to even', () => tf.round(tf.tensor1d([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])), {
    forwardOnly: 'zero everywhere',
  }),
  unary('gelu by tanh', geluTanh),
  unary('gelu by erf', geluErf),
  unary('silu', (v) => tf.mul(v, tf.sigmoid(v))),
  unary(
    'comparisons and logic',
    (v) => {
      const flags = [
        tf.greater(v, 0.1),
        tf.greaterEqual(v, 0.1),
        tf.less(v, 0.1),
        tf.lessEqual(v, 0.1),
        tf.equal(v, v),
        tf.notEqual(v, v),
      ];
      const both = tf.logicalOr(
        tf.logicalAnd(flags[0] as tf.Tensor, flags[3] as tf.Tensor),
        tf.logicalNot(flags[2] as tf.Tensor),
      );
      return tf.addN([...flags, both].map((flag) => tf.cast(flag, 'float32')));
    },
    { forwardOnly: 'zero everywhere' },
  ),
  { name: 'layer norm with bias', fn: layerNorm, inputs: { ...x, w: [D], b: [D] } },
  {
    name: 'broadcasting arithmetic',
    fn: (i) => tf.div(tf.sub(tf.mul(t(i), t(i, 'w')), t(i, 'c')), tf.add(tf.square(t(i, 'w')), 1)),
    inputs: { ...x, w: [D], c: [T, 1] },
  },
  {
    name: 'squared difference, pow',
    fn: (i) => tf.add(tf.squaredDifference(t(i), t(i, 'y')), tf.pow(t(i), 2)),
    inputs: { ...x, y: [T, D] },
  },
  { name: 'partial rotary: slice, split, concat, neg', fn: partialRotary, inputs: { ...x, cos: [T, 4], sin: [T, 4] } },
  unary('groups by tile and by broadcast', (v) =>
    tf.add(tf.tile(tf.expandDims(v, 1), [1, 3, 1]), tf.broadcastTo(tf.expandDims(v, 1), [T, 3, D])),
  ),
  unary('repeat by gather', (v) => tf.gather(v, tf.tensor1d([0, 0, 1, 1, 2, 2], 'int32'), 0)),
  unary('stack and unstack', (v) => tf.stack(tf.unstack(v, 0).reverse(), 0)),
  unary('pad', (v) =>
    tf.pad(
      v,
      [
        [1, 0],
        [0, 2],
      ],
      0.5,
    ),
  ),
  unary('transpose', (v) => tf.transpose(tf.reshape(v, [T, 4, 4]), [1, 0, 2])),
  unary('softmax under a mask', (v) => tf.softmax(tf.add(v, causal()), -1)),
  unary('where, clip, abs, maximum, minimum', (v) =>
    tf.where(checkered(), tf.clipByValue(v, -0.5, 0.5), tf.maximum(tf.abs(v), tf.minimum(v, 0.1))),
  ),
  unary('log-sum-exp, norm', (v) => tf.add(tf.logSumExp(v, -1), tf.norm(v, 'euclidean', -1))),
  unary('groups of a matrix by their largest', (v) =>
    tf.mul(tf.reshape(v, [T, 4, 4]), tf.max(tf.abs(tf.reshape(v, [T, 4, 4])), -1, true)),
  ),
  unary('arg max', (v) => tf.cast(tf.argMax(v, -1), 'float32'), { forwardOnly: 'an index' }),
  unary('largest few', (v) => tf.topk(v, 3).values, { forwardOnly: 'tfjs has none' }),
  {
    name: 'product of matrices',
    fn: (i) => tf.matMul(t(i) as tf.Tensor2D, t(i, 'W') as tf.Tensor2D),
    inputs: { ...x, W: [D, V] },
  },
  {
    name: 'product with a transposed matrix',
    fn: (i) => tf.matMul(t(i) as tf.Tensor2D, t(i, 'W') as tf.Tensor2D, false, true),
    inputs: { ...x, W: [V, D] },
  },
  {
    name: 'batched product, both transposed',
    fn: (i) => tf.matMul(t(i), t(i, 'y'), true, true),
    inputs: { x: [2, D, T], y: [2, 5, D] },
  },
  { name: 'look-up of rows', fn: (i) => tf.gather(t(i, 'W'), t(i, 'ids') as tf.Tensor1D), inputs: { W: [V, D], ids } },
  {
    name: 'integers: clipped, stepped, counted, one hot',
    fn: (i) => {
      const own = t(i, 'ids') as tf.Tensor1D;
      const clipped = tf.clipByValue(own, 2, 9);
      const counts = tf.unsortedSegmentSum(clipped, own, V);
      const hot = tf.gather(tf.transpose(tf.oneHot(own, V, 3, 1)), own);
      return tf.concat(
        [clipped, tf.step(tf.sub(own, 5)), counts, tf.reshape(hot, [-1])].map((one) => tf.cast(one, 'float32')),
      );
    },
    inputs: { ids },
    forwardOnly: 'integers',
  },
  {
    name: 'cross entropy by one hot',
    fn: (i) =>
      tf.neg(
        tf.mean(
          tf.sum(
            tf.mul(
              tf.oneHot(t(i, 'ids') as tf.Tensor1D, V),
              tf.logSoftmax(tf.matMul(t(i) as tf.Tensor2D, t(i, 'W') as tf.Tensor2D)),
            ),
            -1,
          ),
        ),
      ),
    inputs: { ...x, W: [D, V], ids },
  },
  { name: 'mean squared error', fn: (i) => tf.losses.meanSquaredError(t(i), t(i, 'y')), inputs: { ...x, y: [T, D] } },
];

/** What a case computes: its value, weighted so that a wrong element shows, and the gradient of each float input. */
export function withGradients({ fn, inputs, forwardOnly }: KernelCase): (given: Tensors) => Tensors {
  return (given) => {
    if (forwardOnly !== undefined) return { out: fn(given) };
    const names = Object.keys(inputs).filter((name) => Array.isArray(inputs[name]));
    const scalar = (...tensors: tf.Tensor[]): tf.Scalar => {
      const y = fn({ ...given, ...Object.fromEntries(names.map((name, i) => [name, tensors[i] as tf.Tensor])) });
      const weights = tf.tensor(
        Float32Array.from({ length: y.size }, (_, i) => 1 + Math.sin(i)),
        y.shape,
      );
      return tf.sum(tf.mul(y, weights));
    };
    const { value, grads } = tf.valueAndGrads(scalar)(names.map((name) => given[name] as tf.Tensor));
    return {
      out: fn(given),
      value,
      ...Object.fromEntries(names.map((name, i) => [`d:${name}`, grads[i] as tf.Tensor])),
    };
  };
}
