/**
 * Matrix products. Transposed operands are flags of Gemm (2-D) and FusedMatMul (n-D): no Transpose node is written.
 */
import * as tf from '@tensorflow/tfjs';
import { lower } from '../backend.ts';
import { MICROSOFT, type Operand, type Recorder, sizeOf } from '../recorder.ts';

export interface Transposed {
  readonly transA?: boolean;
  readonly transB?: boolean;
}

/** a · b over the last two axes, either operand transposed on request. */
export function product(
  recorder: Recorder,
  a: Operand,
  b: Operand,
  { transA = false, transB = false }: Transposed = {},
): Operand {
  const batch = tf.backend_util.assertAndGetBroadcastShape([...a.shape.slice(0, -2)], [...b.shape.slice(0, -2)]);
  const rows = a.shape.at(transA ? -1 : -2) as number;
  const columns = b.shape.at(transB ? -2 : -1) as number;
  const shape = [...batch, rows, columns];
  const attributes = { ...(transA && { transA: 1 }), ...(transB && { transB: 1 }) };
  if (shape.length === 2) return recorder.emit('Gemm', [a, b], shape, 'float32', { attributes });
  if (transA || transB)
    return recorder.emit('FusedMatMul', [a, b], shape, 'float32', { attributes, domain: MICROSOFT });
  return recorder.emit('MatMul', [a, b], shape, 'float32');
}

lower<'a' | 'b', { transposeA: boolean; transposeB: boolean }>(
  'BatchMatMul',
  (recorder, { a, b }, { transposeA, transposeB }) =>
    product(recorder, a, b, { transA: transposeA, transB: transposeB }),
);

/** Σ a·b over each row of `[rows, columns]` → `[rows, 1]`: one pass, no product stored. */
export function rowDot(recorder: Recorder, a: Operand, b: Operand, rows: number, columns: number): Operand {
  const shape = [rows, 1, columns];
  const sums = product(recorder, recorder.reshape(a, shape), recorder.reshape(b, shape), { transB: true });
  return recorder.reshape(sums, [rows, 1]);
}

/** Σ a·b over everything → scalar. In 64 rows, so that every thread has some and float32 sums stay exact to 1e-8. */
export function fullDot(recorder: Recorder, a: Operand, b: Operand): Operand {
  const size = sizeOf(a.shape);
  const rows = size % 64 === 0 ? 64 : 1;
  const sums = rowDot(recorder, a, b, rows, size / rows);
  return recorder.emit('ReduceSum', [sums, recorder.ints([0, 1])], [], 'float32', { attributes: { keepdims: 0 } });
}
