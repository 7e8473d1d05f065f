/**
 * What the rules of the linter ask about a graph: its operators, and on which grid each value lies that they read and make. A graph says so by
 * QuantizeLinear and DequantizeLinear around them, or a file of encodings does; rules need not know which.
 *
 * Only scales and zero points are read. Weights stay where they are, whatever their size.
 */
import { type Graph, type Initializer, type Node, producersOf, type TensorType, typesOf } from '@mobilequant/graph';
import { quantizerEncoding } from '../encodings/quantizer-encoding.ts';
import type { EncodingsFile, IntegerEncoding, TensorEncoding } from '../encodings/tensor-encoding.ts';

/** A real value that an operator reads or makes. */
export interface LintValue {
  readonly name: string;
  /** Where it stands among the inputs or outputs of the operator. */
  readonly index: number;
  /** Whether it has a grid at all; `encoding` is that, where it can be read. */
  readonly quantized: boolean;
  readonly encoding?: TensorEncoding | undefined;
  /** Of a value that does not change: where its bytes are. */
  readonly constant?: Initializer | undefined;
}

/** A node that is no quantizer. */
export interface LintOperator {
  readonly node: Node;
  /** As findings call it. */
  readonly where: string;
  /** Real values only: no indices, no shapes. */
  readonly operands: readonly LintValue[];
  readonly results: readonly LintValue[];
}

export interface LintFacts {
  readonly graph: Graph;
  readonly types: ReadonlyMap<string, TensorType>;
  readonly producers: ReadonlyMap<string, Node>;
  readonly operators: readonly LintOperator[];
  /** Each quantizer with what it says; without an encoding where that cannot be read. */
  readonly quantizers: readonly { readonly node: Node; readonly encoding?: IntegerEncoding | undefined }[];
  /** Encodings of tensors, in the graph or in the file, one for each name. */
  readonly encodings: ReadonlyMap<string, TensorEncoding>;
  /** The file beside the graph. */
  readonly file?: EncodingsFile | undefined;
  /** The graph that prepares its inputs. */
  readonly inputs?: Graph | undefined;
}

export const isQuantizer = ({ op }: Node): boolean => op === 'QuantizeLinear' || op === 'DequantizeLinear';

export async function lintFacts(graph: Graph, file?: EncodingsFile, inputs?: Graph): Promise<LintFacts> {
  const types = typesOf(graph);
  const producers = producersOf(graph);
  const readers = new Map<string, Node[]>();
  for (const node of graph.nodes)
    for (const name of node.inputs) {
      const known = readers.get(name);
      if (known) known.push(node);
      else readers.set(name, [node]);
    }
  const ends = new Set(graph.outputs.map(({ name }) => name));

  const quantizers = new Map<Node, IntegerEncoding | undefined>();
  const encodings = new Map<string, TensorEncoding>([...(file?.activations ?? []), ...(file?.params ?? [])]);
  for (const node of graph.nodes.filter(isQuantizer)) {
    const integers = node.op === 'DequantizeLinear' ? node.inputs[0] : node.outputs[0];
    const type = types.get(integers ?? '')?.type ?? types.get(node.inputs[2] ?? '')?.type ?? 'uint8';
    const real = node.op === 'DequantizeLinear' ? node.outputs[0] : integers;
    const encoding = await quantizerEncoding(graph, node, real ?? '', type);
    quantizers.set(node, encoding);
    if (encoding && !encodings.has(encoding.name)) encodings.set(encoding.name, encoding);
  }

  const isReal = (name: string): boolean => name !== '' && !/^(u?int|bool)/.test(types.get(name)?.type ?? '');
  const operand = (name: string, index: number): LintValue => {
    const from = producers.get(name);
    const dequantizes = from?.op === 'DequantizeLinear';
    const own = file?.activations.get(name) ?? file?.params.get(name);
    return {
      name,
      index,
      quantized: dequantizes || own !== undefined,
      encoding: own ?? (dequantizes ? quantizers.get(from) : undefined),
      constant: graph.initializers.get((dequantizes ? from.inputs[0] : name) ?? ''),
    };
  };
  const result = (name: string, index: number): LintValue => {
    const next = readers.get(name) ?? [];
    const [first] = next;
    const rounded = !ends.has(name) && first !== undefined && next.every(({ op }) => op === 'QuantizeLinear');
    const own = file?.activations.get(name);
    return {
      name,
      index,
      quantized: rounded || own !== undefined,
      encoding: own ?? (rounded ? quantizers.get(first) : undefined),
    };
  };
  const values = (names: readonly string[], made: (name: string, index: number) => LintValue): LintValue[] =>
    names.flatMap((name, index) => (isReal(name) ? [made(name, index)] : []));
  const operators = graph.nodes
    .filter((node) => !isQuantizer(node))
    .map(
      (node): LintOperator => ({
        node,
        where: `${node.op} ${node.name ?? node.outputs[0] ?? ''}`,
        operands: values(node.inputs, operand),
        results: values(node.outputs, result),
      }),
    );
  return {
    graph,
    types,
    producers,
    operators,
    quantizers: [...quantizers].map(([node, encoding]) => ({ node, encoding })),
    encodings,
    file,
    inputs,
  };
}

/** Zero in the middle of the grid, as a signed type has it. */
export const isCentred = ({ bits, zeroPoint }: IntegerEncoding): boolean =>
  zeroPoint.every((zero) => zero === 2 ** (bits - 1));

/** The integers of an encoding, as findings call them: `uint8`, `int4`. */
export const typeName = (encoding: TensorEncoding): string =>
  encoding.kind === 'float' ? `float${encoding.bits}` : `${encoding.symmetric ? '' : 'u'}int${encoding.bits}`;

/** Operators that only move values, those that our graphs do not have among them. */
// biome-ignore format: a list
export const MOVES: ReadonlySet<string> = new Set([
  'Reshape', 'Flatten', 'Transpose', 'Squeeze', 'Unsqueeze', 'Slice', 'Split', 'Concat', 'Expand', 'Tile', 'Gather',
]);

/** Operators whose second input is multiplied, and so has a width of its own. */
export const PRODUCTS: ReadonlySet<string> = new Set(['MatMul', 'Gemm', 'Conv', 'ConvTranspose']);

/** Operators with the weights of a norm. */
export const NORMS: ReadonlySet<string> = new Set([
  'LayerNormalization',
  'RMSNormalization',
  'SimplifiedLayerNormalization',
]);
