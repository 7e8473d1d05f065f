/** Float graphs and encodings: with each tensor rounded as its encoding says, they are the graphs of integers. */
import { quantizedForm } from '@mobilequant/calibration';
import { type QuantizedModel, withPrefix } from '@mobilequant/core';
import {
  dataOf,
  type Graph,
  type Initializer,
  initializer,
  type Node,
  typesOf,
  valuesOf,
  verify,
} from '@mobilequant/graph';
import { type Recipe, recipes, roundHalfEven } from '@mobilequant/quantizer';
import type { Value, Values } from '@mobilequant/tracer';
import { describe, expect, test } from 'vitest';
import { architectures } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import {
  ENCODINGS_VERSIONS,
  type EncodedGraphs,
  encodedGraphs,
  encodingsJson,
  exportQnnDecode,
  exportQnnPrefill,
  type FloatForm,
  type IntegerEncoding,
  parseEncodings,
  type QnnGraphs,
  qnnEncodingsTarget,
  stripQuantizers,
  tensorFacts,
} from '../src/index.ts';
import { config as llama, quantized, randomTokens, randomWeights, runtime } from './tiny-model.ts';

const tokens = 12;
const context = 16;
const modelOf = (config: Parameters<typeof tinyWeights>[0], recipe: Recipe): Promise<QuantizedModel> =>
  quantized(recipe, { config, weights: tinyWeights(config, 21) });

const encodingOf = ({ encodings }: FloatForm, name: string): IntegerEncoding => {
  const found = encodings.activations.get(name) ?? encodings.params.get(name);
  if (found?.kind !== 'integer') throw new Error(`expected an encoding of '${name}', got none.`);
  return found;
};

/** Rounds every tensor behind whatever makes it, one after the other; a parameter's numbers right here. Inputs and outputs are float. */
async function rounded(form: FloatForm): Promise<Graph> {
  const { graph } = form;
  const types = typesOf(graph);
  const initializers = new Map<string, Initializer>();
  const constant = (made: Initializer): string => {
    initializers.set(made.name, made);
    return made.name;
  };
  for (const [name, own] of graph.initializers) {
    if (own.type !== 'float32') {
      initializers.set(name, own);
      continue;
    }
    const { bits, scale, zeroPoint, granularity } = encodingOf(form, name);
    const bytes = await dataOf(own);
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const rows = granularity.kind === 'channel' ? values.length / scale.length : values.length;
    const real = values.map((value, i) => {
      const [s, z] = [scale, zeroPoint].map((list) => list[Math.floor(i / rows)] as number) as [number, number];
      const level = Math.min(Math.max(roundHalfEven(value / s) + z, 0), 2 ** bits - 1);
      return (level - z) * s;
    });
    initializers.set(`${name}.rounded`, initializer(`${name}.rounded`, 'float32', own.shape, real));
  }
  const nodes: Node[] = [];
  const round = (name: string): void => {
    const { bits, scale, zeroPoint } = encodingOf(form, name);
    const s = constant(initializer(`${name}.scale`, 'float32', [], Array.from(scale)));
    const z = constant(initializer(`${name}.zero`, bits === 8 ? 'uint8' : 'uint16', [], Array.from(zeroPoint)));
    const node = (op: string, x: string, y: string) =>
      nodes.push({ op, domain: '', inputs: [x, s, z], outputs: [y], attributes: {} });
    node('QuantizeLinear', name, `${name}.levels`);
    node('DequantizeLinear', `${name}.levels`, `${name}.rounded`);
  };
  const isReal = (name: string) => types.get(name)?.type === 'float32';
  for (const { name } of graph.inputs) round(name);
  for (const node of graph.nodes) {
    nodes.push({ ...node, inputs: node.inputs.map((name) => (isReal(name) ? `${name}.rounded` : name)) });
    for (const name of node.outputs) round(name);
  }
  const outputs = graph.outputs.map((output) => ({ ...output, name: `${output.name}.rounded` }));
  return { ...graph, outputs, nodes, initializers, values: new Map() };
}

async function run(graph: Graph, values: Values): Promise<Values> {
  const program = await runtime.compile(graph, { optimization: 'disabled', integerProducts: false });
  const outputs = await program.run(values);
  await program.release();
  return outputs;
}

const levelsOf = ({ data }: Value, { scale, zeroPoint }: IntegerEncoding): number[] =>
  Array.from(data as Float32Array, (x) => Math.round(x / (scale[0] as number)) + (zeroPoint[0] as number));

