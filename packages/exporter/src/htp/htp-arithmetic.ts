/**
 * A graph for an NPU, in the NPU's own arithmetic.
 *
 *     DequantizeLinear → operator → QuantizeLinear      →      the integers that Qualcomm's HTP gives, computed by a processor
 *
 * What only moves values stays as it is: a level that is dequantized and quantized on the same grid is the same level.
 */
import { dataOf, type Graph, type Initializer, type Node, producersOf, prune, valuesOf } from '@mobilequant/graph';
import { sameGrid } from '../device-grid.ts';
import { ExportError } from '../errors.ts';
import { levelsOf } from '../levels-of.ts';
import { gridOfNode, MOVES } from '../quantize-operators.ts';
import { type Held, RULES, type Weight } from './rules.ts';
import { createWriter } from './writer.ts';

/**
 * Requires: a graph that `exportQnnPrefill` or `exportQnnDecode` made. Ensures: the same inputs and outputs; every operator of the NPU
 * as its rule (`rules.ts`) has it.
 *
 * @throws ExportError for an operator whose arithmetic is not known, with its name, and for one that does not stand between quantizers.
 */
export async function htpArithmetic(graph: Graph): Promise<Graph> {
  const producers = producersOf(graph);
  const nodes: Node[] = [];
  const initializers = new Map(graph.initializers);
  const write = createWriter(nodes, initializers);
  const weights = new Map<string, Promise<Weight>>();

  /** What a DequantizeLinear reads. */
  const held = (name: string, reader: Node): Held => {
    const node = producers.get(name);
    if (node?.op !== 'DequantizeLinear')
      throw new ExportError(
        reader.outputs[0] as string,
        'DequantizeLinear before each operand',
        node?.op ?? name,
        'Give a graph that was exported with the target qnn-qdq.',
      );
    return { integers: node.inputs[0] as string, grid: gridOfNode(graph, node) };
  };
  const weightOf = ({ inputs: [, name = '', bias] }: Node): Promise<Weight> => {
    const key = `${name} ${bias}`;
    const made = weights.get(key) ?? readWeight(graph, producers.get(name), producers.get(bias ?? ''), key);
    weights.set(key, made);
    return made;
  };

  for (const node of graph.nodes) {
    const source = node.op === 'QuantizeLinear' ? producers.get(node.inputs[0] as string) : undefined;
    if (node.op === 'DequantizeLinear' || MOVES.has(node.op)) nodes.push(node);
    else if (source && MOVES.has(source.op)) {
      checkMoved(graph, source, node, held);
      nodes.push(node);
    } else if (node.op === 'QuantizeLinear') {
      const isConversion = source?.op === 'DequantizeLinear';
      const op = isConversion ? 'Convert' : source?.op;
      const rule = RULES.get(op ?? '');
      const output = node.outputs[0] as string;
      if (!source || !rule)
        throw new ExportError(
          output,
          `an operator whose arithmetic on HTP is known (${[...RULES.keys()].join(', ')})`,
          op ?? 'a float input',
          'Run it as the form integer.',
        );
      const result = gridOfNode(graph, node);
      const names = isConversion
        ? node.inputs.slice(0, 1)
        : source.op === 'Gemm'
          ? source.inputs.slice(0, 1)
          : source.inputs;
      const operands = names.map((name) => held(name, node));
      const weight = source.op === 'Gemm' ? { weight: await weightOf(source) } : {};
      write.levels(rule({ node: source, operands, result, ...weight }, write), result, output);
    }
  }
  return prune({ ...graph, nodes, initializers });
}

/** Whether a level comes out of a move as it went in. */
function checkMoved(graph: Graph, move: Node, quantizer: Node, held: (name: string, reader: Node) => Held): void {
  const result = gridOfNode(graph, quantizer);
  const data = move.op === 'Concat' ? move.inputs : move.inputs.slice(0, 1);
  if (data.every((name) => sameGrid(held(name, quantizer).grid, result))) return;
  throw new ExportError(
    quantizer.outputs[0] as string,
    'one grid before and behind a move',
    'two',
    'Convert before it.',
  );
}

async function readWeight(
  graph: Graph,
  weight: Node | undefined,
  bias: Node | undefined,
  key: string,
): Promise<Weight> {
  const [matrix, scale] = (weight?.inputs ?? []).map((name) => graph.initializers.get(name));
  const added = bias && graph.initializers.get(bias.inputs[0] as string);
  if (!matrix || !scale || matrix.shape.length !== 2 || (matrix.type !== 'int8' && matrix.type !== 'int4'))
    throw new ExportError(
      weight?.outputs[0] ?? key,
      'a constant matrix of 8 or 4 bits, signed',
      matrix ? `${matrix.type}[${matrix.shape.join(', ')}]` : 'none',
      'Quantize with the recipe w8a8 or w4a8.',
    );
  const [rows, columns] = matrix.shape as [number, number];
  const levels = async (): Promise<Int8Array> => (await levelsOf(matrix)) as Int8Array; // as its type says
  const scales = valuesOf(scale, await dataOf(scale));
  return {
    scales: scales.length === 1 ? new Array<number>(rows).fill(scales[0] as number) : scales,
    bytes: {
      name: `htp.bytes ${key}`,
      type: 'uint8',
      shape: [columns, rows],
      data: async () => transposedBytes(await levels(), rows, columns),
    },
    offsets: (of): Initializer => ({
      name: `htp.offsets ${key}`,
      type: 'float64',
      shape: [rows],
      data: async () => {
        const all = await levels();
        const biases = added && valuesOf(added, await dataOf(added));
        const offsets = Float64Array.from({ length: rows }, (_, row) => {
          let sum = 0;
          for (let i = row * columns; i < (row + 1) * columns; i++) sum += all[i] as number;
          return of(sum, biases?.[row] ?? 0);
        });
        return new Uint8Array(offsets.buffer);
      },
    }),
  };
}

/** `[rows, columns]` of signed levels as `[columns, rows]` around 128. */
function transposedBytes(levels: Int8Array, rows: number, columns: number): Uint8Array {
  const bytes = new Uint8Array(levels.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      bytes[column * rows + row] = (levels[row * columns + column] as number) + 128;
  return bytes;
}
