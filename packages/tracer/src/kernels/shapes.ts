/**
 * Kernels that move data: reshapes, transposes, slices, concatenations, look-ups, fills.
 */
import * as tf from '@tensorflow/tfjs';
import { lower } from '../backend.ts';
import { TraceError } from '../errors.ts';
import { numberType, type Operand, type Recorder } from '../recorder.ts';

const axisOf = (axis: number, shape: readonly number[]): number =>
  tf.util.parseAxisParam(axis, [...shape])[0] as number;
const replaced = (shape: readonly number[], axis: number, size: number): number[] =>
  shape.map((d, i) => (i === axis ? size : d));

/** Elements `begin … begin + size` of each axis. */
export function slice(recorder: Recorder, x: Operand, begin: readonly number[], size: readonly number[]): Operand {
  const axes = size.flatMap((d, i) => (d === x.shape[i] ? [] : [i]));
  if (axes.length === 0) return x;
  const starts = axes.map((i) => begin[i] as number);
  const ends = axes.map((i) => (begin[i] as number) + (size[i] as number));
  return recorder.emit('Slice', [x, recorder.ints(starts), recorder.ints(ends), recorder.ints(axes)], size, x.type);
}

lower<'x', { shape: number[] }>('Reshape', (recorder, { x }, { shape }) =>
  recorder.reshape(x, tf.util.inferFromImplicitShape(shape, tf.util.sizeFromShape([...x.shape]))),
);

lower<'input', { dim: number }>('ExpandDims', (recorder, { input }, { dim }) => {
  const shape = [...input.shape];
  shape.splice(dim < 0 ? dim + shape.length + 1 : dim, 0, 1);
  return recorder.reshape(input, shape);
});

lower<'x', { perm: number[] }>('Transpose', (recorder, { x }, { perm }) => {
  const shape = perm.map((axis) => x.shape[axis] as number);
  const moved = perm.filter((axis) => (x.shape[axis] as number) > 1);
  const inOrder = moved.every((axis, i) => i === 0 || axis > (moved[i - 1] as number));
  return inOrder
    ? recorder.reshape(x, shape)
    : recorder.emit('Transpose', [x], shape, x.type, { attributes: { perm } });
});

lower<'x', { begin: number[]; size: number[] }>('Slice', (recorder, { x }, { begin, size }) => {
  const [starts, sizes] = tf.slice_util.parseSliceParams({ shape: [...x.shape] } as tf.TensorInfo, begin, size);
  return slice(recorder, x, starts as number[], sizes as number[]);
});

lower<string, { axis: number }>('Concat', (recorder, inputs, { axis }) => {
  const parts = Object.values(inputs);
  const first = parts[0] as Operand;
  if (parts.length === 1) return first;
  const at = axisOf(axis, first.shape);
  const size = parts.reduce((sum, part) => sum + (part.shape[at] as number), 0);
  return recorder.emit('Concat', parts, replaced(first.shape, at, size), first.type, { attributes: { axis: at } });
});

lower<'x', { numOrSizeSplits: number | number[]; axis: number }>(
  'SplitV',
  (recorder, { x }, { numOrSizeSplits, axis }) => {
    const at = axisOf(axis, x.shape);
    const sizes = tf.backend_util.prepareSplitSize({ shape: [...x.shape] } as tf.Tensor, numOrSizeSplits, at);
    let start = 0;
    return sizes.map((size) => {
      const begin = x.shape.map((_, i) => (i === at ? start : 0));
      start += size;
      return slice(recorder, x, begin, replaced(x.shape, at, size));
    });
  },
);

lower<'value', { axis: number }>('Unpack', (recorder, { value }, { axis }) => {
  const at = axisOf(axis, value.shape);
  const shape = value.shape.filter((_, i) => i !== at);
  return Array.from({ length: value.shape[at] as number }, (_, index) => {
    const begin = value.shape.map((_, i) => (i === at ? index : 0));
    return recorder.reshape(slice(recorder, value, begin, replaced(value.shape, at, 1)), shape);
  });
});

lower<string, { axis: number }>('Pack', (recorder, inputs, { axis }) => {
  const parts = Object.values(inputs);
  const first = parts[0] as Operand;
  const at = axis < 0 ? axis + first.shape.length + 1 : axis;
  const one = [...first.shape];
  one.splice(at, 0, 1);
  const rows = parts.map((part) => recorder.reshape(part, one));
  return recorder.emit('Concat', rows, replaced(one, at, parts.length), first.type, { attributes: { axis: at } });
});

lower<'x', { paddings: [number, number][]; constantValue: number }>(
  'PadV2',
  (recorder, { x }, { paddings, constantValue }) => {
    const shape = x.shape.map((d, i) => d + (paddings[i]?.[0] ?? 0) + (paddings[i]?.[1] ?? 0));
    const pads = recorder.ints([...paddings.map((p) => p[0]), ...paddings.map((p) => p[1])]);
    const value = recorder.scalar(constantValue, numberType(x));
    return recorder.emit('Pad', [x, pads, value], shape, x.type);
  },
);

lower<'x', { reps: number[] }>('Tile', (recorder, { x }, { reps }) => {
  if (reps.every((count) => count === 1)) return x;
  const shape = x.shape.map((d, i) => d * (reps[i] as number));
  return recorder.emit('Tile', [x, recorder.ints(reps)], shape, x.type);
});

lower<'x' | 'indices', { axis: number; batchDims?: number }>(
  'GatherV2',
  (recorder, { x, indices }, { axis, batchDims = 0 }) => {
    if (batchDims !== 0)
      throw new TraceError(`trace: expected a gather without batchDims, got ${batchDims}. Gather each part by itself.`);
    const at = axisOf(axis, x.shape);
    const shape = [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)];
    return recorder.emit('Gather', [x, indices], shape, x.type, { attributes: { axis: at } });
  },
);

lower<'indices', { depth: number; onValue?: number; offValue?: number }>(
  'OneHot',
  (recorder, { indices }, { depth, onValue = 1, offValue = 0 }) => {
    const values = recorder.constant([offValue, onValue], [2]); // in float32 whatever was asked for: runtimes have no other
    const inputs = [indices, recorder.scalar(depth, 'int32'), values];
    return recorder.emit('OneHot', inputs, [...indices.shape, depth], 'float32', { attributes: { axis: -1 } });
  },
);

/** Rows of x added up by id: the gradient of a look-up. */
lower<'x' | 'segmentIds', { numSegments: number }>(
  'UnsortedSegmentSum',
  (recorder, { x, segmentIds }, { numSegments }) => {
    const shape = [numSegments, ...x.shape.slice(segmentIds.shape.length)];
    const ids = recorder.cast(recorder.reshape(segmentIds, [...segmentIds.shape, 1]), 'int64');
    return recorder.emit('ScatterND', [recorder.fill(0, shape, numberType(x)), ids, x], shape, x.type, {
      attributes: { reduction: 'add' },
    });
  },
);

type Filled = 'float32' | 'int32' | 'bool';

lower<never, { shape: number[]; value: number; dtype?: Filled }>('Fill', (recorder, _, { shape, value, dtype }) =>
  recorder.fill(value, shape, dtype ?? 'float32'),
);
lower<'x'>('ZerosLike', (recorder, { x }) => recorder.fill(0, x.shape, x.type as Filled));
lower<'x'>('OnesLike', (recorder, { x }) => recorder.fill(1, x.shape, x.type as Filled));
