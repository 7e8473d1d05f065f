/** Each rule of the linter: a good graph has no findings, and broken in one way it has exactly that one's. */
import { quantizedForm } from '@mobilequant/calibration';
import { type ElementType, type Graph, type Initializer, initializer, type Node } from '@mobilequant/graph';
import { recipes } from '@mobilequant/quantizer';
import { describe, expect, test } from 'vitest';
import { architectures } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import {
  checkEncodings,
  encodedGraphs,
  exportOnnx,
  exportQnnDecode,
  exportQnnPrefill,
  type IntegerEncoding,
  type LintOptions,
  lintGraph,
  lintRules,
  type TensorEncoding,
} from '../src/index.ts';
import { quantized } from './tiny-model.ts';

const tokens = 12;
const prefill = await exportQnnPrefill(await quantized('w8a8'), { tokens });
const { graph, inputs } = prefill;
const form = await encodedGraphs(prefill);

const rulesOf = async (broken: Graph, options: LintOptions = {}): Promise<string[]> => [
  ...new Set((await lintGraph(broken, options)).map(({ rule }) => rule)),
];

describe('what is exported has no findings', () => {
  describe.each(architectures.filter(({ config }) => config.norm !== 'layer'))('$name', ({ config: checkpoint }) => {
    const config = quantizedForm(checkpoint, 'exact');
    test('in float or in integers', async () => {
      const model = await quantized(recipes['w4a8-strict'], { config, weights: tinyWeights(config, 21) });
      for (const pair of [await exportQnnPrefill(model, { tokens }), await exportQnnDecode(model, { context: 16 })]) {
        expect(await lintGraph(pair.graph, { inputs: pair.inputs })).toEqual([]);
        expect(await lintGraph(pair.inputs, { device: 'processor' })).toEqual([]);
        const encoded = await encodedGraphs(pair);
        expect(await lintGraph(encoded.graph, { inputs: encoded.inputs, encodings: encoded.encodings })).toEqual([]);
        expect(await checkEncodings(encoded.graph, encoded.encodings)).toEqual([]);
        expect(await lintGraph(encoded.inputs, { device: 'processor' })).toEqual([]);
      }
      expect(await lintGraph(await exportOnnx(model, { tokens }), { device: 'processor' })).toEqual([]);
    });
  });
});

const withConstants = (...made: Initializer[]): Graph => ({
  ...graph,
  initializers: new Map([...graph.initializers, ...made.map((one) => [one.name, one] as const)]),
});
const withNodes = (change: (node: Node) => Node[]): Graph => ({ ...graph, nodes: graph.nodes.flatMap(change) });

