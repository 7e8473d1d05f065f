/**
 * Whether a processor's integer products are exact.
 *
 * x86 processors without VNNI add pairs of uint8 × int8 products in 16 bits, which saturate. One product of extremes tells.
 */
import { type Graph, initializer } from '@mobilequant/graph';
import type { Program } from './runtime.ts';

const [ROWS, SIZE, COLUMNS] = [4, 64, 16];

const graph: Graph = {
  name: 'extremes',
  inputs: [
    { name: 'x', type: 'uint8', shape: [ROWS, SIZE] },
    { name: 'w', type: 'int8', shape: [SIZE, COLUMNS] },
  ],
  outputs: [{ name: 'y', type: 'float32', shape: [ROWS, COLUMNS] }],
  nodes: [
    {
      op: 'MatMulIntegerToFloat',
      domain: 'com.microsoft',
      inputs: ['x', 'w', 'one', 'one'],
      outputs: ['y'],
      attributes: {},
    },
  ],
  initializers: new Map([['one', initializer('one', 'float32', [], [1])]]),
  values: new Map(),
};

/** Multiplies 255 by 127 in every place; false if the sums are not what they must be, or there is no such operator. */
export async function productsAreExact(compile: (graph: Graph) => Promise<Program>): Promise<boolean> {
  try {
    const program = await compile(graph);
    const { y } = await program.run({
      x: { data: new Uint8Array(ROWS * SIZE).fill(255), shape: [ROWS, SIZE] },
      w: { data: new Int8Array(SIZE * COLUMNS).fill(127), shape: [SIZE, COLUMNS] },
    });
    await program.release();
    return y !== undefined && (y.data as Float32Array).every((sum) => sum === SIZE * 255 * 127);
  } catch {
    return false;
  }
}
