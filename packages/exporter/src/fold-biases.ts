/**
 * Biases into the products that they are added to.
 *
 *     Add(Gemm(x, W), b)  →  Gemm(x, W, b)
 */
import type { Graph, Node } from '@mobilequant/graph';

/** Requires: topological order. Ensures: the same values; no sum of a Gemm that nobody else reads and a constant vector. */
export function foldBiases(graph: Graph): Graph {
  const readers = new Map<string, number>();
  for (const name of [...graph.nodes.flatMap(({ inputs }) => inputs), ...graph.outputs.map(({ name }) => name)])
    readers.set(name, (readers.get(name) ?? 0) + 1);
  const isBias = (name: string): boolean => graph.initializers.get(name)?.shape.length === 1;
  const products = new Map(
    graph.nodes.flatMap((node): [string, Node][] =>
      node.op === 'Gemm' && node.inputs.length === 2 ? [[node.outputs[0] as string, node]] : [],
    ),
  );
  const folded = new Set<Node>();
  const nodes = graph.nodes.map((node): Node => {
    const [a, b] = node.inputs as [string, string];
    const product = node.op === 'Add' && isBias(b) && readers.get(a) === 1 ? products.get(a) : undefined;
    if (!product) return node;
    folded.add(product);
    return { ...product, inputs: [...product.inputs, b], outputs: node.outputs };
  });
  return { ...graph, nodes: nodes.filter((node) => !folded.has(node)) };
}