describe('a whole graph', () => {
  const hidden = graph.inputs[0] as Graph['inputs'][number];
  test('in another order', async () => {
    expect(await rulesOf({ ...graph, nodes: graph.nodes.toReversed() })).toEqual(['well-formed']);
  });
  test('of an older operator set', async () => {
    expect(await rulesOf({ ...graph, opset: 19 })).toEqual(['opset']);
  });
  test('with a size that is not known', async () => {
    const values = new Map([...graph.values].slice(0, 1).map(([name, type]) => [name, { ...type, shape: ['n', 32] }]));
    expect(await rulesOf({ ...graph, values: new Map([...graph.values, ...values]) })).toEqual(['static-shapes']);
  });
  test('with a float input', async () => {
    const float = { ...hidden, name: 'float', type: 'float32' as const };
    const quantize: Node = {
      op: 'QuantizeLinear',
      domain: '',
      inputs: ['float', 'hidden_states_scale', 'hidden_states_zero_point'],
      outputs: [hidden.name],
      attributes: {},
    };
    const values = new Map([...graph.values, [hidden.name, { type: 'uint16' as const, shape: hidden.shape }]]);
    const broken = { ...graph, inputs: [float, ...graph.inputs.slice(1)], nodes: [quantize, ...graph.nodes], values };
    expect(await rulesOf(broken)).toEqual(['integer-ends']);
  });
  test('with an operator that there is not', async () => {
    const broken = withNodes((node) => [node.op === 'Softmax' ? { ...node, op: 'Hardmax' } : node]);
    expect(await lintGraph(broken)).toHaveLength(2);
    expect(await rulesOf(broken)).toEqual(['known-operators']);
    expect(await rulesOf(broken, { device: 'processor' })).toEqual([]);
  });
  test('with an operator of another domain', async () => {
    const broken = withNodes((node) => [node.op === 'Softmax' ? { ...node, domain: 'mine' } : node]);
    expect(await rulesOf(broken)).toEqual(['known-operators']);
  });
  test('with Swish', async () => {
    const broken = withNodes((node) => [node.op === 'Sigmoid' ? { ...node, op: 'Swish' } : node]);
    expect(await rulesOf(broken)).toEqual(['swish']);
  });
  test('with more weights than a binary holds, none of which is read', async () => {
    const data = () => {
      throw new Error('read');
    };
    const weights = (type: ElementType, count: number) => withConstants({ name: 'w', type, shape: [count], data });
    expect(await rulesOf(weights('int8', 2 ** 31))).toEqual(['size']);
    expect(await rulesOf(weights('int4', 2 ** 31))).toEqual([]);
  });
  test('with inputs of another length', async () => {
    const other = await exportQnnPrefill(await quantized('w8a8'), { tokens: 8 });
    expect(await rulesOf(graph, { inputs: other.inputs })).toEqual(['inputs-prepared']);
    expect(await rulesOf(graph, { inputs: form.inputs })).toEqual(['inputs-prepared']);
    expect(await rulesOf(graph, { inputs })).toEqual([]);
  });
});

describe('grids', () => {
  test.each([1e-21, 0, -1, Number.NaN, Number.POSITIVE_INFINITY])('a scale of %f', async (scale) => {
    const broken = withConstants(initializer('hidden_states_scale', 'float32', [], [scale]));
    expect(await rulesOf(broken)).toEqual(['scales']);
    expect(await rulesOf(broken, { device: 'processor' })).toEqual(['scales']);
  });
  test('a zero point that is found out at run time', async () => {
    const name = 'hidden_states_zero_point';
    const broken = {
      ...graph,
      inputs: [...graph.inputs, { name, type: 'uint16' as const, shape: [] }],
      initializers: new Map([...graph.initializers].filter(([known]) => known !== name)),
    };
    expect(await rulesOf(broken)).toEqual(['readable-scales']);
  });
  test('an activation with a scale for each channel', async () => {
    const broken = withConstants(
      initializer('hidden_states_scale', 'float32', [32], new Float32Array(32).fill(0.1)),
      initializer('hidden_states_zero_point', 'uint16', [32], new Uint16Array(32)),
    );
    expect(await rulesOf(broken)).toEqual(['one-scale']);
  });
  test('a Sigmoid of 16 bits on a grid of its own', async () => {
    const broken = withConstants(initializer('model.layers.0.mlp.act_fn.input2_scale', 'float32', [], [1 / 65535]));
    expect(await rulesOf(broken)).toEqual(['fixed-grids']);
  });
  test('a layer that has other weights', async () => {
    const name = 'model.layers.1.mlp.w1.weight';
    const { shape } = graph.initializers.get(`${name}_quantized`) as Initializer;
    const [rows, columns] = shape as [number, number];
    const broken = withConstants(
      initializer(`${name}_quantized`, 'int4', shape, new Uint8Array((rows * columns) / 2)),
      initializer(`${name}_zero_point`, 'int4', [rows], new Uint8Array(rows / 2)),
    );
    expect(await rulesOf(broken)).toEqual(['layers-alike']);
  });
});

