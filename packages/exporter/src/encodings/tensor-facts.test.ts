import { type Graph, initializer, type Node } from '@mobilequant/graph';
import { expect, test } from 'vitest';
import { encodingsJson } from './encodings-json.ts';
import { parseEncodings } from './parse-encodings.ts';
import { tensorFacts } from './tensor-facts.ts';

const node = (op: string, weight: string, attributes: Node['attributes'] = {}): Node => ({
  op,
  domain: '',
  inputs: ['x', weight],
  outputs: [`${weight}.y`],
  attributes,
});
const weight = (name: string, ...shape: number[]) => {
  const size = shape.reduce((product, n) => product * n, 1);
  return [name, initializer(name, 'float32', shape, new Float32Array(size))] as const;
};
const graph: Graph = {
  name: 'g',
  inputs: [{ name: 'x', type: 'float32', shape: [1, 4] }],
  outputs: [],
  nodes: [
    node('MatMul', 'matmul'),
    node('Gemm', 'gemm'),
    node('Gemm', 'gemm.t', { transB: 1 }),
    node('Conv', 'conv'),
    node('ConvTranspose', 'deconv'),
    { op: 'Mul', domain: '', inputs: ['norm', 'x'], outputs: ['z'], attributes: {} },
    { op: 'Gather', domain: '', inputs: ['embedding', 'ids'], outputs: ['e'], attributes: {} },
  ],
  initializers: new Map([
    weight('matmul', 4, 3),
    weight('gemm', 4, 3),
    weight('gemm.t', 3, 4),
    weight('conv', 3, 4, 1, 1),
    weight('deconv', 4, 3, 1, 1),
    weight('norm', 4),
    weight('embedding', 9, 4),
  ]),
  values: new Map(),
};

test('the axis of output channels is that of the operator', () => {
  const { axisOf } = tensorFacts(graph);
  const names = [...graph.initializers.keys(), 'x', 'elsewhere'];
  expect(Object.fromEntries(names.map((name) => [name, axisOf?.(name)]))).toEqual({
    ...{ matmul: 1, gemm: 1, 'gemm.t': 0, conv: 0, deconv: 1, norm: 0, embedding: 0 },
    ...{ x: 0, elsewhere: 0 },
  });
});

test('a graph fills in what versions leave out', () => {
  const channels = {
    enc_type: 'PER_CHANNEL',
    dtype: 'INT',
    bw: 8,
    is_sym: true,
    scale: [1, 2, 3],
    offset: [-128, -128, -128],
  };
  const file = {
    version: '1.0.0',
    activation_encodings: [{ ...channels, name: 'x', enc_type: 'PER_TENSOR', scale: [1], offset: [-128] }],
    param_encodings: [
      { ...channels, name: 'matmul' },
      {
        ...channels,
        name: 'gemm',
        enc_type: 'PER_BLOCK',
        block_size: 2,
        scale: [1, 2, 3, 4, 5, 6],
        offset: Array(6).fill(-128),
      },
    ],
  };
  const facts = tensorFacts(graph);
  const read = parseEncodings(file, facts);
  const text = encodingsJson(read, { version: '2.0.0' });
  expect(JSON.parse(text).encodings).toMatchObject([
    {
      name: 'gemm',
      axis: 0,
      block_size: 2,
      y_scale: [
        [1, 3, 5],
        [2, 4, 6],
      ],
    },
    { name: 'matmul', axis: 1 },
    { name: 'x', output_dtype: 'int8' },
  ]);
  const { activations, params } = parseEncodings(text, facts);
  expect([activations, params]).toEqual([read.activations, read.params]);
  expect([...activations.keys()]).toEqual(['x']);
});

test('encodings of another model are noticed', () => {
  const entry = {
    name: 'matmul',
    enc_type: 'PER_CHANNEL',
    dtype: 'INT',
    bw: 8,
    is_sym: true,
    scale: [1, 2],
    offset: [-128, -128],
  };
  expect(() => parseEncodings({ version: '1.0.0', param_encodings: [entry] }, tensorFacts(graph))).toThrow(
    'param_encodings.matmul: expected 3 scales, one for each channel on axis 1 of [4, 3], got 2.',
  );
});
