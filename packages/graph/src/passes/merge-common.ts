/**
 * Computes equal things once.
 */
import type { Graph, Node } from '../graph.ts';

const RANDOM: ReadonlySet<string> = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Multinomial',
  'Bernoulli',
  'Dropout',
]);

/**
 * Requires: topological order. Ensures: no two nodes with equal operator, inputs and attributes, random ones apart; inputs, outputs and
 * the names of outputs stay. Of merged nodes the first keeps its name, so give nodes the names that matter afterwards.
 */
export function mergeCommon(graph: Graph): Graph {
  const isOutput = new Set(graph.outputs.map(({ name }) => name));
  const seen = new Map<string, Node>();
  const renamed = new Map<string, string>();
  const nodes: Node[] = [];
  for (const original of graph.nodes) {
    const node = { ...original, inputs: original.inputs.map((name) => renamed.get(name) ?? name) };
    const key = keyOf(node);
    const twin = RANDOM.has(node.op) ? undefined : seen.get(key);
    if (!twin || node.outputs.some((name) => isOutput.has(name))) {
      nodes.push(node);
      if (!twin) seen.set(key, node);
      continue;
    }
    for (const [i, name] of node.outputs.entries()) renamed.set(name, twin.outputs[i] as string);
  }
  return { ...graph, nodes, values: new Map([...graph.values].filter(([name]) => !renamed.has(name))) };
}

/** What a node computes. An output that is left out is another thing than one that is not. */
function keyOf({ op, domain, inputs, outputs, attributes }: Node): string {
  const sorted = Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([domain, op, inputs, outputs.map((name) => name !== ''), sorted]);
}
