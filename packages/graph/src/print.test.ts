import { expect, test } from 'vitest';
import type { Graph } from './graph.ts';
import { initializer } from './initializer.ts';
import { printGraph } from './print.ts';

test('a graph is printed as a line for each thing', () => {
  const constants = [
    initializer('half', 'float16', [2], [0.5, -1]),
    initializer('nibbles', 'int4', [3], [1, -1, 7]),
    initializer('third', 'float32', [], [1 / 3]),
    initializer('weight', 'int8', [3, 3], new Int8Array(9)),
    { name: 'lazy', type: 'uint8', shape: [1], data: () => Uint8Array.of(1) } as const,
  ];
  const graph: Graph = {
    name: 'everything',
    inputs: [{ name: 'x', type: 'float32', shape: ['tokens', 4, ''] }],
    outputs: [{ name: 'y', type: 'float32', shape: [1] }],
    nodes: [
      { op: 'TopK', domain: '', inputs: ['x', 'lazy'], outputs: ['v', ''], attributes: { axis: -1 } },
      { name: 'clip', op: 'Clip', domain: '', inputs: ['v', '', 'third'], outputs: ['c'], attributes: {} },
      {
        op: 'FusedMatMul',
        domain: 'com.microsoft',
        inputs: ['c', 'weight'],
        outputs: ['y'],
        attributes: { alpha: { float: 1 }, mode: 'a"b', list: [1, 2], floats: { floats: [0.1, 2] } },
      },
    ],
    initializers: new Map(constants.map((item) => [item.name, item])),
    values: new Map([['v', { type: 'float32', shape: ['tokens', 4, 1] }]]),
  };
  expect(printGraph(graph)).toMatchInlineSnapshot(`
    "graph everything
    input x: float32[tokens, 4, ?]
    half: float16[2] = [0.5, -1]
    nibbles: int4[3] = [1, -1, 7]
    third: float32[] = [0.3333333]
    weight: int8[3, 3]
    lazy: uint8[1]
    v: float32[tokens, 4, 1], _ = TopK(x, lazy) {axis: -1}
    c = Clip(v, _, third) # clip
    y: float32[1] = com.microsoft.FusedMatMul(c, weight) {alpha: 1.0, mode: "a\\"b", list: [1, 2], floats: [0.1, 2.0]}
    output y: float32[1]
    "
  `);
});
