/**
 * Divisions by constants to products, which every device has.
 *
 *     Div(x, c)  →  Mul(x, 1/c)
 */
import { type Graph, initializer, type Node, valuesOf } from '@mobilequant/graph';

/** Ensures: the same values up to rounding; no division by a constant number. */
export function multiplyInstead(graph: Graph): Graph {
  const initializers = new Map(graph.initializers);
  const nodes = graph.nodes.map((node): Node => {
    const [x, name] = node.inputs as [string, string];
    const divisor = node.op === 'Div' ? graph.initializers.get(name) : undefined;
    if (divisor?.type !== 'float32' || divisor.shape.length > 0 || typeof divisor.data === 'function') return node;
    const [value] = valuesOf(divisor, divisor.data) as [number];
    const made = initializer(`${name}_reciprocal`, 'float32', [], [Math.fround(1 / value)]);
    initializers.set(made.name, made);
    return { ...node, op: 'Mul', inputs: [x, made.name] };
  });
  return { ...graph, nodes, initializers };
}
