/**
 * Half precision, for tensors that it holds without loss: checkpoints are often stored in 16 bits, and need no more.
 */
import type { Weights } from '@mobilequant/core';
import { float16BitsToFloat32, float32ToFloat16Bits } from '@mobilequant/graph';

const ROWS = 1024; // of a matrix, looked at together

/** Whether every element of a matrix is a float16. Reads a part at a time. */
async function isFloat16(weights: Weights, name: string): Promise<boolean> {
  const rows = weights.shape(name)[0] as number;
  for (let from = 0; from < rows; from += ROWS) {
    const some = Array.from({ length: Math.min(ROWS, rows - from) }, (_, i) => from + i);
    const values = await weights.readRows(name, some);
    const halves = float16BitsToFloat32(float32ToFloat16Bits(values));
    if (!values.every((value, i) => value === halves[i])) return false;
  }
  return true;
}

/** What a matrix is stored as: half precision where that loses nothing. */
export const floatType = async (weights: Weights, name: string): Promise<'float16' | 'float32'> =>
  (await isFloat16(weights, name)) ? 'float16' : 'float32';
