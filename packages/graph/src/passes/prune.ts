/**
 * Takes out what no output depends on.
 */
import type { Graph, Node } from '../graph.ts';

export interface PruneOptions {
  /** Also drop inputs that no output depends on; by default the signature stays. */
  readonly dropUnusedInputs?: boolean;
}

/**
 * Requires: topological order. Ensures: every node and initializer reaches an output, and every known type belongs to a value that is left.
 */
export function prune(graph: Graph, { dropUnusedInputs = false }: PruneOptions = {}): Graph {
  const needed = new Set(graph.outputs.map(({ name }) => name));
  const kept: Node[] = [];
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((output) => needed.has(output))) continue;
    kept.push(node);
    for (const input of node.inputs) needed.add(input);
  }
  const inputs = dropUnusedInputs ? graph.inputs.filter(({ name }) => needed.has(name)) : graph.inputs;
  const left = new Set([...needed, ...inputs.map(({ name }) => name), ...kept.flatMap(({ outputs }) => outputs)]);
  return {
    ...graph,
    inputs,
    nodes: kept.reverse(),
    initializers: new Map([...graph.initializers].filter(([name]) => needed.has(name))),
    values: new Map([...graph.values].filter(([name]) => left.has(name))),
  };
}
