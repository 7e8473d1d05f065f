/**
 * Products with a constant that only moves columns, to slices: exact on a device, where a product would be rounded.
 *
 *     x · P  →  Concat(Slice(x), Slice(x), …)        P has at most a one in each column, and zeros
 *
 * It is how the rotary embedding swaps the halves of a head.
 */
import { type Graph, type Initializer, initializer, type Node, typesOf, valuesOf } from '@mobilequant/graph';

const LARGEST = 1024; // columns of a matrix that is looked at

/** A run of columns that come from columns side by side; without `from` they are zeros. */
interface Run {
  readonly from?: number;
  readonly size: number;
}

/** Requires: types of the products known. Ensures: the same values, no product with a constant selection of columns. */
export function selectColumns(graph: Graph): Graph {
  const types = typesOf(graph);
  const values = new Map(graph.values);
  const initializers = new Map(graph.initializers);
  const constant = (made: Initializer): string => {
    initializers.set(made.name, made);
    return made.name;
  };
  const selections = new Map<string, readonly Run[] | undefined>();
  const selectionOf = (name: string | undefined): readonly Run[] | undefined => {
    if (name === undefined) return undefined;
    if (!selections.has(name)) selections.set(name, selection(graph.initializers.get(name)));
    return selections.get(name);
  };
  const nodes = graph.nodes.flatMap((node): Node[] => {
    const [x, matrix] = node.inputs as [string, string];
    const isProduct = (node.op === 'Gemm' || node.op === 'MatMul') && node.inputs.length === 2;
    const runs = isProduct && Object.keys(node.attributes).length === 0 ? selectionOf(matrix) : undefined;
    const output = node.outputs[0] as string;
    const type = types.get(output);
    if (!runs || !type) return [node];
    const slices: Node[] = [];
    const parts = runs.map(({ from, size }, i) => {
      const name = `${output}.part${i}`;
      const shape = [...type.shape.slice(0, -1), size];
      if (from === undefined) {
        const zeros = new Float32Array((shape as number[]).reduce((a, b) => a * b, 1));
        return constant(initializer(name, 'float32', shape as number[], zeros));
      }
      const list = (what: string, value: number) =>
        constant(initializer(`columns.${what}${value}`, 'int64', [1], [value]));
      const inputs = [x, list('from', from), list('to', from + size), list('axis', type.shape.length - 1)];
      slices.push({ op: 'Slice', domain: '', inputs, outputs: [name], attributes: {} });
      values.set(name, { type: type.type, shape });
      return name;
    });
    const axis = type.shape.length - 1;
    return [...slices, { ...node, op: 'Concat', inputs: parts, attributes: { axis } }];
  });
  return { ...graph, nodes, values, initializers };
}

/** The runs of a matrix that selects columns; undefined for any other. */
function selection(matrix: Initializer | undefined): readonly Run[] | undefined {
  if (matrix?.type !== 'float32' || matrix.shape.length !== 2 || typeof matrix.data === 'function') return undefined;
  const [rows, columns] = matrix.shape as [number, number];
  if (rows > LARGEST || columns > LARGEST) return undefined;
  const entries = valuesOf(matrix, matrix.data);
  const runs: { from?: number; size: number }[] = [];
  for (let column = 0; column < columns; column++) {
    let from: number | undefined;
    for (let row = 0; row < rows; row++) {
      const entry = entries[row * columns + column];
      if (entry === 0) continue;
      if (entry !== 1 || from !== undefined) return undefined;
      from = row;
    }
    const last = runs.at(-1);
    const follows =
      last &&
      (from === undefined ? last.from === undefined : last.from !== undefined && from === last.from + last.size);
    if (follows) last.size++;
    else runs.push(from === undefined ? { size: 1 } : { from, size: 1 });
  }
  return runs;
}
