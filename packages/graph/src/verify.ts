/**
 * What a graph must be. The lists of rules are the documentation of the format: each has a name that completes the sentence
 * "expected …", and a predicate. What is not known (a type, a dimension with a name) breaks no rule.
 */
import { byteLength, elementTypeOfCode, formatType } from './element-type.ts';
import { GraphError } from './errors.ts';
import type { ElementType, Graph, Initializer, Node, TensorType, ValueInfo } from './graph.ts';
import { printNode, printTyped } from './print.ts';
import { DEFAULT_OPSET } from './serde.ts';
import { typesOf } from './types-of.ts';

/** What the rules may ask about a graph. */
export interface GraphFacts {
  readonly graph: Graph;
  readonly types: ReadonlyMap<string, TensorType>;
  /** How often each value is defined: as an input, an initializer or the output of a node. */
  readonly definitions: ReadonlyMap<string, number>;
  /** The index of the node that makes a value; -1 for inputs and initializers. */
  readonly madeBy: ReadonlyMap<string, number>;
  /** How often each node name stands in the graph. */
  readonly nodeNames: ReadonlyMap<string, number>;
}

/** A property that every thing of one kind must have. */
export interface Rule<Subject> {
  readonly name: string;
  readonly holds: (subject: Subject, facts: GraphFacts) => boolean;
}

/** Inputs, outputs and initializers. */
export const valueRules: readonly Rule<ValueInfo>[] = [
  { name: 'a name', holds: ({ name }) => name !== '' },
  { name: 'dimensions that are whole numbers ≥ 0, or names', holds: ({ shape }) => shape.every(isDimension) },
  {
    name: 'the type that is known of the value of that name',
    holds: (value, { graph }) => agree(value, graph.values.get(value.name)),
  },
];

/** Inputs and initializers. */
export const sourceRules: readonly Rule<ValueInfo>[] = [
  { name: 'a name that is defined once', holds: ({ name }, { definitions }) => definitions.get(name) === 1 },
];

export const outputRules: readonly Rule<ValueInfo>[] = [
  {
    name: 'an output that a node, an input or an initializer defines',
    holds: ({ name }, { definitions }) => definitions.has(name),
  },
  {
    name: 'an output that is listed once',
    holds: ({ name }, { graph }) => graph.outputs.filter((output) => output.name === name).length === 1,
  },
];

export const initializerRules: readonly Rule<Initializer>[] = [
  {
    name: 'the name under which it is kept',
    holds: (initializer, { graph }) => graph.initializers.get(initializer.name) === initializer,
  },
  {
    name: 'as many bytes as its type and shape take',
    holds: ({ type, shape, data }) => typeof data === 'function' || data.byteLength === byteLength(type, shape),
  },
];

export const nodeRules: readonly Rule<Node>[] = [
  { name: 'an operator', holds: ({ op }) => op !== '' },
  { name: 'a node name that is used once', holds: (node, { nodeNames }) => nodeNames.get(nodeName(node)) === 1 },
  { name: 'at least one output', holds: ({ outputs }) => outputs.some((output) => output !== '') },
  {
    name: 'outputs that are defined once',
    holds: ({ outputs }, { definitions }) => named(outputs).every((name) => definitions.get(name) === 1),
  },
  {
    name: 'inputs that are defined',
    holds: ({ inputs }, { definitions }) => named(inputs).every((name) => definitions.has(name)),
  },
  {
    name: 'inputs that are made by earlier nodes (topological order)',
    holds: ({ inputs, outputs }, { madeBy }) => {
      const own = Math.min(...named(outputs).map((name) => madeBy.get(name) ?? Number.POSITIVE_INFINITY));
      return named(inputs).every((name) => (madeBy.get(name) ?? -1) < own);
    },
  },
  {
    name: 'integers as integer attributes',
    holds: ({ attributes }) =>
      Object.values(attributes)
        .flatMap((value) => (typeof value === 'number' || Array.isArray(value) ? value : []))
        .every(Number.isSafeInteger),
  },
  {
    name: 'a Cast to a supported type',
    holds: ({ op, attributes }) => op !== 'Cast' || elementTypeOfCode(Number(attributes.to)) !== undefined,
  },
  ...quantizationRules(),
];

