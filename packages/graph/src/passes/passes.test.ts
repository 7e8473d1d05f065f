import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import type { Attribute, ElementType, Graph, Initializer, Node, TensorType, ValueInfo } from '../graph.ts';
import { initializer } from '../initializer.ts';
import { printGraph } from '../print.ts';
import { runPasses } from '../run-passes.ts';
import { encodeModel } from '../serde.ts';
import { verify } from '../verify.ts';
import { integerProducts } from './integer-products.ts';
import { mergeCommon } from './merge-common.ts';
import { prune } from './prune.ts';

const node = (op: string, inputs: string[], output: string, attributes: Record<string, Attribute> = {}): Node => ({
  op,
  domain: '',
  inputs,
  outputs: [output],
  attributes,
});
const info = (name: string, type: ElementType, ...shape: number[]): ValueInfo => ({ name, type, shape });
const mapOf = (list: readonly Initializer[]): Map<string, Initializer> =>
  new Map(list.map((item) => [item.name, item]));

const base: Graph = {
  name: 'small',
  inputs: [info('x', 'float32', 2), info('unused', 'float32', 2)],
  outputs: [info('y', 'float32', 2)],
  nodes: [
    node('Exp', ['x'], 'e1'),
    node('Mul', ['e1', 'c'], 'dead'),
    node('Exp', ['x'], 'e2'),
    node('Add', ['e1', 'e2'], 'y'),
  ],
  initializers: mapOf([initializer('c', 'float32', [], [2])]),
  values: new Map<string, TensorType>([
    ['dead', { type: 'float32', shape: [2] }],
    ['e1', { type: 'float32', shape: [2] }],
    ['e2', { type: 'float32', shape: [2] }],
  ]),
};

describe('prune', () => {
  test('takes out what no output depends on, and keeps the inputs', () => {
    const pruned = verify(prune(base));
    expect(printGraph(pruned)).toMatchInlineSnapshot(`
      "graph small
      input x: float32[2]
      input unused: float32[2]
      e1: float32[2] = Exp(x)
      e2: float32[2] = Exp(x)
      y: float32[2] = Add(e1, e2)
      output y: float32[2]
      "
    `);
    expect([...pruned.values.keys()]).toEqual(['e1', 'e2']);
  });

  test('drops unused inputs when asked to', () => {
    expect(prune(base, { dropUnusedInputs: true }).inputs.map(({ name }) => name)).toEqual(['x']);
  });
});

describe('mergeCommon', () => {
  test('computes equal nodes once', () => {
    expect(printGraph(verify(prune(mergeCommon(base))))).toMatchInlineSnapshot(`
      "graph small
      input x: float32[2]
      input unused: float32[2]
      e1: float32[2] = Exp(x)
      y: float32[2] = Add(e1, e1)
      output y: float32[2]
      "
    `);
  });

  test('keeps the names of outputs, and what differs in an attribute or is random', () => {
    const graph: Graph = {
      ...base,
      initializers: new Map(),
      outputs: ['a', 'b', 'd', 'f'].map((name) => info(name, 'float32', 2)),
      nodes: [
        node('Softmax', ['x'], 'a', { axis: 0 }),
        node('Softmax', ['x'], 'b', { axis: 0 }),
        node('Softmax', ['x'], 'c', { axis: -1 }),
        node('Softmax', ['x'], 'c2', { axis: -1 }),
        node('RandomNormalLike', ['x'], 'r1'),
        node('RandomNormalLike', ['x'], 'r2'),
        node('Sum', ['c', 'c2', 'r1', 'r2'], 'd'),
        node('Identity', ['c2'], 'f'),
      ],
    };
    expect(printGraph(verify(mergeCommon(graph)))).toMatchInlineSnapshot(`
      "graph small
      input x: float32[2]
      input unused: float32[2]
      a: float32[2] = Softmax(x) {axis: 0}
      b: float32[2] = Softmax(x) {axis: 0}
      c = Softmax(x) {axis: -1}
      r1 = RandomNormalLike(x)
      r2 = RandomNormalLike(x)
      d: float32[2] = Sum(c, c, r1, r2)
      f: float32[2] = Identity(c)
      output a: float32[2]
      output b: float32[2]
      output d: float32[2]
      output f: float32[2]
      "
    `);
  });
});

