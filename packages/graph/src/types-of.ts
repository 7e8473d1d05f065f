import type { Graph, TensorType } from './graph.ts';

/** The types of all values of a graph, as far as known: inputs, outputs, initializers and what is between. */
export function typesOf({ inputs, outputs, initializers, values }: Graph): Map<string, TensorType> {
  const types = new Map<string, TensorType>(values);
  for (const value of [...inputs, ...outputs, ...initializers.values()]) types.set(value.name, value);
  return types;
}
