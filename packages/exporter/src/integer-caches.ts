/**
 * Caches of keys and values as the integers that their sites make of them.
 *
 *     Quantize(Concat(past, new))                 →  Concat(past', Quantize(new))        past' the integers
 *     present = Slice(Dequantize(integers))       →  Slice(integers)
 *
 * Rounding is done element by element, and integers that were rounded once are not rounded again: the same values, a quarter of the memory.
 */
import { type Graph, type Node, producersOf, prune, type TensorType, typesOf } from '@mobilequant/graph';

/** What rounds: a QuantizeLinear, and below 8 bits a Clip behind it. */
const ROUNDS: ReadonlySet<string> = new Set(['QuantizeLinear', 'Clip']);

/**
 * Requires: caches that are inputs and lead to their sites with nothing but Concat between; `past` names them. Ensures: inputs and outputs
 * in the same order, outputs under the names of their integers; float caches, of sites that are not quantized, stay as they are.
 */
export function integerCaches(graph: Graph, past: ReadonlySet<string>): Graph {
  return integerOutputs(integerInputs(roundedParts(graph, past), past));
}

/** Rounding goes ahead of the concatenations that a cache is part of. */
function roundedParts(graph: Graph, past: ReadonlySet<string>): Graph {
  const types = typesOf(graph);
  const values = new Map(graph.values);
  const joins = new Map<string, Node>(); // concatenations of caches, by what they make
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    const [output] = node.outputs as [string];
    if (node.op === 'Concat' && node.inputs.some((name) => past.has(name) || joins.has(name))) joins.set(output, node);
    const join = ROUNDS.has(node.op) ? joins.get(node.inputs[0] as string) : undefined;
    if (!join) {
      nodes.push(node);
      continue;
    }
    const parts = flat(join, joins);
    const { type } = types.get(output) as TensorType;
    const rounded = parts.map((part, i) => {
      const name = `${output}.part${i}`;
      const made = { type, shape: (types.get(part) as TensorType).shape };
      types.set(name, made);
      values.set(name, made);
      nodes.push({ ...node, inputs: [part, ...node.inputs.slice(1)], outputs: [name] });
      return name;
    });
    const whole = { ...join, inputs: rounded, outputs: [output] };
    joins.set(output, whole);
    nodes.push(whole);
  }
  return prune({ ...graph, nodes, values });
}

/** The parts of a concatenation of concatenations. */
const flat = (join: Node, joins: ReadonlyMap<string, Node>): string[] =>
  join.inputs.flatMap((name) => {
    const inner = joins.get(name);
    return inner && inner.attributes.axis === join.attributes.axis ? flat(inner, joins) : [name];
  });

/** Caches that are only rounded come in rounded. */
function integerInputs(graph: Graph, past: ReadonlySet<string>): Graph {
  const types = typesOf(graph);
  const readers = (name: string): Node[] => graph.nodes.filter(({ inputs }) => inputs.includes(name));
  const made = new Map<string, string>(); // what rounding makes of a cache → the cache
  const inputs = graph.inputs.map((input) => {
    if (!past.has(input.name)) return input;
    let value = input.name;
    for (let next = readers(value); next.length === 1 && ROUNDS.has(next[0]?.op ?? ''); next = readers(value))
      value = next[0]?.outputs[0] as string;
    if (value !== input.name) made.set(value, input.name);
    return { ...input, type: (types.get(value) as TensorType).type };
  });
  const nodes = graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map((name) => made.get(name) ?? name) }));
  return prune({ ...graph, inputs, nodes });
}

/** Outputs that are dequantized are what they were before. */
function integerOutputs(graph: Graph): Graph {
  const types = typesOf(graph);
  const values = new Map(graph.values);
  const producers = producersOf(graph);
  const integersOf = (name: string): string | undefined => {
    const node = producers.get(name);
    return node?.op === 'DequantizeLinear' ? node.inputs[0] : undefined;
  };
  const added: Node[] = [];
  const outputs = graph.outputs.map((output) => {
    const direct = integersOf(output.name);
    if (direct !== undefined) return { ...output, name: direct, type: (types.get(direct) as TensorType).type };
    const node = producers.get(output.name);
    const integers = node?.op === 'Slice' ? integersOf(node.inputs[0] as string) : undefined;
    if (!node || integers === undefined) return output;
    const own = { ...output, name: `${output.name}_quantized`, type: (types.get(integers) as TensorType).type };
    added.push({ ...node, inputs: [integers, ...node.inputs.slice(1)], outputs: [own.name] });
    values.set(own.name, { type: own.type, shape: own.shape });
    return own;
  });
  return prune({ ...graph, nodes: [...graph.nodes, ...added], outputs, values });
}