/** `y = x wᵀ` of two quantized operands, the weight per row, stored or computed by a Clip; and what the cases change. */
function product({
  weight = 'stored',
  gemm = { transB: 1 },
  axis = 0,
  x = 'uint8',
  bias = false,
}: {
  weight?: 'stored' | 'computed';
  gemm?: Record<string, Attribute>;
  axis?: number;
  x?: 'uint8' | 'int8' | 'uint16';
  bias?: boolean;
} = {}): Graph {
  const w = initializer('w', 'int8', [4, 3], [1, -2, 3, 4, 5, -6, -127, 0, 127, 9, 8, 7]);
  const w0 = { ...w, name: 'w0' };
  const constants = [
    weight === 'stored' ? w : w0,
    initializer('xs', 'float32', [], [0.5]),
    initializer('xz', x, [], [x === 'uint16' ? 1000 : 7]),
    initializer('ws', 'float32', [4], [0.25, 0.5, 2, 1]),
    initializer('wz', 'int8', [4], [0, 0, 0, 0]),
    initializer('low', 'int8', [], [-8]),
    initializer('high', 'int8', [], [7]),
    initializer('bias', 'float32', [4], [1, 1, 1, 1]),
  ];
  return prune({
    name: 'product',
    inputs: [info('x', x, 2, 3)],
    outputs: [info('y', 'float32', 2, 4), info('y2', 'float32', 2, 4)],
    nodes: [
      ...(weight === 'computed' ? [node('Clip', ['w0', 'low', 'high'], 'w')] : []),
      node('DequantizeLinear', ['x', 'xs', 'xz'], 'xf'),
      node('DequantizeLinear', ['w', 'ws', 'wz'], 'wf', { axis }),
      node('Gemm', ['xf', 'wf', ...(bias ? ['bias'] : [])], 'y', gemm),
      node('Gemm', ['xf', 'wf', ...(bias ? ['bias'] : [])], 'y2', gemm),
    ],
    initializers: mapOf(constants),
    values: new Map<string, TensorType>([['w', { type: 'int8', shape: [4, 3] }]]),
  });
}

