/**
 * Reductions, softmaxes and searches along an axis.
 */
import * as tf from '@tensorflow/tfjs';
import { lower } from '../backend.ts';
import type { Operand } from '../recorder.ts';

interface ReduceAttributes {
  readonly axis?: number | number[];
  /** tfjs's name for the axis in Max alone. */
  readonly reductionIndices?: number | number[];
  readonly keepDims: boolean;
}

function reduce(kernel: string, op: string): void {
  lower<'x', ReduceAttributes>(kernel, (recorder, { x }, { axis, reductionIndices, keepDims }) => {
    const axes = tf.util.parseAxisParam((reductionIndices ?? axis) as number[], [...x.shape]);
    const shape = keepDims
      ? x.shape.map((d, i) => (axes.includes(i) ? 1 : d))
      : x.shape.filter((_, i) => !axes.includes(i));
    const longer = axes.filter((i) => x.shape[i] !== 1);
    if (longer.length === 0) return recorder.reshape(x, shape);
    const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
    const reduced = recorder.emit(op, [x, recorder.ints(longer)], kept, x.type, { attributes: { keepdims: 1 } });
    return recorder.reshape(reduced, shape);
  });
}

// biome-ignore format: a table
for (const [kernel, op] of [
  ['Sum', 'ReduceSum'], ['Mean', 'ReduceMean'], ['Max', 'ReduceMax'], ['Min', 'ReduceMin'], ['Prod', 'ReduceProd'],
] as const) reduce(kernel, op);

lower<'logits', { dim: number }>('Softmax', (recorder, { logits }, { dim }) =>
  recorder.emit('Softmax', [logits], logits.shape, 'float32', { attributes: { axis: dim } }),
);
lower<'logits', { axis: number }>('LogSoftmax', (recorder, { logits }, { axis }) =>
  recorder.emit('LogSoftmax', [logits], logits.shape, 'float32', { attributes: { axis } }),
);

lower<'x', { axis: number }>('ArgMax', (recorder, { x }, { axis }) => {
  const at = tf.util.parseAxisParam(axis, [...x.shape])[0] as number;
  const shape = x.shape.filter((_, i) => i !== at);
  const index = recorder.emit('ArgMax', [x], shape, 'int64', { attributes: { axis: at, keepdims: 0 } });
  return recorder.cast(index, 'int32');
});

lower<'x', { k: number; sorted: boolean }>('TopK', (recorder, { x }, { k, sorted }) => {
  const shape = [...x.shape.slice(0, -1), k];
  const [values, indices] = recorder.emitMany(
    'TopK',
    [x, recorder.ints([k])],
    [
      { shape, type: x.type },
      { shape, type: 'int64' },
    ],
    { attributes: { axis: -1, sorted: sorted ? 1 : 0 } },
  ) as [Operand, Operand];
  return [values, recorder.cast(indices, 'int32')];
});
