/** Rules about the graph as a whole: form, shapes, operators, size. */
import { byteLength, elementCount, formatType, type ValueInfo, verify } from '@mobilequant/graph';
import { isQuantizer } from './lint-facts.ts';
import type { LintRule } from './lint-rule.ts';

const FIRST_OPSET = 21;
const WIDE_OR_NARROW = /(16|4)$/; // integers that QuantizeLinear has since then

/** A context binary is addressed by 32 bits, signed. */
const MOST_BYTES = 2 ** 31;

// biome-ignore format: a table
const OPERATORS: ReadonlySet<string> = new Set([
  'Abs', 'Add', 'And', 'ArgMax', 'ArgMin', 'Asin', 'Atan', 'AveragePool', 'BatchNormalization', 'Cast', 'Ceil', 'Clip', 'Concat', 'Conv',
  'ConvTranspose', 'Cos', 'CumSum', 'DepthToSpace', 'DequantizeLinear', 'Div', 'Einsum', 'Elu', 'Equal', 'Exp', 'Expand', 'Flatten', 'Floor',
  'Gather', 'GatherElements', 'GatherND', 'Gelu', 'Gemm', 'GlobalAveragePool', 'GlobalMaxPool', 'Greater', 'GreaterOrEqual', 'GridSample',
  'GroupNormalization', 'HardSigmoid', 'HardSwish', 'Identity', 'InstanceNormalization', 'LRN', 'LSTM', 'LayerNormalization', 'LeakyRelu',
  'Less', 'LessOrEqual', 'Log', 'LogSoftmax', 'LpNormalization', 'MatMul', 'Max', 'MaxPool', 'Mean', 'Min', 'Mod', 'Mul', 'Neg', 'NonZero', 'Not',
  'Or', 'PRelu', 'Pad', 'Pow', 'QuantizeLinear', 'RMSNormalization', 'Reciprocal', 'ReduceL2', 'ReduceMax', 'ReduceMean', 'ReduceMin',
  'ReduceProd', 'ReduceSum', 'Relu', 'Reshape', 'Resize', 'RoiAlign', 'RotaryEmbedding', 'Round', 'ScatterElements', 'ScatterND', 'Sigmoid',
  'Sign', 'SimplifiedLayerNormalization', 'Sin', 'Slice', 'Softmax', 'Softplus', 'SpaceToDepth', 'Split', 'Sqrt', 'Squeeze', 'Sub', 'Sum',
  'Tan', 'Tanh', 'ThresholdedRelu', 'Tile', 'TopK', 'Transpose', 'Unsqueeze', 'Upsample', 'Where',
]);

// biome-ignore format: a list
const OTHER_DOMAINS: ReadonlySet<string> = new Set([
  'DequantizeLinear', 'EPContext', 'FusedMatMul', 'Gelu', 'MatMulNBits', 'QuantizeLinear', 'QuickGelu', 'RotaryEmbedding',
  'SimplifiedLayerNormalization',
]);

