/**
 * Products with a transposed operand, to operators of the ONNX standard and back.
 *
 *     com.microsoft.FusedMatMul(a, b, transB)  ⇄  MatMul(a, Transpose(b))
 *
 * ONNX Runtime's own operator stores nothing and is what the engine traces; other tools read the standard form only.
 */
import { type Graph, type Node, prune, type TensorType, typesOf } from '@mobilequant/graph';

const swapLast = (rank: number): number[] => [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2];
const swapped = <T>(shape: readonly T[]): T[] => swapLast(shape.length).map((axis) => shape[axis] as T);

/** Requires: types of transposed operands known. Ensures: no FusedMatMul is left; the same values. */
export function standardOperators(graph: Graph): Graph {
  const types = typesOf(graph);
  const values = new Map<string, TensorType>(graph.values);
  const transposed = new Map<string, string>();
  const nodes: Node[] = [];
  const transpose = (name: string): string => {
    const known = transposed.get(name);
    if (known) return known;
    const type = types.get(name) as TensorType;
    const result = `${name}_transposed`;
    nodes.push({
      op: 'Transpose',
      domain: '',
      inputs: [name],
      outputs: [result],
      attributes: { perm: swapLast(type.shape.length) },
    });
    values.set(result, { type: type.type, shape: swapped(type.shape) });
    transposed.set(name, result);
    return result;
  };
  for (const node of graph.nodes) {
    if (node.op !== 'FusedMatMul') {
      nodes.push(node);
      continue;
    }
    const { transA, transB } = node.attributes;
    const [a, b] = node.inputs as [string, string];
    nodes.push({
      ...node,
      op: 'MatMul',
      domain: '',
      inputs: [transA ? transpose(a) : a, transB ? transpose(b) : b],
      attributes: {},
    });
  }
  return { ...graph, nodes, values };
}

/** Requires: topological order. Ensures: the same values; a MatMul of more than two axes takes its transposed operand as it is. */
export function fuseTransposes(graph: Graph): Graph {
  const sources = new Map(
    graph.nodes.flatMap((node): [string, string][] => {
      const { perm } = node.attributes;
      const swaps =
        node.op === 'Transpose' &&
        Array.isArray(perm) &&
        perm.length > 2 &&
        swapLast(perm.length).every((axis, i) => axis === perm[i]);
      return swaps ? [[node.outputs[0] as string, node.inputs[0] as string]] : [];
    }),
  );
  const nodes = graph.nodes.map((node): Node => {
    const [a, b] = node.inputs.map((name) => sources.get(name));
    if (node.op !== 'MatMul' || (a === undefined && b === undefined)) return node;
    const inputs = [a ?? node.inputs[0], b ?? node.inputs[1]] as string[];
    const attributes = { ...(a !== undefined && { transA: 1 }), ...(b !== undefined && { transB: 1 }) };
    return { ...node, op: 'FusedMatMul', domain: 'com.microsoft', inputs, attributes };
  });
  return prune({ ...graph, nodes });
}
