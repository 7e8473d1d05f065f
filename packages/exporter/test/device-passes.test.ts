import { type Graph, initializer, printGraph, verify } from '@mobilequant/graph';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { expect, test } from 'vitest';
import { multiplyInstead } from '../src/divisions.ts';
import { foldBiases } from '../src/fold-biases.ts';
import { selectColumns } from '../src/select-columns.ts';

const runtime = nodeRuntime();
const x = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8);

/** One node of `x` `[2, 4]` and a constant. */
function graphOf(op: string, shape: readonly number[], values: readonly number[], more: Partial<Graph> = {}): Graph {
  const columns = shape.length === 2 ? (shape[1] as number) : 4;
  return {
    name: 'test',
    inputs: [{ name: 'x', type: 'float32', shape: [2, 4] }],
    outputs: [{ name: 'y', type: 'float32', shape: [2, columns] }],
    nodes: [{ op, domain: '', inputs: ['x', 'c'], outputs: ['y'], attributes: {} }],
    initializers: new Map([['c', initializer('c', 'float32', shape, values)]]),
    values: new Map(),
    ...more,
  };
}

async function valuesOf(graph: Graph): Promise<number[]> {
  const program = await runtime.compile(verify(graph));
  const { y } = await program.run({ x: { data: x, shape: [2, 4] } });
  await program.release();
  return Array.from(y?.data as Float32Array);
}

const matrix = (rows: readonly (readonly number[])[]) => rows.flat();

test('a product that swaps halves becomes slices of them', async () => {
  const swap = matrix([
    [0, 0, 1, 0],
    [0, 0, 0, 1],
    [1, 0, 0, 0],
    [0, 1, 0, 0],
  ]);
  const graph = graphOf('Gemm', [4, 4], swap);
  const sliced = selectColumns(graph);
  expect(sliced.nodes.map(({ op }) => op)).toEqual(['Slice', 'Slice', 'Concat']);
  expect(await valuesOf(sliced)).toEqual([3, 4, 1, 2, 7, 8, 5, 6]);
});

test('a column of zeros stays zero', async () => {
  const some = matrix([
    [0, 1, 0],
    [0, 0, 0],
    [1, 0, 0],
    [0, 0, 0],
  ]);
  const sliced = selectColumns(graphOf('MatMul', [4, 3], some));
  expect(await valuesOf(sliced)).toEqual([3, 1, 0, 7, 5, 0]);
});

test.each([
  ['a sum of columns', [1, 0, 1, 0, 0, 0, 0, 0]],
  ['a multiple of one', [0, 0, 0, 2, 0, 0, 1, 0]],
])('%s stays a product', (_, values) => {
  const graph = graphOf('Gemm', [4, 2], values);
  expect(selectColumns(graph).nodes).toEqual(graph.nodes);
});

test('a bias goes into its product, unless the product is read elsewhere', async () => {
  const product = graphOf('Gemm', [4, 2], [1, 0, 0, 1, 1, 0, 0, 1]);
  const nodes: Graph['nodes'] = [
    { op: 'Gemm', domain: '', inputs: ['x', 'c'], outputs: ['p'], attributes: {} },
    { op: 'Add', domain: '', inputs: ['p', 'b'], outputs: ['y'], attributes: {} },
  ];
  const initializers = new Map([...product.initializers, ['b', initializer('b', 'float32', [2], [10, 20])]]);
  const graph = { ...product, nodes, initializers };
  const folded = foldBiases(graph);
  expect(folded.nodes.map(({ op, inputs }) => [op, ...inputs])).toEqual([['Gemm', 'x', 'c', 'b']]);
  expect(await valuesOf(folded)).toEqual(await valuesOf(graph));

  const read = { ...graph, outputs: [...graph.outputs, { name: 'p', type: 'float32', shape: [2, 2] } as const] };
  expect(foldBiases(read).nodes).toEqual(nodes);
});

test('a division by a number becomes a product', async () => {
  const graph = multiplyInstead(graphOf('Div', [], [4]));
  expect(printGraph(graph)).toContain('Mul(x, c_reciprocal)');
  expect(await valuesOf(graph)).toEqual(Array.from(x, (value) => value / 4));
});
