/**
 * Graphs as short text, a line for each thing: for people, snapshots and diffs. There is no way back.
 */
import { formatType } from './element-type.ts';
import type { Attribute, Graph, Initializer, Node, TensorType } from './graph.ts';
import { valuesOf } from './initializer.ts';
import { typesOf } from './types-of.ts';

const SHOWN_VALUES = 8; // initializers up to this size show their values

/**
 * A graph as text. Initializers come first; nodes stand in their order.
 *
 * @example
 *     graph linear
 *     input x: float32[4, 3]
 *     w: float32[8, 3]
 *     b: float32[1] = [0.5]
 *     y: float32[4, 8] = Gemm(x, w, b) {transB: 1}
 *     output y: float32[4, 8]
 */
export function printGraph(graph: Graph): string {
  const types = typesOf(graph);
  return [
    `graph ${graph.name}`,
    ...graph.inputs.map((value) => `input ${value.name}: ${formatType(value)}`),
    ...Array.from(graph.initializers.values(), printInitializer),
    ...graph.nodes.map((node) => printNode(node, types)),
    ...graph.outputs.map((value) => `output ${value.name}: ${formatType(value)}`),
    '',
  ].join('\n');
}

function printInitializer(initializer: Initializer): string {
  const { name, shape, data } = initializer;
  const isSmall = shape.reduce((count, size) => count * size, 1) <= SHOWN_VALUES;
  const values =
    typeof data !== 'function' && isSmall ? ` = [${valuesOf(initializer, data).map(printNumber).join(', ')}]` : '';
  return `${name}: ${formatType(initializer)}${values}`;
}

/** A node as a line of text, its outputs with the types that are known. */
export function printNode(
  { name, op, domain, inputs, outputs, attributes }: Node,
  types: ReadonlyMap<string, TensorType>,
): string {
  const results = outputs.map((output) => printTyped(output, types)).join(', ');
  const list = Object.entries(attributes).map(([key, value]) => `${key}: ${printAttribute(value)}`);
  const title = domain === '' ? op : `${domain}.${op}`;
  const tail = list.length > 0 ? ` {${list.join(', ')}}` : '';
  const comment = name === undefined || name === outputs[0] ? '' : ` # ${name}`;
  return `${results || '_'} = ${title}(${inputs.map((input) => input || '_').join(', ')})${tail}${comment}`;
}

/** A value's name with its type, if that is known. */
export function printTyped(name: string, types: ReadonlyMap<string, TensorType>): string {
  const type = types.get(name);
  return type ? `${name}: ${formatType(type)}` : name || '_';
}

/** Integers as they are, floats with a point, as in `{axis: 1, alpha: 1.0}`. */
function printAttribute(value: Attribute): string {
  if (typeof value === 'number') return `${value}`;
  if (typeof value === 'string') return JSON.stringify(value);
  if ('float' in value) return printFloat(value.float);
  if ('floats' in value) return `[${value.floats.map(printFloat).join(', ')}]`;
  return `[${value.join(', ')}]`;
}

const printFloat = (value: number): string => (Number.isInteger(value) ? value.toFixed(1) : printNumber(value));

/** Short, but enough digits to tell float32 values apart by eye. */
const printNumber = (value: number): string => `${Number.isInteger(value) ? value : Number(value.toPrecision(7))}`;
