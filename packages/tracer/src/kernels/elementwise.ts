/**
 * Element-wise kernels. Operands filled with one known number fold away: gradients of sums multiply by ones,
 * gradients of constants by zeros, and neither should cost a pass.
 */

import type { ElementType } from '@mobilequant/graph';
import * as tf from '@tensorflow/tfjs';
import { lower } from '../backend.ts';
import { numberType, type Operand, type Recorder, sameShape } from '../recorder.ts';

const broadcast = (a: Operand, b: Operand): number[] =>
  tf.backend_util.assertAndGetBroadcastShape([...a.shape], [...b.shape]);

/** The operand itself where its repetition over `shape` is what the other operand's broadcasting does anyway. */
function unspread(recorder: Recorder, operand: Operand, other: Operand, shape: readonly number[]): Operand {
  return (sameShape(other.shape, shape) && recorder.spreadOf(operand)) || operand;
}

const FOLD: Record<string, (a: number, b: number) => number> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
};
const RIGHT_IDENTITY: Record<string, number> = { Add: 0, Sub: 0, Mul: 1, Div: 1 };
const LEFT_IDENTITY: Record<string, number> = { Add: 0, Mul: 1 };

function binary(kernel: string, op: string, type?: ElementType): void {
  lower<'a' | 'b'>(kernel, (recorder, inputs) => {
    const shape = broadcast(inputs.a, inputs.b);
    let a = unspread(recorder, inputs.a, inputs.b, shape);
    let b = unspread(recorder, inputs.b, inputs.a, shape);
    const [all, each] = [recorder.splatOf(a), recorder.splatOf(b)];
    const fold = FOLD[op];
    if (fold && all !== undefined && each !== undefined) return recorder.fill(fold(all, each), shape);
    if (fold && each !== undefined) {
      if (each === RIGHT_IDENTITY[op]) return recorder.spread(a, shape);
      if (each === 0 && op === 'Mul') return recorder.fill(0, shape);
      if (sameShape(a.shape, shape)) b = recorder.scalar(each);
    } else if (fold && all !== undefined) {
      if (all === LEFT_IDENTITY[op]) return recorder.spread(b, shape);
      if (all === 0 && op === 'Mul') return recorder.fill(0, shape);
      if (sameShape(b.shape, shape)) a = recorder.scalar(all);
    }
    return recorder.emit(op, [a, b], shape, type ?? a.type);
  });
}

// biome-ignore format: a table
for (const [kernel, op] of [
  ['Add', 'Add'], ['Sub', 'Sub'], ['Multiply', 'Mul'], ['RealDiv', 'Div'],
  ['Maximum', 'Max'], ['Minimum', 'Min'], ['Pow', 'Pow'],
] as const) binary(kernel, op);

// biome-ignore format: a table
for (const [kernel, op] of [
  ['Greater', 'Greater'], ['GreaterEqual', 'GreaterOrEqual'], ['Less', 'Less'], ['LessEqual', 'LessOrEqual'],
  ['Equal', 'Equal'], ['LogicalAnd', 'And'], ['LogicalOr', 'Or'],
] as const) binary(kernel, op, 'bool');

lower<'a' | 'b'>('NotEqual', (recorder, { a, b }) => {
  const shape = broadcast(a, b);
  return recorder.emit('Not', [recorder.emit('Equal', [a, b], shape, 'bool')], shape, 'bool');
});

// biome-ignore format: a table
for (const [kernel, op] of [
  ['Neg', 'Neg'], ['Abs', 'Abs'], ['Sqrt', 'Sqrt'], ['Exp', 'Exp'], ['Log', 'Log'], ['Sigmoid', 'Sigmoid'],
  ['Round', 'Round'], ['Floor', 'Floor'], ['Ceil', 'Ceil'], ['Reciprocal', 'Reciprocal'], ['Sign', 'Sign'],
  ['Erf', 'Erf'], ['Tanh', 'Tanh'], ['Relu', 'Relu'], ['Softplus', 'Softplus'], ['Sin', 'Sin'], ['Cos', 'Cos'],
  ['LogicalNot', 'Not'],
] as const) lower<'x'>(kernel, (recorder, { x }) => recorder.emit(op, [x], x.shape, x.type));

lower<'x'>('Identity', (_, { x }) => x);
lower<'x'>('Square', (recorder, { x }) => recorder.emit('Mul', [x, x], x.shape, x.type));
lower<'x'>('Rsqrt', (recorder, { x }) =>
  recorder.emit('Reciprocal', [recorder.emit('Sqrt', [x], x.shape, x.type)], x.shape, x.type),
);

lower<'a' | 'b'>('SquaredDifference', (recorder, { a, b }) => {
  const shape = broadcast(a, b);
  const difference = recorder.emit('Sub', [a, b], shape, a.type);
  return recorder.emit('Mul', [difference, difference], shape, a.type);
});

/** x > 0 ? 1 : alpha */
lower<'x', { alpha?: number }>('Step', (recorder, { x }, { alpha = 0 }) => {
  const zero = recorder.scalar(0, numberType(x));
  const positive = recorder.cast(recorder.emit('Greater', [x, zero], x.shape, 'bool'), 'float32');
  if (alpha === 0) return positive;
  const scaled = recorder.emit('Mul', [positive, recorder.scalar(1 - alpha)], x.shape, 'float32');
  return recorder.emit('Add', [scaled, recorder.scalar(alpha)], x.shape, 'float32');
});

lower<'x', { clipValueMin: number; clipValueMax: number }>(
  'ClipByValue',
  (recorder, { x }, { clipValueMin, clipValueMax }) => {
    const [least, most] = [clipValueMin, clipValueMax].map((end) => recorder.scalar(end, numberType(x)));
    return recorder.emit('Clip', [x, least as Operand, most as Operand], x.shape, x.type);
  },
);

lower<'x', { dtype: 'float32' | 'int32' | 'bool' }>('Cast', (recorder, { x }, { dtype }) => recorder.cast(x, dtype));

lower<'condition' | 't' | 'e'>('Select', (recorder, { condition, t, e }) =>
  recorder.emit('Where', [condition, t, e], t.shape, t.type),
);

lower('AddN', (recorder, inputs) => {
  const terms = Object.values(inputs);
  const first = terms[0] as Operand;
  return terms.length === 1 ? first : recorder.emit('Sum', terms, first.shape, first.type);
});
