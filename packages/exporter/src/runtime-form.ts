/**
 * The form of an exported graph that ONNX Runtime multiplies in integers wherever it runs, whatever it fuses by itself.
 */
import {
  dataOf,
  type Graph,
  type Initializer,
  initializer,
  integerProducts,
  type Node,
  prune,
} from '@mobilequant/graph';
import { fuseTransposes } from './standard-operators.ts';

/**
 * Ensures: the same values as the graph's, with exact sums. Products of bytes are MatMulIntegerToFloat, of 16-bit inputs byte by byte;
 * 8-bit weights are unsigned, 4-bit ones stay packed, and the runtime unpacks them when it loads the model.
 */
export const runtimeForm = (graph: Graph): Graph => prune(unsignedWeights(integerProducts(fuseTransposes(graph))));

/**
 *     w: int8, zero point z  →  w + 128: uint8, zero point z + 128
 *
 * x86 processors without VNNI saturate sums of uint8 · int8 (see `tracer/exact-products`); those of uint8 · uint8 they add in full.
 */
function unsignedWeights(graph: Graph): Graph {
  const initializers = new Map(graph.initializers);
  const unsigned = (name: string): string => {
    const signed = graph.initializers.get(name);
    if (signed?.type !== 'int8') return name;
    const made = asUnsigned(signed);
    initializers.set(made.name, made);
    return made.name;
  };
  const middle = initializer('unsigned.zero_point', 'uint8', [], [128]);
  const nodes = graph.nodes.map((node): Node => {
    const [x, w, xScale, wScale, xZero = '', wZero = ''] = node.inputs as [string, string, string, string];
    if (node.op !== 'MatMulIntegerToFloat' || graph.initializers.get(w)?.type !== 'int8') return node;
    if (wZero === '') initializers.set(middle.name, middle);
    return { ...node, inputs: [x, unsigned(w), xScale, wScale, xZero, wZero === '' ? middle.name : unsigned(wZero)] };
  });
  return { ...graph, nodes, initializers };
}

function asUnsigned(signed: Initializer): Initializer {
  const { shape, data } = signed;
  const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => byte ^ 128);
  return {
    name: `${signed.name}_unsigned`,
    type: 'uint8',
    shape,
    data: typeof data === 'function' ? async () => flipped(await dataOf(signed)) : flipped(data),
  };
}