describe('encodings', () => {
  const changed = async (name: string, change: (encoding: IntegerEncoding) => TensorEncoding[], as = name) => {
    const activations = new Map(
      [...form.encodings.activations].flatMap(([key, encoding]) =>
        (key === name ? change(encoding as IntegerEncoding) : [encoding]).map((one) => [key === name ? as : key, one]),
      ) as [string, TensorEncoding][],
    );
    return [...new Set((await checkEncodings(form.graph, { ...form.encodings, activations })).map(({ rule }) => rule))];
  };
  const reshaped = form.graph.nodes.find(({ op }) => op === 'Reshape')?.outputs[0] as string;

  test('that leave out what a Reshape gives', async () => {
    expect(await changed(reshaped, () => [])).toEqual(['encodings-complete']);
  });
  test('that leave out a parameter', async () => {
    const params = new Map([...form.encodings.params].slice(1));
    expect(await rulesOf(form.graph, { encodings: { ...form.encodings, params } })).toEqual(['encodings-complete']);
  });
  test('of a tensor that there is not', async () => {
    const activations = new Map([...form.encodings.activations, ['nothing', form.encodings.activations.get(reshaped)]]);
    const encodings = { ...form.encodings, activations: activations as Map<string, TensorEncoding> };
    expect(await rulesOf(form.graph, { encodings })).toEqual(['encodings-known']);
  });
  test('of another export: names that are missing, and names that are too many', async () => {
    expect(await changed('hidden_states', (encoding) => [encoding], 'input_feats')).toEqual([
      'encodings-complete',
      'encodings-known',
    ]);
  });
  test('in float', async () => {
    expect(await changed('hidden_states', ({ name }) => [{ kind: 'float', name, bits: 16 }])).toEqual([
      'encodings-float',
    ]);
  });
  test('whose range does not contain zero', async () => {
    for (const zero of [-3, 65536])
      expect(await changed('hidden_states', (own) => [{ ...own, zeroPoint: Float64Array.of(zero) }])).toEqual([
        'zero-in-range',
      ]);
  });
  test('of two widths at one operator', async () => {
    expect(await changed('hidden_states', (own) => [{ ...own, bits: 8, zeroPoint: Float64Array.of(128) }])).toEqual([
      'one-width',
    ]);
  });
  test('are those of an operator of one width too where a layer has others', async () => {
    const name = 'model.layers.1.input_layernorm.output';
    expect(await changed(name, (own) => [{ ...own, bits: 16 }])).toEqual(['layers-alike', 'one-width']);
  });
});

// ── Single operators ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Side {
  readonly type: ElementType;
  readonly shape?: readonly number[];
  readonly scale?: number;
  readonly zero?: number;
  /** Scales along it. */
  readonly axis?: number;
  readonly block?: number;
  readonly constant?: boolean;
}

const u8: Side = { type: 'uint8', zero: 3 };
const u16: Side = { type: 'uint16', zero: 300 };
const weight: Side = { type: 'int8', axis: 0, constant: true };
const second: Side = { type: 'uint8', zero: 128 };
const bias: Side = { type: 'int32', axis: 0, constant: true, shape: [4] };

/** An operator with its operands behind DequantizeLinear, and what it makes before QuantizeLinear, all of 4 × 4. */
function oneOperator(op: string, operands: readonly Side[], result: Side, attributes: Node['attributes'] = {}): Graph {
  const initializers = new Map<string, Initializer>();
  const constant = (name: string, type: ElementType, shape: readonly number[], values: number[]): string => {
    initializers.set(name, initializer(name, type, shape, values));
    return name;
  };
  const grid = (name: string, { type, scale = 0.5, zero = 0, axis, block = 0 }: Side): string[] => {
    const shape = axis === undefined ? [] : block > 0 ? [4, 4 / block] : [4];
    const count = shape.reduce((a, b) => a * b, 1);
    const many = (value: number): number[] => new Array<number>(count).fill(value);
    return [constant(`${name}_s`, 'float32', shape, many(scale)), constant(`${name}_z`, type, shape, many(zero))];
  };
  const along = ({ axis, block = 0 }: Side): Node['attributes'] => ({
    ...(axis !== undefined && { axis }),
    ...(block > 0 && { block_size: block }),
  });
  const names = operands.map((_, i) => `x${i}`);
  const nodes = operands.map((side, i): Node => {
    const { type, shape = [4, 4], constant: fixed } = side;
    const count = shape.reduce((a, b) => a * b, 1);
    if (fixed) constant(`x${i}`, type, shape, new Array<number>(count).fill(1));
    const inputs = [`x${i}`, ...grid(`x${i}`, side)];
    return { op: 'DequantizeLinear', domain: '', inputs, outputs: [`r${i}`], attributes: along(side) };
  });
  nodes.push({ op, domain: '', inputs: names.map((_, i) => `r${i}`), outputs: ['r'], attributes });
  nodes.push({ op: 'QuantizeLinear', domain: '', inputs: ['r', ...grid('y', result)], outputs: ['y'], attributes: {} });
  return {
    name: 'g',
    inputs: operands.flatMap(({ type, shape = [4, 4], constant: fixed }, i) =>
      fixed ? [] : [{ name: `x${i}`, type, shape }],
    ),
    outputs: [{ name: 'y', type: result.type, shape: [4, 4] }],
    nodes,
    initializers,
    values: new Map(),
  };
}