/** Outputs of the graph of integers, and levels of the rounded float graph, for a text behind a cache of anything. */
async function both(integer: QnnGraphs, form: EncodedGraphs, vocab: number): Promise<Record<string, number[]>[]> {
  const given: Record<string, Value> = Object.fromEntries(
    integer.inputs.inputs.map(({ name, shape }) => {
      const data = name === 'input_ids' ? randomTokens(shape[0] as number, vocab, 2) : Int32Array.of(3);
      return [name, { data, shape: shape as number[] }];
    }),
  );
  const caches = integer.graph.inputs
    .filter(({ name }) => name.startsWith('past.'))
    .map(({ name, shape }): [string, Value] => {
      const data = Uint8Array.from(
        { length: (shape as number[]).reduce((a, b) => a * b, 1) },
        (_, i) => (37 * i) % 256,
      );
      return [name, { data, shape: shape as number[] }];
    });
  const real = caches.map(([name, { data, shape }]): [string, Value] => {
    const { scale, zeroPoint } = encodingOf(form, name);
    const values = Float32Array.from(data as Uint8Array, (q) => (q - (zeroPoint[0] as number)) * (scale[0] as number));
    return [name, { data: values, shape }];
  });
  const wanted = await run(integer.graph, { ...(await run(integer.inputs, given)), ...Object.fromEntries(caches) });
  const got = await run(await rounded(form), { ...(await run(form.inputs, given)), ...Object.fromEntries(real) });
  const names = integer.graph.outputs.map(({ name }) => name);
  return [
    Object.fromEntries(names.map((name) => [name, Array.from((wanted[name] as Value).data as Uint16Array)])),
    Object.fromEntries(names.map((name) => [name, levelsOf(got[`${name}.rounded`] as Value, encodingOf(form, name))])),
  ];
}

/** Real tensors of a graph: inputs, parameters, and what nodes give. */
function realTensors(graph: Graph): string[] {
  const types = typesOf(graph);
  const all = [
    ...graph.inputs.map(({ name }) => name),
    ...graph.initializers.keys(),
    ...graph.nodes.flatMap(({ outputs }) => outputs),
  ];
  return all.filter((name) => !types.get(name)?.type.startsWith('int'));
}

describe.each(architectures.filter(({ config }) => config.norm !== 'layer'))('$name', ({ config: checkpoint }) => {
  const config = quantizedForm(checkpoint, 'exact');
  test.each([recipes.w8a8, recipes['w4a8-strict']])(
    'every tensor has an encoding under $name, and they are the integers',
    async (recipe) => {
      const model = await modelOf(config, recipe);
      for (const integer of [await exportQnnPrefill(model, { tokens }), await exportQnnDecode(model, { context })]) {
        const form = await encodedGraphs(integer);
        const { graph, encodings } = form;
        verify(form.inputs);
        expect(verify(graph).nodes.filter(({ op }) => op.endsWith('eLinear'))).toEqual([]);
        expect([...graph.inputs, ...graph.outputs].filter(({ type }) => type !== 'float32')).toEqual([]);
        expect([...encodings.activations.keys(), ...encodings.params.keys()].sort()).toEqual(realTensors(graph).sort());
        expect([...encodings.params.keys()].every((name) => graph.initializers.has(name))).toBe(true);

        const [wanted, got] = await both(integer, form, config.vocab);
        expect(got).toEqual(wanted);
      }
    },
  );
});

test('the prefix of a cache is a parameter like others', async () => {
  const { config, weights } = await withPrefix(runtime, llama, randomWeights(llama), [5, 9]);
  const integer = await exportQnnPrefill(await quantized('w8a8', { config, weights }), { tokens });
  const form = await encodedGraphs(integer);
  const [wanted, got] = await both(integer, form, config.vocab);
  expect(got).toEqual(wanted);
});

test('conversions from width to width are Identity, right behind an operator', async () => {
  const { graph, encodings } = await stripQuantizers(
    (await exportQnnPrefill(await quantized('w8a8'), { tokens })).graph,
  );
  const producers = new Map(graph.nodes.map((node) => [node.outputs[0] as string, node]));
  const identities = graph.nodes.filter(({ op }) => op === 'Identity');
  const bits = (name: string | undefined) => encodings.activations.get(name as string)?.bits;
  expect(identities.length).toBeGreaterThan(8);
  for (const { inputs, outputs } of identities) {
    expect([bits(inputs[0]), bits(outputs[0])].sort()).toEqual([16, 8]);
    const before = producers.get(inputs[0] as string)?.op ?? 'input';
    expect(['Reshape', 'Transpose', 'Slice', 'Concat', 'input']).not.toContain(before);
  }
  expect(encodings.activations.get('model.layers.1.input_layernorm.output')).toMatchObject({ bits: 8 });
});