async function run(graph: Graph): Promise<number[]> {
  const session = await ort.InferenceSession.create(await encodeModel(graph), {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  const x =
    graph.inputs[0]?.type === 'uint16'
      ? new ort.Tensor('uint16', Uint16Array.of(0, 65535, 7, 256, 1000, 40000), [2, 3])
      : new ort.Tensor('uint8', Uint8Array.of(0, 255, 7, 100, 3, 90), [2, 3]);
  const { y } = await session.run({ x });
  await session.release();
  return Array.from(y?.data as Float32Array);
}

describe('integerProducts', () => {
  test('transposes a stored weight once and leaves no node for it', () => {
    expect(printGraph(verify(prune(integerProducts(product()))))).toMatchInlineSnapshot(`
      "graph product
      input x: uint8[2, 3]
      xs: float32[] = [0.5]
      xz: uint8[] = [7]
      ws: float32[4] = [0.25, 0.5, 2, 1]
      wz: int8[4] = [0, 0, 0, 0]
      w.transposed: int8[3, 4]
      y: float32[2, 4] = com.microsoft.MatMulIntegerToFloat(x, w.transposed, xs, ws, xz, wz)
      y2: float32[2, 4] = com.microsoft.MatMulIntegerToFloat(x, w.transposed, xs, ws, xz, wz)
      output y: float32[2, 4]
      output y2: float32[2, 4]
      "
    `);
  });

  test('transposes a computed weight by a node', () => {
    expect(printGraph(verify(prune(integerProducts(product({ weight: 'computed' })))))).toMatchInlineSnapshot(`
      "graph product
      input x: uint8[2, 3]
      w0: int8[4, 3]
      xs: float32[] = [0.5]
      xz: uint8[] = [7]
      ws: float32[4] = [0.25, 0.5, 2, 1]
      wz: int8[4] = [0, 0, 0, 0]
      low: int8[] = [-8]
      high: int8[] = [7]
      w: int8[4, 3] = Clip(w0, low, high)
      w.transposed: int8[3, 4] = Transpose(w) {perm: [1, 0]}
      y: float32[2, 4] = com.microsoft.MatMulIntegerToFloat(x, w.transposed, xs, ws, xz, wz)
      y2: float32[2, 4] = com.microsoft.MatMulIntegerToFloat(x, w.transposed, xs, ws, xz, wz)
      output y: float32[2, 4]
      output y2: float32[2, 4]
      "
    `);
  });

  test.each(['stored', 'computed'] as const)(
    'gives the same numbers in ONNX Runtime with a %s weight',
    async (weight) => {
      const graph = product({ weight });
      const integer = prune(integerProducts(graph));
      expect(integer.nodes.map(({ op }) => op)).toContain('MatMulIntegerToFloat');
      expect(await run(integer)).toEqual(await run(graph));
    },
  );

  test('multiplies 16-bit activations byte by byte, the bytes made once', async () => {
    const graph = product({ x: 'uint16' });
    const integer = prune(integerProducts(graph));
    expect(printGraph(verify(integer))).toMatchInlineSnapshot(`
      "graph product
      input x: uint16[2, 3]
      xs: float32[] = [0.5]
      xz: uint16[] = [1000]
      ws: float32[4] = [0.25, 0.5, 2, 1]
      wz: int8[4] = [0, 0, 0, 0]
      w.transposed: int8[3, 4]
      integer_products.byte: int32[] = [256]
      integer_products.high_unit: float32[] = [256]
      xz.wide = Cast(xz) {to: 6}
      xz.shifted = Div(xz.wide, integer_products.byte)
      xz.high_byte = Cast(xz.shifted) {to: 2}
      xz.low_byte = Cast(xz) {to: 2}
      x.wide = Cast(x) {to: 6}
      x.shifted = Div(x.wide, integer_products.byte)
      x.high_byte = Cast(x.shifted) {to: 2}
      x.low_byte = Cast(x) {to: 2}
      xs.high = Mul(xs, integer_products.high_unit)
      y.high = com.microsoft.MatMulIntegerToFloat(x.high_byte, w.transposed, xs.high, ws, xz.high_byte, wz)
      y.low = com.microsoft.MatMulIntegerToFloat(x.low_byte, w.transposed, xs, ws, xz.low_byte, wz)
      y: float32[2, 4] = Add(y.high, y.low)
      y2.high = com.microsoft.MatMulIntegerToFloat(x.high_byte, w.transposed, xs.high, ws, xz.high_byte, wz)
      y2.low = com.microsoft.MatMulIntegerToFloat(x.low_byte, w.transposed, xs, ws, xz.low_byte, wz)
      y2: float32[2, 4] = Add(y2.high, y2.low)
      output y: float32[2, 4]
      output y2: float32[2, 4]
      "
    `);
    expect(await run(integer)).toEqual(await run(graph));
  });

  test.each([
    ['a bias', { bias: true }],
    ['a signed activation', { x: 'int8' }],
    ['a weight per column', { axis: 1 }],
    ['a weight that is not transposed', { gemm: {} }],
    ['an activation that is transposed', { gemm: { transA: 1, transB: 1 } }],
    ['a factor', { gemm: { transB: 1, alpha: { float: 2 } } }],
  ] as const)('leaves a product with %s alone', (_, options) => {
    const graph = product(options);
    expect(integerProducts(graph).nodes).toEqual(graph.nodes);
  });
});

describe('runPasses', () => {
  test('runs one pass after the other', () => {
    expect(runPasses(base, [mergeCommon, prune], { verify: true }).nodes.map(({ outputs }) => outputs[0])).toEqual([
      'e1',
      'y',
    ]);
  });

  test('names the pass that broke a graph, and those before it', () => {
    const reverse = (graph: Graph): Graph => ({ ...graph, nodes: graph.nodes.toReversed() });
    expect(() => runPasses(base, [prune, mergeCommon, reverse], { verify: true })).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: runPasses: reverse, after prune, mergeCommon: expected a valid graph, got GraphError: graph 'small': expected inputs that are made by earlier nodes (topological order), got y: float32[2] = Add(e1, e1) with e1: float32[2], e1: float32[2].]`,
    );
    expect(() => runPasses(reverse(base), [prune], { verify: true })).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: runPasses: before the first pass: expected a valid graph, got GraphError: graph 'small': expected inputs that are made by earlier nodes (topological order), got y: float32[2] = Add(e1, e2) with e1: float32[2], e2: float32[2].]`,
    );
    expect(() => runPasses(base, [() => (base.nodes[9] as Node).op as never])).toThrow(
      /^runPasses: pass 1: expected a valid graph, got TypeError/,
    );
  });
});