const gemm = { transB: 1 };
const matMulWeight: Side = { ...weight, axis: 1 };
const normWeight: Side = { type: 'uint8', constant: true, shape: [4] };

describe('a single operator that is in order has no findings', () => {
  test.each<[string, readonly Side[], Side, Node['attributes']?]>([
    ['Add', [u8, u8], u8],
    ['Add', [u16, u16], u16],
    ['Gemm', [u8, weight], u8, gemm],
    ['Gemm', [u16, weight, bias], u16, gemm],
    ['Gemm', [u16, { ...weight, axis: 1 }], u16],
    ['Gemm', [u16, { ...weight, type: 'uint8', zero: 128 }], u16, gemm],
    ['MatMul', [u16, matMulWeight], u16],
    ['MatMul', [u16, { ...matMulWeight, type: 'int4', axis: -1 }], u16],
    ['MatMul', [u16, { type: 'int16', constant: true }], u16],
    ['MatMul', [u16, second], u16],
    ['MatMul', [u8, second], u8],
    ['Transpose', [u8], u8],
    ['RMSNormalization', [u16, { ...normWeight, type: 'uint16' }], u16],
    ['LayerNormalization', [u16, normWeight, { ...normWeight, type: 'int32' }], u16],
    ['Sigmoid', [u16], { type: 'uint16', scale: 1 / 65536 }],
    ['Sigmoid', [u8], { type: 'uint8', scale: 0.01 }],
    ['Tanh', [u16], { type: 'uint16', scale: 1 / 32768, zero: 32768 }],
  ])('%s', async (op, operands, result, attributes) => {
    expect(await lintGraph(oneOperator(op, operands, result, attributes))).toEqual([]);
  });
});