/** QuantizeLinear and DequantizeLinear: `(x, scale, zeroPoint?)`, per tensor, per entry of an axis, or per block along it. */
function quantizationRules(): Rule<Node>[] {
  const integers: ReadonlySet<ElementType> = new Set(['uint4', 'int4', 'uint8', 'int8', 'uint16', 'int16', 'int32']);
  const since21: ReadonlySet<ElementType> = new Set(['uint4', 'int4', 'uint16', 'int16']);
  const rule = (name: string, holds: (site: QuantizationSite) => boolean): Rule<Node> => ({
    name,
    holds: (node, facts) => {
      const isSite = (node.op === 'QuantizeLinear' || node.op === 'DequantizeLinear') && node.domain === '';
      return !isSite || holds(siteOf(node, facts));
    },
  });
  return [
    rule('a tensor and its scale', ({ inputs }) => inputs >= 2),
    rule('integers on the quantized side', ({ quantized }) => quantized === undefined || integers.has(quantized)),
    rule(
      'operator set 21 or later for 16-bit and 4-bit integers',
      ({ quantized, opset }) => opset >= 21 || !quantized || !since21.has(quantized),
    ),
    rule('floats as scale', ({ scale }) => !scale || scale.type === 'float32' || scale.type === 'float16'),
    rule(
      'a zero point of the type of the integers',
      ({ quantized, zero }) => !zero || !quantized || zero.type === quantized,
    ),
    rule(
      'a zero point of the shape of the scale',
      ({ scale, zero }) => !scale || !zero || sameShape(scale.shape, zero.shape),
    ),
    rule(
      'an axis inside the tensor',
      ({ x, scale, axis }) => !x || !scale || isOne(scale) || (axis >= 0 && axis < x.shape.length),
    ),
    rule('one scale, one for each entry of the axis, or one for each block along it', ({ x, scale, axis, block }) => {
      if (!scale || (isOne(scale) && block === 0)) return true;
      if (block === 0) return scale.shape.length === 1 && (!x || sameSize(scale.shape[0], x.shape[axis]));
      const grouped = x?.shape.map((size, i) =>
        i === axis && typeof size === 'number' ? Math.ceil(size / block) : size,
      );
      return !grouped || sameShape(scale.shape, grouped);
    }),
  ];
}

interface QuantizationSite {
  readonly inputs: number;
  readonly x: TensorType | undefined;
  readonly scale: TensorType | undefined;
  readonly zero: TensorType | undefined;
  readonly quantized: ElementType | undefined;
  readonly axis: number;
  readonly block: number;
  readonly opset: number;
}

function siteOf({ op, inputs, outputs, attributes }: Node, { types, graph }: GraphFacts): QuantizationSite {
  const [x, scale, zero] = inputs.map((name) => types.get(name));
  const axis = Number(attributes.axis ?? 1);
  return {
    inputs: named(inputs).length,
    x,
    scale,
    zero,
    quantized: op === 'DequantizeLinear' ? x?.type : types.get(outputs[0] ?? '')?.type,
    axis: axis < 0 && x ? axis + x.shape.length : axis,
    block: Number(attributes.block_size ?? 0),
    opset: graph.opset ?? DEFAULT_OPSET,
  };
}

/**
 * Gives back the graph if it keeps all rules.
 *
 * @throws GraphError that names the first rule that is broken, and by what.
 */
export function verify(graph: Graph): Graph {
  const facts = factsOf(graph);
  const initializers = [...graph.initializers.values()];
  const value =
    (kind: string) =>
    (subject: ValueInfo): string =>
      `${kind} '${subject.name}' of ${formatType(subject)}`;
  check(initializers, [...initializerRules, ...valueRules, ...sourceRules], facts, (subject) => {
    const size = typeof subject.data === 'function' ? '' : ` with ${subject.data.byteLength} bytes`;
    return `${value('initializer')(subject)}${size}`;
  });
  check(graph.inputs, [...valueRules, ...sourceRules], facts, value('input'));
  check(graph.nodes, nodeRules, facts, (node) => {
    const inputs = named(node.inputs).map((name) => printTyped(name, facts.types));
    return `${printNode(node, facts.types)}${inputs.length > 0 ? ` with ${inputs.join(', ')}` : ''}`;
  });
  check(graph.outputs, [...valueRules, ...outputRules], facts, value('output'));
  return graph;
}

function check<Subject>(
  subjects: readonly Subject[],
  rules: readonly Rule<Subject>[],
  facts: GraphFacts,
  describe: (subject: Subject) => string,
): void {
  for (const subject of subjects) {
    const broken = rules.find(({ holds }) => !holds(subject, facts));
    if (broken)
      throw new GraphError({
        where: `graph '${facts.graph.name}'`,
        expected: broken.name,
        received: describe(subject),
      });
  }
}

function factsOf(graph: Graph): GraphFacts {
  const sources = [...graph.inputs.map(({ name }) => name), ...graph.initializers.keys()];
  const made = graph.nodes.flatMap((node, i) => named(node.outputs).map((name): [string, number] => [name, i]));
  return {
    graph,
    types: typesOf(graph),
    definitions: countOf([...sources, ...made.map(([name]) => name)]),
    madeBy: new Map([...made, ...sources.map((name): [string, number] => [name, -1])]),
    nodeNames: countOf(graph.nodes.map(nodeName)),
  };
}

function countOf(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

const nodeName = ({ name, outputs, op }: Node): string => name ?? outputs[0] ?? op;

const named = (names: readonly string[]): string[] => names.filter((name) => name !== '');

const isDimension = (size: number | string): boolean =>
  typeof size === 'string' || (Number.isSafeInteger(size) && size >= 0);

const isOne = ({ shape }: TensorType): boolean => shape.every((size) => size === 1) && shape.length <= 1;

const sameSize = (a: number | string | undefined, b: number | string | undefined): boolean =>
  typeof a === 'string' || typeof b === 'string' || a === b;

const sameShape = (a: TensorType['shape'], b: TensorType['shape']): boolean =>
  a.length === b.length && a.every((size, i) => sameSize(size, b[i]));

const agree = (a: TensorType, b: TensorType | undefined): boolean =>
  !b || (a.type === b.type && sameShape(a.shape, b.shape));
