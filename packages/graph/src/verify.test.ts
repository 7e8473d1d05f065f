import { describe, expect, test } from 'vitest';
import type { ElementType, Graph, Initializer, Node, TensorType, ValueInfo } from './graph.ts';
import { initializer } from './initializer.ts';
import { verify } from './verify.ts';

const node = (op: string, inputs: string[], output: string, attributes: Node['attributes'] = {}): Node => ({
  op,
  domain: '',
  inputs,
  outputs: [output],
  attributes,
});
const info = (name: string, type: ElementType, ...shape: (number | string)[]): ValueInfo => ({ name, type, shape });
const mapOf = (list: readonly Initializer[]): Map<string, Initializer> =>
  new Map(list.map((item) => [item.name, item]));

const scales = initializer('s', 'float32', [3], [1, 2, 3]);
const zeros = initializer('z', 'int8', [3], [0, 0, 0]);
const one = initializer('one', 'float32', [], [1]);

/** Dequantizes a weight per row, adds. */
const good: Graph = {
  name: 'good',
  inputs: [info('w', 'int8', 3, 4), info('x', 'float32', 'rows', 4)],
  outputs: [info('y', 'float32', 'rows', 4)],
  nodes: [node('DequantizeLinear', ['w', 's', 'z'], 'wf', { axis: 0 }), node('Add', ['x', 'wf'], 'y')],
  initializers: mapOf([scales, zeros]),
  values: new Map<string, TensorType>([['wf', { type: 'float32', shape: [3, 4] }]]),
};
const [dequantize, add] = good.nodes as [Node, Node];

test('a good graph comes back', () => {
  expect(verify(good)).toBe(good);
});

test('an axis may count from the end, one scale needs no axis, and blocks lie along theirs', () => {
  const variants: [string, Node['attributes'], Initializer][] = [
    ['last axis', { axis: -2 }, scales],
    ['one', {}, initializer('s', 'float32', [1], [1])],
    ['blocks', { axis: 1, block_size: 3 }, initializer('s', 'float32', [3, 2], [1, 1, 1, 1, 1, 1])],
  ];
  for (const [name, attributes, s] of variants) {
    verify({
      ...good,
      name,
      initializers: mapOf([s]),
      nodes: [{ ...dequantize, inputs: ['w', 's'], attributes }, add],
    });
  }
});

describe('verify refuses', () => {
  const tensor = (fields: Partial<Initializer>): Graph => ({
    ...good,
    initializers: mapOf([scales, zeros, { ...one, ...fields }]),
  });
  const nodes = (...list: Node[]): Graph => ({ ...good, nodes: list });
  const site = (fields: Partial<Node>, s: Initializer = scales, z: Initializer = zeros): Graph => ({
    ...nodes({ ...dequantize, ...fields }, add),
    initializers: mapOf([s, z]),
  });

  test.each<[string, Graph]>([
    ['nodes out of order', nodes(add, dequantize)],
    ['a node that feeds itself', nodes(dequantize, node('Add', ['x', 'y'], 'y'))],
    ['an input that nobody defines', nodes(dequantize, node('Add', ['x', 'ghost'], 'y'))],
    ['an output that nobody defines', nodes(dequantize)],
    ['two nodes with one output', nodes(dequantize, add, add)],
    ['two nodes with one name', nodes({ ...dequantize, name: 'n' }, { ...add, name: 'n' })],
    ['a node without an output', nodes(dequantize, add, { ...add, outputs: [] })],
    ['a node without an operator', nodes(dequantize, { ...add, op: '' })],
    ['a fraction as integer attribute', nodes({ ...dequantize, attributes: { axis: 0.5 } }, add)],
    ['a Cast to a type that does not exist', nodes(dequantize, node('Cast', ['wf'], 'y', { to: 99 }))],
    ['an input of an initializer’s name', { ...good, inputs: [...good.inputs, info('s', 'float32', 3)] }],
    ['an input without a name', { ...good, inputs: [...good.inputs, info('', 'float32')] }],
    ['an output that is listed twice', { ...good, outputs: [...good.outputs, ...good.outputs] }],
    [
      'an output of another type than is known',
      { ...good, values: new Map([['y', { type: 'float16', shape: ['rows', 4] }]]) },
    ],
    ['a negative dimension', { ...good, inputs: [info('w', 'int8', -3, 4), info('x', 'float32', 4)] }],
    ['an initializer of too few bytes', tensor({ data: new Uint8Array(3) })],
    [
      'an initializer under another name',
      tensor({ name: 'two' }) && {
        ...good,
        initializers: new Map([
          ['s', scales],
          ['z', zeros],
          ['two', one],
        ]),
      },
    ],
    ['a site without a scale', site({ inputs: ['w'] })],
    ['a site of floats', site({ inputs: ['x', 's'] })],
    [
      '16 bits before operator set 21',
      { ...good, opset: 19, inputs: [info('w', 'int16', 3, 4), info('x', 'float32', 4)] },
    ],
    ['integers as scale', site({}, initializer('s', 'int32', [3], [1, 1, 1]))],
    ['a zero point of another type', site({}, scales, initializer('z', 'uint8', [3], [0, 0, 0]))],
    ['a zero point of another shape', site({}, scales, initializer('z', 'int8', [], [0]))],
    ['an axis outside of the tensor', site({ attributes: { axis: 2 } })],
    ['scales along the wrong axis', site({ attributes: { axis: 1 } })],
    [
      'blocks that do not cover the axis',
      site(
        { inputs: ['w', 's'], attributes: { axis: 1, block_size: 2 } },
        initializer('s', 'float32', [3, 1], [1, 1, 1]),
      ),
    ],
  ])('%s', (_, graph) => {
    expect(() => verify(graph)).toThrowErrorMatchingSnapshot();
  });
});
