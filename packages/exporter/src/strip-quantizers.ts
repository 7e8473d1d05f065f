/**
 * The float graph under a graph of integers, and the grid of each of its tensors: what AIMET exports, and converters take.
 *
 *     operator → QuantizeLinear → DequantizeLinear   one tensor, with the grid between them
 *     DequantizeLinear of a constant                 a parameter: real numbers, each on its grid, so that whoever rounds them again
 *                                                    finds the same integers
 *     DequantizeLinear → QuantizeLinear              Identity
 *
 * In an encodings file a tensor has one encoding, for whoever reads it; none can be said for one reader alone. A conversion from grid to
 * grid is therefore a node of its own, so that there are two tensors to speak of. Identity is the operator for it: it computes nothing
 * anywhere, and AIMET puts a quantizer behind it. Where a compiler takes it out, the operator behind is left with a tensor of another
 * width, which is where compilers insert a conversion. (A Reshape to the same shape would be taken out too; a Mul by 1 costs an operator and
 * a rounding.)
 */
import {
  elementCount,
  type Graph,
  type Initializer,
  type Node,
  producersOf,
  prune,
  type TensorType,
  typesOf,
  type ValueInfo,
} from '@mobilequant/graph';
import { quantizerEncoding } from './encodings/quantizer-encoding.ts';
import type { EncodingsFile, IntegerEncoding } from './encodings/tensor-encoding.ts';
import { ExportError } from './errors.ts';
import { levelsOf } from './levels-of.ts';

/** A graph without quantizers, and an encoding for every tensor in it that is no index. */
export interface FloatForm {
  readonly graph: Graph;
  readonly encodings: EncodingsFile;
}

/**
 * Requires: topological order; every value between DequantizeLinear and QuantizeLinear, as `quantizeOperators` ensures. Ensures: the same
 * values where each tensor is rounded to its encoding; inputs and outputs float32 under their names.
 *
 * @throws ExportError for a value that has no grid, or several.
 */
export async function stripQuantizers(graph: Graph): Promise<FloatForm> {
  const types = typesOf(graph);
  const producers = producersOf(graph);
  const names = floatNames(graph, producers, types);
  const nameOf = (value: string): string => names.get(value) ?? value;

  const nodes: Node[] = [];
  const initializers = new Map<string, Initializer>();
  const values = new Map<string, TensorType>();
  const activations = new Map<string, IntegerEncoding>();
  const params = new Map<string, IntegerEncoding>();
  for (const node of graph.nodes) {
    const [x, y] = [node.inputs[0] as string, node.outputs[0] as string];
    if (node.op === 'DequantizeLinear') {
      const constant = graph.initializers.get(x);
      const name = nameOf(y);
      const known = constant ? params : activations;
      if (known.has(name)) continue;
      const encoding = await encodingOf(graph, node, name, typeOf(types, x).type);
      known.set(name, encoding);
      if (constant) initializers.set(name, parameter(constant, encoding));
    } else if (node.op === 'QuantizeLinear') {
      const name = nameOf(y);
      activations.set(name, await encodingOf(graph, node, name, typeOf(types, y).type));
      values.set(name, { type: 'float32', shape: typeOf(types, y).shape });
      if (producers.get(x)?.op === 'DequantizeLinear')
        nodes.push({ op: 'Identity', domain: '', inputs: [nameOf(x)], outputs: [name], attributes: {} });
    } else {
      for (const value of [...node.inputs, ...node.outputs]) checkNamed(value, types, names);
      nodes.push({ ...node, inputs: node.inputs.map(nameOf), outputs: node.outputs.map(nameOf) });
      for (const name of node.inputs) {
        const index = graph.initializers.get(name);
        if (index) initializers.set(name, index);
      }
    }
  }
  const float = ({ name, shape }: ValueInfo): ValueInfo => ({ name, type: 'float32', shape });
  const inputs = graph.inputs.map(float);
  const outputs = graph.outputs.map(float);
  return {
    graph: prune({ ...graph, inputs, outputs, nodes, initializers, values }),
    encodings: { activations, params },
  };
}

/**
 * Integers, and the real values before and behind them → the float tensor that they become: what the graph calls it outside, else what
 * its DequantizeLinear does, which for sites is their name.
 */
function floatNames(
  graph: Graph,
  producers: ReadonlyMap<string, Node>,
  types: ReadonlyMap<string, TensorType>,
): Map<string, string> {
  const outer = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  const names = new Map<string, string>();
  for (const { op, inputs, outputs } of graph.nodes) {
    if (op !== 'DequantizeLinear') continue;
    const [q, y] = [inputs[0] as string, outputs[0] as string];
    const short = y.replace(/_dequantized$/, '');
    const own = graph.initializers.has(q) && !types.has(short) ? short : y;
    const name = names.get(q) ?? (outer.has(q) ? q : own);
    names.set(q, name);
    names.set(y, name);
  }
  for (const { op, inputs, outputs } of graph.nodes) {
    const [x, q] = [inputs[0] as string, outputs[0] as string];
    if (op !== 'QuantizeLinear') continue;
    const name = names.get(q) ?? q;
    names.set(q, name);
    if (producers.get(x)?.op === 'DequantizeLinear') continue;
    if (names.has(x)) throw new ExportError(x, 'one grid', 'several', 'Convert behind the first.');
    names.set(x, name);
  }
  return names;
}

function checkNamed(value: string, types: ReadonlyMap<string, TensorType>, names: ReadonlyMap<string, string>): void {
  if (value === '' || names.has(value) || types.get(value)?.type === 'int64' || types.get(value)?.type === 'int32')
    return;
  throw new ExportError(value, 'a grid', 'none', 'Quantize every value (quantizeOperators).');
}

function typeOf(types: ReadonlyMap<string, TensorType>, name: string): TensorType {
  const type = types.get(name);
  if (type) return type;
  throw new ExportError(name, 'a type', 'none', 'Give a graph whose types are known.');
}

async function encodingOf(graph: Graph, node: Node, name: string, type: TensorType['type']): Promise<IntegerEncoding> {
  const encoding = await quantizerEncoding(graph, node, name, type);
  if (encoding) return encoding;
  throw new ExportError(name, 'constants as scale and zero point', 'values', 'Quantize it before.');
}

/** A constant's real values, made when they are written: on the grid exactly. */
function parameter(constant: Initializer, encoding: IntegerEncoding): Initializer {
  const { shape } = constant;
  const { bits, symmetric, granularity, scale, zeroPoint } = encoding;
  if (granularity.kind === 'block' || granularity.kind === 'lpbq')
    throw new ExportError(encoding.name, 'one scale for each channel', 'blocks', 'Quantize it per channel.');
  const given = granularity.kind === 'channel' ? granularity.axis : 0;
  const axis = given < 0 ? given + shape.length : given;
  const inner = elementCount(shape.slice(axis + 1));
  const middle = symmetric ? 2 ** (bits - 1) : 0;
  return {
    name: encoding.name,
    type: 'float32',
    shape,
    data: async () => {
      const levels = await levelsOf(constant);
      const real = new Float32Array(levels.length);
      for (let i = 0; i < levels.length; i++) {
        const channel = Math.floor(i / inner) % scale.length;
        real[i] = ((levels[i] as number) + middle - (zeroPoint[channel] as number)) * (scale[channel] as number);
      }
      return new Uint8Array(real.buffer);
    },
  };
}
