/**
 * Puts graphs one behind the other into one.
 */
import {
  type Elements,
  type ElementType,
  type Graph,
  type Initializer,
  initializer,
  type Node,
  type TensorType,
  type ValueInfo,
} from '@mobilequant/graph';

/** A graph that grows. Names are the caller's business: `append` renames what it takes in. */
export class Assembly {
  readonly #nodes: Node[] = [];
  readonly #initializers = new Map<string, Initializer>();
  readonly #values = new Map<string, TensorType>();

  has(name: string): boolean {
    return this.#initializers.has(name) || this.#values.has(name);
  }

  /** Adds an initializer whose values are there already, or are made when the file is written. */
  constant(
    name: string,
    type: ElementType,
    shape: readonly number[],
    values: Elements | readonly number[] | (() => Promise<Uint8Array>),
  ): string {
    const made =
      typeof values === 'function' ? { name, type, shape, data: values } : initializer(name, type, shape, values);
    this.#initializers.set(name, made);
    return name;
  }

  /** Adds a node with one output. */
  node(op: string, inputs: readonly string[], output: ValueInfo, attributes: Node['attributes'] = {}): string {
    const { name, ...type } = output;
    this.#nodes.push({ op, domain: '', inputs, outputs: [name], attributes });
    this.#values.set(name, type);
    return name;
  }

  /** Adds a graph's nodes and initializers under other names. Its inputs are values of this graph, by their new names. */
  append(graph: Graph, rename: (name: string) => string): void {
    const all = (names: readonly string[]) => names.map((name) => (name === '' ? '' : rename(name)));
    for (const { name: _, ...node } of graph.nodes)
      this.#nodes.push({ ...node, inputs: all(node.inputs), outputs: all(node.outputs) });
    for (const value of graph.initializers.values()) {
      const name = rename(value.name);
      this.#initializers.set(name, { ...value, name });
    }
    for (const { outputs } of graph.nodes) {
      for (const output of outputs) {
        const type = graph.values.get(output);
        if (type) this.#values.set(rename(output), { type: type.type, shape: type.shape });
      }
    }
  }

  graph(name: string, inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Graph {
    return { name, inputs, outputs, nodes: this.#nodes, initializers: this.#initializers, values: this.#values };
  }
}

/** A graph without the Identity nodes that give its outputs a second name: the outputs are renamed instead. */
export function nameOutputs(graph: Graph): Graph {
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const isName = ({ op, outputs: [name] }: Node) => op === 'Identity' && outputs.has(name as string);
  const names = new Map(
    graph.nodes.filter(isName).map((node): [string, string] => [node.inputs[0] as string, node.outputs[0] as string]),
  );
  const renamed = (list: readonly string[]) => list.map((name) => names.get(name) ?? name);
  const nodes = graph.nodes
    .filter((node) => !isName(node))
    .map((node) => ({ ...node, inputs: renamed(node.inputs), outputs: renamed(node.outputs) }));
  return { ...graph, nodes };
}
