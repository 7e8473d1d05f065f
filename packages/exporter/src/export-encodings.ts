/**
 * The device's graphs in float, and beside each its grids as a file of encodings: what Qualcomm's converters take (`--quantization_overrides`).
 *
 *     prefill-inputs.onnx     token ids → the inputs of the next, as real numbers on its grids
 *     prefill.onnx            hidden states, rotary tables, mask → logits, keys and values of every layer, all float32
 *     prefill.encodings       the grid of every tensor of that
 *     decode-inputs.onnx, decode.onnx, decode.encodings
 *
 * Both are read off the graphs of integers (`exportQnnPrefill`, `exportQnnDecode`), so that the two targets cannot say different things.
 */
import { type Graph, type Initializer, initializer, type Node, type ValueInfo } from '@mobilequant/graph';
import { ExportError } from './errors.ts';
import type { QnnGraphs } from './export-qnn.ts';
import { type FloatForm, stripQuantizers } from './strip-quantizers.ts';

/** A float graph with its encodings, and the one that prepares its inputs. */
export interface EncodedGraphs extends FloatForm {
  /** Token ids → the inputs of `graph`, but for the cache. */
  readonly inputs: Graph;
}

/**
 * The float form of a device's graphs.
 *
 * @throws ExportError for graphs that `exportQnnPrefill` or `exportQnnDecode` did not make.
 */
export async function encodedGraphs({ graph, inputs }: QnnGraphs): Promise<EncodedGraphs> {
  const form = await stripQuantizers(graph);
  return { ...form, inputs: realOutputs(inputs, form) };
}

/** A graph that gives integers, with their DequantizeLinear behind. */
function realOutputs(graph: Graph, { encodings }: FloatForm): Graph {
  const initializers = new Map<string, Initializer>(graph.initializers);
  const levels = new Map(graph.outputs.map(({ name }) => [name, `${name}_quantized`]));
  const all = (names: readonly string[]): string[] => names.map((name) => levels.get(name) ?? name);
  const made = graph.outputs.map(({ name, type }): Node => {
    const encoding = encodings.activations.get(name);
    if (encoding?.kind !== 'integer')
      throw new ExportError(name, 'an input of the device’s graph', 'none', 'Give both graphs of one export.');
    const constants = [
      initializer(`${name}_scale`, 'float32', [], [encoding.scale[0] as number]),
      initializer(`${name}_zero_point`, type, [], [encoding.zeroPoint[0] as number]),
    ];
    for (const constant of constants) initializers.set(constant.name, constant);
    const inputs = [levels.get(name) as string, ...constants.map((constant) => constant.name)];
    return { op: 'DequantizeLinear', domain: '', inputs, outputs: [name], attributes: {} };
  });
  return {
    ...graph,
    outputs: graph.outputs.map(({ name, shape }): ValueInfo => ({ name, type: 'float32', shape })),
    nodes: [...graph.nodes.map((node) => ({ ...node, inputs: all(node.inputs), outputs: all(node.outputs) })), ...made],
    initializers,
    values: new Map([
      ...graph.values,
      ...graph.outputs.map(({ name, type, shape }) => [levels.get(name) as string, { type, shape }] as const),
    ]),
  };
}
