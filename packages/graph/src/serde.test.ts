import { Buffer } from 'node:buffer';
import onnxProto from 'onnx-proto';
import { describe, expect, test } from 'vitest';
import { byteLength, ELEMENT_TYPES } from './element-type.ts';
import type { Attribute, ElementType, Graph, Initializer } from './graph.ts';
import { valuesOf } from './initializer.ts';
import { decodeModel, encodeModel } from './serde.ts';

const { ModelProto } = onnxProto.onnx;

const empty: Graph = {
  name: 'g',
  opset: 21,
  inputs: [],
  outputs: [],
  nodes: [],
  initializers: new Map(),
  values: new Map(),
};

/** A tensor whose bytes count up. */
function counting(name: string, type: ElementType, shape: readonly number[]): Initializer {
  return {
    name,
    type,
    shape,
    data: Uint8Array.from({ length: byteLength(type, shape) }, (_, i) => (type === 'bool' ? i % 2 : i + 1)),
  };
}

const withInitializers = (...list: Initializer[]): Graph => ({
  ...empty,
  initializers: new Map(list.map((item) => [item.name, item])),
});

/** The bytes of a model written by hand, as another program may have written it. */
function model(graph: object, rest: object = {}): Uint8Array {
  return ModelProto.encode(
    ModelProto.fromObject({
      irVersion: 10,
      opsetImport: [{ domain: '', version: 21 }],
      graph: { name: 'g', ...graph },
      ...rest,
    }),
  ).finish();
}

describe('a graph comes back from its bytes as it was', () => {
  test.each(ELEMENT_TYPES)('with an initializer, an input and an output of %s', async (type) => {
    const info = { name: 'x', type, shape: [2, 'tokens', 3] };
    const graph: Graph = {
      ...withInitializers(counting('w', type, [3, 5]), counting('scalar', type, []), counting('none', type, [0, 4])),
      inputs: [info],
      outputs: [{ ...info, name: 'y' }],
      nodes: [
        { op: 'Identity', domain: '', inputs: ['x'], outputs: ['h'], attributes: {} },
        { op: 'Identity', domain: '', inputs: ['h'], outputs: ['y'], attributes: {} },
      ],
      values: new Map([['h', { type, shape: [2, 'tokens', 3] }]]),
    };
    expect(decodeModel(await encodeModel(graph))).toEqual(graph);
  });

  test.each<[string, Attribute]>([
    ['INT', -3],
    ['INT past 32 bits', 2 ** 53 - 1],
    ['negative INT past 32 bits', -(2 ** 40)],
    ['FLOAT', { float: 0.5 }],
    ['FLOAT that is whole', { float: 1 }],
    ['STRING', 'größer'],
    ['INTS', [1, 0, -1, 2 ** 40]],
    ['no INTS', []],
    ['FLOATS', { floats: [0.25, -2] }],
  ])('with an attribute %s', async (_, value) => {
    const graph: Graph = {
      ...empty,
      nodes: [
        { name: 'n', op: 'Op', domain: 'com.microsoft', inputs: ['', 'a'], outputs: ['b'], attributes: { value } },
      ],
    };
    expect(decodeModel(await encodeModel(graph))).toEqual(graph);
  });

  test('with a dimension that nobody named, and another operator set', async () => {
    const graph: Graph = { ...empty, opset: 17, inputs: [{ name: 'x', type: 'float32', shape: ['', 4] }] };
    expect(decodeModel(await encodeModel(graph))).toEqual(graph);
  });
});

test('the Microsoft domain is imported only by graphs that use it', async () => {
  const node = { op: 'Gelu', inputs: ['x'], outputs: ['y'], attributes: {} };
  const domains = async (domain: string): Promise<unknown> =>
    ModelProto.decode(await encodeModel({ ...empty, nodes: [{ ...node, domain }] })).opsetImport.map((item) => [
      item.domain,
      Number(item.version),
    ]);
  expect(await domains('')).toEqual([['', 21]]);
  expect(await domains('com.microsoft')).toEqual([
    ['', 21],
    ['com.microsoft', 1],
  ]);
});

test('data that functions make are made one after the other', async () => {
  const log: string[] = [];
  const lazy = (name: string): Initializer => ({
    name,
    type: 'uint8',
    shape: [2],
    data: async () => {
      log.push(`${name} starts`);
      await Promise.resolve();
      log.push(`${name} ends`);
      return Uint8Array.of(1, 2);
    },
  });
  const graph = decodeModel(await encodeModel(withInitializers(lazy('a'), lazy('b'))));
  expect(log).toEqual(['a starts', 'a ends', 'b starts', 'b ends']);
  expect(graph.initializers.get('b')?.data).toEqual(Uint8Array.of(1, 2));
});

