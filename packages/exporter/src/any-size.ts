/**
 * One graph for every size, from graphs of one function that was traced at two.
 *
 * A trace has fixed shapes, and where they enter a graph it says so with a constant: the shape of a Reshape, the end of a Slice. Between
 * two traces whose sizes all differ, just those constants differ that depend on them, and each has a form that does not:
 *
 *     Reshape    0 where the dimension is the input's own at that place, -1 where it is not (once at most: the count of elements is left)
 *     Slice      the largest end where the end is that of the input
 *
 * Anything else that differs, an operator, a constant, another reader of such a shape, is an error: the graph is right for all sizes, or
 * there is none. So no operator needs a second lowering, and the block no second tracing.
 */
import {
  type Graph,
  type Initializer,
  initializer,
  type Node,
  prune,
  type TensorType,
  typesOf,
  valuesOf,
} from '@mobilequant/graph';
import { TO_THE_END } from './decoder-assembly.ts';
import { ExportError } from './errors.ts';

/** A dimension that depends on the sizes, in a type. */
const UNKNOWN = '';

/**
 * Requires: two graphs of one function, all of whose sizes differ. Ensures: the first one's names and values, for sizes of any kind;
 * dimensions that depend on them are unknown.
 *
 * @throws ExportError for what has no form that serves all sizes.
 */
export function anySize(first: Graph, second: Graph): Graph {
  const [types, others] = [typesOf(first), typesOf(second)];
  const sameNodes = first.nodes.length === second.nodes.length;
  const differs = first.nodes.findIndex((node, i) => JSON.stringify(node) !== JSON.stringify(second.nodes[i]));
  if (!sameNodes || differs >= 0)
    throw fault(first.nodes[differs]?.outputs[0] ?? 'graph', 'the same nodes at all sizes');

  const initializers = new Map(first.initializers);
  const varying = new Map<string, { a: readonly number[]; b: readonly number[] }>();
  for (const [name, a] of first.initializers) {
    const b = second.initializers.get(name);
    const [x, y] = [bytesOf(a), bytesOf(b)];
    const isSame = b !== undefined && a.type === b.type && String(a.shape) === String(b.shape);
    if (isSame && sameBytes(x, y)) continue;
    if (!isSame || a.type !== 'int64' || !x || !y) throw fault(name, 'a constant that is the same at all sizes');
    varying.set(name, { a: valuesOf(a, x), b: valuesOf(b, y) });
  }

  const list = (values: readonly number[]): string => {
    const name = `list.${values.join('_')}`;
    initializers.set(name, initializer(name, 'int64', [values.length], values));
    return name;
  };
  const nodes = first.nodes.map((node): Node => {
    if (!node.inputs.some((name) => varying.has(name))) return node;
    const [x = '', at1 = '', at2 = '', axes = ''] = node.inputs;
    const [own, other] = [types.get(x)?.shape, others.get(x)?.shape];
    const [one, two] = [varying.get(at1), varying.get(at2)];
    if (own && other && node.op === 'Reshape' && one)
      return { ...node, inputs: [x, list(reshaped(node, one, own, other))] };
    if (own && other && node.op === 'Slice' && !one && two && !varying.has(axes)) {
      const along = valuesOf(
        first.initializers.get(axes) as Initializer,
        bytesOf(first.initializers.get(axes)) as Uint8Array,
      );
      const ends = two.a.map((end, i) => {
        if (end === two.b[i]) return end;
        const axis = along[i] as number;
        if (end === own[axis] && two.b[i] === other[axis]) return TO_THE_END;
        throw fault(node.outputs[0] as string, 'a slice to the end of its input');
      });
      return { ...node, inputs: [x, at1, list(ends), axes] };
    }
    throw fault(node.outputs[0] as string, `a ${node.op} of a shape that is the same at all sizes`);
  });
  const general = <T extends TensorType>(value: T, name: string): T => ({
    ...value,
    shape: value.shape.map((size, i) => (size === others.get(name)?.shape[i] ? size : UNKNOWN)),
  });
  return prune({
    ...first,
    nodes,
    initializers,
    inputs: first.inputs.map((value) => general(value, value.name)),
    outputs: first.outputs.map((value) => general(value, value.name)),
    values: new Map([...first.values].map(([name, type]) => [name, general(type, name)])),
  });
}

/** The target of a Reshape that fits both. */
function reshaped(
  { outputs }: Node,
  { a, b }: { readonly a: readonly number[]; readonly b: readonly number[] },
  own: TensorType['shape'],
  other: TensorType['shape'],
): readonly number[] {
  const target = a.map((size, i) => {
    if (size === b[i]) return size;
    return size === own[i] && b[i] === other[i] ? 0 : -1;
  });
  if (target.filter((size) => size === -1).length > 1)
    throw fault(outputs[0] as string, 'a Reshape with one new dimension that depends on the sizes');
  return target;
}

const bytesOf = (constant: Initializer | undefined): Uint8Array | undefined =>
  typeof constant?.data === 'function' ? undefined : constant?.data;

/** Weights, whose values are made when they are written, are those of the model. */
const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.length === b.length && a.every((byte, i) => byte === b[i]));

const fault = (where: string, expected: string): ExportError =>
  new ExportError(where, expected, 'one that depends on them otherwise', 'Export graphs of fixed sizes.');