export const graphRules: readonly LintRule[] = [
  {
    name: 'well-formed',
    severity: 'error',
    description:
      'A graph keeps the rules of ONNX: names that are defined once and before they are read, shapes and types that agree.',
    check({ graph }) {
      try {
        verify({ ...graph, opset: Math.max(graph.opset ?? FIRST_OPSET, FIRST_OPSET) }); // the operator set has a rule of its own
        return [];
      } catch (error) {
        if (!(error instanceof Error) || error.name !== 'GraphError') throw error;
        return [{ where: 'the graph', found: error.message, advice: 'No program will load it: export it again.' }];
      }
    },
  },
  {
    name: 'opset',
    severity: 'error',
    description: `Integers of 16 and 4 bits need operator set ${FIRST_OPSET}: QuantizeLinear of an older one does not take them, and nothing loads the graph.`,
    check({ graph, types }) {
      const { opset = FIRST_OPSET } = graph;
      const odd = graph.nodes.find(
        (node) =>
          isQuantizer(node) &&
          node.domain === '' &&
          [...node.inputs, ...node.outputs].some((name) => WIDE_OR_NARROW.test(types.get(name)?.type ?? '')),
      );
      if (opset >= FIRST_OPSET || !odd) return [];
      return [
        {
          where: `${odd.op} ${odd.outputs[0]}`,
          found: `operator set ${opset}`,
          advice: `Say operator set ${FIRST_OPSET}, or take QuantizeLinear of the domain com.microsoft.`,
        },
      ];
    },
  },
  {
    name: 'static-shapes',
    severity: 'error',
    device: 'npu',
    description: 'Every dimension is a number: an NPU compiles for one size, and refuses the graph otherwise.',
    check({ graph }) {
      const inner = [...graph.values].map(([name, type]): ValueInfo => ({ name, ...type }));
      return [...graph.inputs, ...graph.outputs, ...inner]
        .filter(({ shape }) => shape.some((size) => typeof size !== 'number'))
        .map((value) => ({
          where: value.name,
          found: formatType(value),
          advice: 'Fix the number of tokens, and that of the cache.',
        }));
    },
  },
  {
    name: 'integer-ends',
    severity: 'warning',
    device: 'npu',
    description:
      'Inputs and outputs are integers: a float one is quantized on the processor at each run, and an output in float right behind a product is less accurate.',
    check({ graph, file, quantizers }) {
      if (file || quantizers.length === 0) return []; // a converter makes the ends as it is told
      return [...graph.inputs, ...graph.outputs]
        .filter(({ type }) => type === 'float32' || type === 'float16')
        .map(({ name, type }) => ({
          where: name,
          found: type,
          advice: 'Begin with DequantizeLinear, end with QuantizeLinear.',
        }));
    },
  },
  {
    name: 'known-operators',
    severity: 'error',
    device: 'npu',
    description:
      'Every operator is one that the NPU’s compiler takes; another sends its part of the graph back to the processor.',
    check: ({ graph }) =>
      graph.nodes
        .filter(({ op, domain }) => op !== 'Swish' && !(domain === '' ? OPERATORS : OTHER_DOMAINS).has(op))
        .map(({ op, domain, outputs }) => ({
          where: `${op} ${outputs[0]}`,
          found: domain === '' ? op : `${domain}.${op}`,
          advice: 'Write it in operators that it has.',
        })),
  },
  {
    name: 'swish',
    severity: 'error',
    device: 'npu',
    description: 'There is no Swish: the NPU’s compiler takes it and computes something else.',
    check: ({ graph }) =>
      graph.nodes
        .filter(({ op }) => op === 'Swish')
        .map(({ op, outputs }) => ({
          where: `${op} ${outputs[0]}`,
          found: op,
          advice: 'Write Sigmoid and Mul.',
        })),
  },
  {
    name: 'size',
    severity: 'error',
    device: 'npu',
    description: 'Weights take less than 2 GiB on the device; more does not fit into one context binary.',
    check({ graph, encodings }) {
      const bytes = [...graph.initializers.values()].reduce((sum, { name, type, shape }) => {
        const bits = encodings.get(name)?.bits;
        return sum + (bits === undefined ? byteLength(type, shape) : (elementCount(shape) * bits) / 8);
      }, 0);
      if (bytes < MOST_BYTES) return [];
      return [
        {
          where: 'the graph',
          found: `${(bytes / 2 ** 30).toFixed(1)} GiB of weights`,
          advice: 'Split it into several graphs, layer by layer, or use fewer bits.',
        },
      ];
    },
  },
  {
    name: 'inputs-prepared',
    severity: 'error',
    description: 'What prepares the inputs of a graph gives them under their names, in their types and shapes.',
    check({ graph, inputs }) {
      const wanted = new Map(graph.inputs.map((value) => [value.name, formatType(value)]));
      return (inputs?.outputs ?? [])
        .filter((value) => wanted.get(value.name) !== formatType(value))
        .map((value) => ({
          where: value.name,
          found: `${formatType(value)} for ${wanted.get(value.name) ?? 'no such input'}`,
          advice: 'Take both files from one export.',
        }));
    },
  },
];