describe('encodeModel refuses', () => {
  test('a model past 2 GiB, before any data is made', async () => {
    const data = (): Uint8Array => expect.unreachable();
    await expect(
      encodeModel(withInitializers({ name: 'w', type: 'float32', shape: [2 ** 14, 2 ** 15], data })),
    ).rejects.toThrowErrorMatchingInlineSnapshot(
      `[GraphError: encodeModel: expected a model of at most 2146435072 bytes (2 GiB, protobuf's limit), got 2147483648 bytes. Write the weights as external data: writeModel(graph, path, { externalData: true }).]`,
    );
  });

  test('data that do not fit the shape', async () => {
    await expect(
      encodeModel(withInitializers({ ...counting('w', 'int4', [3]), shape: [5] })),
    ).rejects.toThrowErrorMatchingInlineSnapshot(`[GraphError: initializer 'w': expected 3 bytes for int4[5], got 2.]`);
  });

  test('a number that is no INT', async () => {
    const node = { op: 'Gemm', domain: '', inputs: [], outputs: ['y'], attributes: { alpha: 0.5 } };
    await expect(encodeModel({ ...empty, nodes: [node] })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[GraphError: node 'y' (Gemm), attribute 'alpha': expected a whole number, got 0.5. Write other numbers as { float }.]`,
    );
  });
});

describe('decodeModel', () => {
  test('reads tensors that list their numbers', () => {
    const data = (fields: object): unknown =>
      decodeModel(model({ initializer: [{ name: 'w', dims: [2], ...fields }] })).initializers.get('w')?.data;
    const bytes = (values: ArrayBufferView): Uint8Array => new Uint8Array(values.buffer);
    expect(data({ dataType: 1, floatData: [0.5, -1] })).toEqual(bytes(Float32Array.of(0.5, -1)));
    expect(data({ dataType: 3, int32Data: [1, -1] })).toEqual(Uint8Array.of(1, 255));
    expect(data({ dataType: 5, int32Data: [1, -1] })).toEqual(bytes(Int16Array.of(1, -1)));
    expect(data({ dataType: 6, int32Data: [1, -1] })).toEqual(bytes(Int32Array.of(1, -1)));
    expect(data({ dataType: 7, int64Data: [1, -1] })).toEqual(bytes(BigInt64Array.of(1n, -1n)));
    expect(data({ dataType: 22, int32Data: [0xf1] })).toEqual(Uint8Array.of(0xf1));
  });

  test('turns Constant nodes into initializers', () => {
    const value = { name: 'value', type: 4, t: { dims: [1], dataType: 2, rawData: Uint8Array.of(7) } };
    const graph = decodeModel(model({ node: [{ opType: 'Constant', output: ['c'], attribute: [value] }] }));
    expect(graph.nodes).toEqual([]);
    expect(graph.initializers.get('c')).toEqual({ name: 'c', type: 'uint8', shape: [1], data: Uint8Array.of(7) });
  });

  test.each([
    [{ name: 'value_float', type: 1, f: 0.5 }, 'float32', [], [0.5]],
    [{ name: 'value_int', type: 2, i: -3 }, 'int64', [], [-3]],
    [{ name: 'value_floats', type: 6, floats: [0.5, 2] }, 'float32', [2], [0.5, 2]],
    [{ name: 'value_ints', type: 7, ints: [1, -1, 4] }, 'int64', [3], [1, -1, 4]],
  ] as const)('takes the numbers of a Constant node, %o', (value, type, shape, values) => {
    const node = [{ opType: 'Constant', output: ['c'], attribute: [value] }];
    const { nodes, initializers } = decodeModel(model({ node } as unknown as Parameters<typeof model>[0]));
    const found = initializers.get('c') as Initializer;
    expect(nodes).toEqual([]);
    expect(found).toMatchObject({ type, shape });
    expect(valuesOf(found, found.data as Uint8Array)).toEqual(values);
  });

  test('does not take an initializer for an input', () => {
    const type = { tensorType: { elemType: 2, shape: { dim: [] } } };
    const graph = decodeModel(
      model({ input: [{ name: 'w', type }], initializer: [{ name: 'w', dataType: 2, rawData: Uint8Array.of(1) }] }),
    );
    expect(graph.inputs).toEqual([]);
  });

  test('keeps references, which fail when they are read', async () => {
    const external = new Map([['w', { location: 'w.data', offset: 4096, length: 16 }]]);
    const bytes = await encodeModel(withInitializers(counting('w', 'float32', [4])), { external });
    const seen: unknown[] = [];
    decodeModel(bytes, {
      external: (...reference) => {
        seen.push(reference);
        return new Uint8Array();
      },
    });
    expect(seen).toEqual([[external.get('w'), { name: 'w', type: 'float32', shape: [4] }]]);
    expect(decodeModel(bytes).initializers.get('w')?.data).toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'w': expected data in the model, got a reference to the file 'w.data'. Read the model with readModel(path), or tell decodeModel how to read \`external\` data.]`,
    );
  });

  test('refuses every truncation of a model, or reads a smaller one', async () => {
    const graph: Graph = {
      ...withInitializers(counting('w', 'float32', [4])),
      nodes: [{ op: 'Relu', domain: '', inputs: ['w'], outputs: ['y'], attributes: { a: 'text' } }],
    };
    const bytes = await encodeModel(graph);
    let refused = 0;
    for (let length = 0; length < bytes.length; length++) {
      try {
        decodeModel(bytes.subarray(0, length));
      } catch (error) {
        refused++;
        expect(error).toHaveProperty('name', 'FormatError');
      }
    }
    expect(refused).toBeGreaterThan(bytes.length * 0.9);
    expect(() => decodeModel(bytes.subarray(0, 40))).toThrowErrorMatchingInlineSnapshot(
      `[FormatError: decodeModel: expected an ONNX model, got 40 bytes that are none (index out of range: 40 + 10 > 40).]`,
    );
  });

  test('refuses a graph nested too deep for the stack', () => {
    let inner = Uint8Array.of();
    const field = (tag: number, body: Uint8Array): Uint8Array => {
      const size: number[] = [];
      for (let rest = body.length; ; rest >>>= 7) {
        size.push(rest > 127 ? (rest & 127) | 128 : rest);
        if (rest <= 127) break;
      }
      return Buffer.concat([Uint8Array.of(tag, ...size), body]);
    };
    for (let depth = 0; depth < 6000; depth++) inner = Uint8Array.from(field(0x0a, field(0x2a, field(0x32, inner)))); // node, attribute, subgraph
    expect(() => decodeModel(field(0x3a, inner))).toThrow(/expected an ONNX model/);
  });

  const tensor = { name: 'w', dims: [2], dataType: 1, rawData: new Uint8Array(8) };
  const external = (entries: Record<string, string>): object => ({
    initializer: [
      {
        name: 'w',
        dims: [2],
        dataType: 1,
        dataLocation: 1,
        externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
      },
    ],
  });
  const attribute = (fields: object): object => ({
    node: [{ opType: 'If', output: ['y'], attribute: [{ name: 'then_branch', ...fields }] }],
  });
  test.each<[string, Uint8Array]>([
    ['nothing', Uint8Array.of()],
    ['text', new TextEncoder().encode('<html>not found</html>')],
    ['fewer bytes than the shape', model({ initializer: [{ ...tensor, rawData: new Uint8Array(7) }] })],
    ['more numbers than the shape', model({ initializer: [{ ...tensor, rawData: undefined, floatData: [1, 2, 3] }] })],
    ['a negative dimension', model({ initializer: [{ ...tensor, dims: [-2] }] })],
    ['dimensions past all memory', model({ initializer: [{ ...tensor, dims: [2 ** 40, 2 ** 40] }] })],
    ['two initializers of one name', model({ initializer: [tensor, tensor] })],
    ['an initializer without a name', model({ initializer: [{ ...tensor, name: '' }] })],
    ['a type that is not supported', model({ initializer: [{ ...tensor, dataType: 14 }] })],
    ['a type that does not exist', model({ initializer: [{ ...tensor, dataType: 99 }] })],
    ['an external length that is not the shape’s', model(external({ location: 'w.data', length: '4' }))],
    ['an external offset that is no number', model(external({ location: 'w.data', offset: '-1' }))],
    ['an external tensor without a file', model(external({ offset: '0' }))],
    ['a subgraph', model(attribute({ type: 5, g: { name: 'inner' } }))],
    ['an attribute past 53 bits', model(attribute({ type: 2, i: { low: 0, high: 0x7fffffff, unsigned: false } }))],
    ['an input that is no tensor', model({ input: [{ name: 'x', type: { sequenceType: {} } }] })],
    ['an input without a shape', model({ input: [{ name: 'x', type: { tensorType: { elemType: 1 } } }] })],
    ['a node without an operator', model({ node: [{ output: ['y'] }] })],
    ['functions', model({}, { functions: [{ name: 'f' }] })],
  ])('refuses %s', (_, bytes) => {
    expect(() => decodeModel(bytes)).toThrowErrorMatchingSnapshot();
  });
});
