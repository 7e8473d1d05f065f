/**
 * Four-bit weights as bytes, for kernels that multiply bytes.
 */
import { type Graph, type Initializer, type Node, prune, type TensorType } from '@mobilequant/graph';
import { bytesOf } from './bytes-of.ts';
import { levelsOf } from './levels-of.ts';

/**
 * Requires: nothing. Ensures: the same values; a DequantizeLinear of an INT4 initializer, bare or behind a Cast to INT8,
 * takes an INT8 one instead, whose data is unpacked when it is asked for.
 */
export function unpackInt4(graph: Graph): Graph {
  const initializers = new Map(graph.initializers);
  const values = new Map<string, TensorType>(graph.values);
  const casts = new Map(
    graph.nodes.flatMap(({ op, inputs, outputs }) =>
      op === 'Cast' ? [[outputs[0] as string, inputs[0] as string]] : [],
    ),
  );

  const unpacked = (name: string): string => {
    const packed = graph.initializers.get(casts.get(name) ?? name);
    if (packed?.type !== 'int4') return name;
    const result = `${packed.name}_int8`;
    initializers.set(result, asInt8(packed, result));
    values.set(result, { type: 'int8', shape: packed.shape });
    return result;
  };
  const nodes = graph.nodes.map((node): Node => {
    if (node.op !== 'DequantizeLinear') return node;
    const [x, scale, zero] = node.inputs as [string, string, string?];
    return { ...node, inputs: [unpacked(x), scale, ...(zero === undefined ? [] : [unpacked(zero)])] };
  });
  return prune({ ...graph, nodes, initializers, values });
}

function asInt8(packed: Initializer, name: string): Initializer {
  const data = async () => bytesOf(await levelsOf(packed));
  return { name, type: 'int8', shape: packed.shape, data };
}