test.each(ENCODINGS_VERSIONS)('as %s, the file says the same', async (version) => {
  const config = quantizedForm(architectures.find(({ name }) => name === 'qwen2')?.config ?? llama, 'exact');
  const files = await qnnEncodingsTarget.export(await modelOf(config, recipes['w4a8-strict']), {
    tokens,
    context,
    version,
  });
  expect([...files.keys()]).toEqual([
    ...['prefill.onnx', 'prefill.encodings', 'prefill-inputs.onnx'],
    ...['decode.onnx', 'decode.encodings', 'decode-inputs.onnx'],
  ]);
  for (const name of ['prefill', 'decode']) {
    const graph = files.get(`${name}.onnx`) as Graph;
    const text = files.get(`${name}.encodings`) as string;
    expect(JSON.parse(text).version).toBe(version);
    const { activations, params } = parseEncodings(text, tensorFacts(graph));
    const bias = params.get('model.layers.0.self_attn.q_proj.bias');
    expect(bias).toMatchObject({ bits: 32, symmetric: true, granularity: { kind: 'channel', axis: 0 } });
    expect([...activations.keys(), ...params.keys()].sort()).toEqual(realTensors(graph).sort());
    expect(encodingsJson({ activations, params }, { version })).toBe(text);
  }
});

describe('what has no float form is refused by name', () => {
  const q: Node = { op: 'QuantizeLinear', domain: '', inputs: ['y', 's', 'z'], outputs: ['q'], attributes: {} };
  const graph: Graph = {
    name: 'g',
    inputs: [{ name: 'x', type: 'uint8', shape: [4] }],
    outputs: [{ name: 'q', type: 'uint8', shape: [4] }],
    nodes: [
      { op: 'DequantizeLinear', domain: '', inputs: ['x', 's', 'z'], outputs: ['r'], attributes: {} },
      { op: 'Sigmoid', domain: '', inputs: ['r'], outputs: ['y'], attributes: {} },
      q,
    ],
    initializers: new Map([
      ['s', initializer('s', 'float32', [], [0.5])],
      ['z', initializer('z', 'uint8', [], [3])],
    ]),
    values: new Map([
      ['r', { type: 'float32', shape: [4] }],
      ['y', { type: 'float32', shape: [4] }],
    ]),
  };
  test('but for that, it is stripped', async () => {
    const { graph: float, encodings } = await stripQuantizers(graph);
    expect(float.nodes.map(({ op, inputs, outputs }) => [op, ...inputs, ...outputs])).toEqual([['Sigmoid', 'x', 'q']]);
    expect([...encodings.activations.keys()]).toEqual(['x', 'q']);
  });
  test('channels are counted from the end too', async () => {
    const weight = { op: 'DequantizeLinear', domain: '', inputs: ['w', 'ws', 'wz'], outputs: ['wr'] };
    const rows = async (axis: number) => {
      const nodes: Node[] = [
        graph.nodes[0] as Node,
        { ...weight, attributes: { axis } },
        { op: 'MatMul', domain: '', inputs: ['r', 'wr'], outputs: ['y'], attributes: {} },
        q,
      ];
      const constants = [
        initializer(
          'w',
          'int8',
          [4, 4],
          Int8Array.from({ length: 16 }, (_, i) => i - 8),
        ),
        initializer('ws', 'float32', [4], [0.5, 0.25, 2, 1]),
        initializer('wz', 'int8', [4], [0, 0, 0, 0]),
      ].map((own) => [own.name, own] as const);
      const values = new Map([...graph.values, ['wr', { type: 'float32' as const, shape: [4, 4] }]]);
      const initializers = new Map([...graph.initializers, ...constants]);
      const { graph: float } = await stripQuantizers({ ...graph, nodes, initializers, values });
      const found = [...float.initializers.values()].find(({ shape }) => shape.length === 2) as Initializer;
      return valuesOf(found, await dataOf(found));
    };
    expect(await rows(-1)).toEqual(await rows(1));
    expect(await rows(-1)).not.toEqual(await rows(0));
  });
  test('a value without a grid', async () => {
    const nodes = [...graph.nodes.slice(0, 2), { ...q, op: 'Tanh', inputs: ['y'] }];
    await expect(stripQuantizers({ ...graph, nodes })).rejects.toThrow('y: expected a grid, got none');
  });
  test('a value with two', async () => {
    const nodes = [...graph.nodes, { ...q, outputs: ['q2'] }];
    await expect(stripQuantizers({ ...graph, nodes })).rejects.toThrow('y: expected one grid, got several');
  });
  test('scales that are computed', async () => {
    const inputs = [...graph.inputs, { name: 's', type: 'float32' as const, shape: [] }];
    const initializers = new Map([...graph.initializers].filter(([name]) => name !== 's'));
    await expect(stripQuantizers({ ...graph, inputs, initializers })).rejects.toThrow('constants as scale');
  });
});
