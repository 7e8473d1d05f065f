import type { Graph, Node } from './graph.ts';

/** The node that makes each value; none makes inputs and initializers. */
export const producersOf = ({ nodes }: Pick<Graph, 'nodes'>): Map<string, Node> =>
  new Map(nodes.flatMap((node) => node.outputs.map((output): [string, Node] => [output, node])));