describe('a single operator', () => {
  test.each<[string, string, readonly Side[], Side, Node['attributes']?]>([
    ['one-width', 'Add', [u8, u16], u16],
    ['one-width', 'Mul', [u16, u16], u8],
    ['one-width', 'Softmax', [u16], u8],
    ['one-width', 'Gemm', [u8, weight], u16, gemm],
    ['one-width', 'MatMul', [u16, second], u8],
    ['one-width', 'Mul', [u16, normWeight], u16],
    ['one-width', 'RMSNormalization', [u16, normWeight], u8],
    ['one-width', 'Reshape', [u8], u16],
    ['weight-axis', 'Gemm', [u8, { ...weight, axis: 1 }], u8, gemm],
    ['weight-axis', 'MatMul', [u8, weight], u8],
    ['weight-symmetric', 'Gemm', [u8, { ...weight, zero: 1 }], u8, gemm],
    ['weight-symmetric', 'Gemm', [u8, { ...weight, type: 'uint8', zero: 127 }], u8, gemm],
    ['weight-unsigned', 'Gemm', [u8, { ...weight, type: 'uint4', zero: 8 }], u8, gemm],
    ['weight-blocks', 'Gemm', [u16, { ...weight, axis: 1, block: 2 }], u16, gemm],
    ['weight-requantized', 'MatMul', [u8, { type: 'uint8', zero: 3, constant: true }], u8],
    ['second-width', 'MatMul', [u16, u16], u16],
    ['second-width', 'MatMul', [{ type: 'int16' }, { type: 'int16' }], { type: 'int16' }],
    ['second-unsigned', 'MatMul', [u16, { type: 'int8' }], u16],
    ['second-symmetric', 'MatMul', [u16, { type: 'uint8', zero: 127 }], u16],
    ['norm-weights', 'RMSNormalization', [u16, { ...normWeight, type: 'int8' }], u16],
    ['norm-weights', 'LayerNormalization', [u16, { ...normWeight, type: 'uint16' }], u16],
    ['norm-weights', 'LayerNormalization', [u16, normWeight, { ...normWeight, zero: 3 }], u16],
    ['moves-keep-grids', 'Transpose', [u8], { ...u8, scale: 0.25 }],
    ['moves-keep-grids', 'Transpose', [u8], { ...u8, zero: 4 }],
    ['fixed-grids', 'Sigmoid', [{ type: 'int16' }], { type: 'int16', scale: 1 / 65536 }],
    ['fixed-grids', 'Tanh', [u16], { type: 'uint16', scale: 1 / 32768, zero: 3 }],
    ['one-scale', 'Add', [{ ...u8, axis: 1 }, u8], u8],
    ['one-scale', 'Mul', [u8, { ...normWeight, axis: 0 }], u8],
    ['one-scale', 'RMSNormalization', [u16, { ...normWeight, axis: 0 }], u16],
    ['one-scale', 'LayerNormalization', [u16, normWeight, bias], u16],
  ])('against %s: %s', async (rule, op, operands, result, attributes) => {
    const found = await lintGraph(oneOperator(op, operands, result, attributes));
    expect([...new Set(found.map((finding) => finding.rule))]).toEqual([rule]);
    for (const { where, advice, severity } of found) {
      expect(where).toContain(op);
      expect(advice).toMatch(/\.$/);
      expect(['error', 'warning']).toContain(severity);
    }
  });

  test('that is read in float', async () => {
    const good = oneOperator('Add', [u8, u8], u8);
    const [first, , add, last] = good.nodes as [Node, Node, Node, Node];
    const chain: Node[] = [
      { ...add, outputs: ['a'] },
      { op: 'Neg', domain: '', inputs: ['a'], outputs: ['r'], attributes: {} },
    ];
    const broken = { ...good, nodes: [first, good.nodes[1] as Node, ...chain, last] };
    expect((await lintGraph(broken)).map(({ rule, where, found }) => [rule, where, found])).toEqual([
      ['quantized-values', 'Add a', 'gives a in float'],
      ['quantized-values', 'Neg r', 'reads a in float'],
    ]);
  });

  test('behind which values are converted, though it only moves them', async () => {
    const good = oneOperator('Transpose', [u8], u8);
    const more: Node[] = [
      { op: 'DequantizeLinear', domain: '', inputs: ['y', 'y_s', 'y_z'], outputs: ['b'], attributes: {} },
      { op: 'QuantizeLinear', domain: '', inputs: ['b', 'w_s', 'w_z'], outputs: ['w'], attributes: {} },
    ];
    const broken: Graph = {
      ...good,
      outputs: [{ name: 'w', type: 'uint16', shape: [4, 4] }],
      nodes: [...good.nodes, ...more],
      initializers: new Map([
        ...good.initializers,
        ['w_s', initializer('w_s', 'float32', [], [0.5 / 257])],
        ['w_z', initializer('w_z', 'uint16', [], [3 * 257])],
      ]),
    };
    expect(await rulesOf(broken)).toEqual(['conversion-place']);
  });
});

test('every rule is broken somewhere above, has a name of its own, and says itself in a sentence', async () => {
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(new URL(import.meta.url), 'utf8');
  expect(lintRules.filter(({ name }) => !text.includes(`'${name}'`)).map(({ name }) => name)).toEqual([]);
  expect(new Set(lintRules.map(({ name }) => name)).size).toBe(lintRules.length);
  for (const { description } of lintRules) expect(description).toMatch(/^[A-Z].*\.$/);
});
