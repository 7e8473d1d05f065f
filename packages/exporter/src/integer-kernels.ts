/**
 * Which linear layers of an exported graph a processor multiplies in integers, and why the others not.
 */
import { type Graph, integerProducts, type Node, producersOf, prune, typesOf } from '@mobilequant/graph';
import { fuseTransposes } from './standard-operators.ts';
import { unpackInt4 } from './unpack-int4.ts';

/** What becomes of the linear layers of a graph. */
export interface IntegerKernels {
  /** Products with a weight. */
  readonly linears: number;
  /** Those that run in integers. */
  readonly integer: number;
  /** The others: the name of the weight, and what keeps it in float. */
  readonly float: readonly { readonly site: string; readonly reason: string }[];
}

/**
 * The form of an exported graph that ONNX Runtime runs in integers: 4-bit weights unpacked to bytes, products of bytes
 * as MatMulIntegerToFloat, of 16-bit inputs byte by byte. The same values as the graph's, with exact sums.
 */
export const integerForm = (graph: Graph): Graph => prune(integerProducts(unpackedForm(graph)));

/** The same before its products are written as such; a runtime does that where they are exact. */
export const unpackedForm = (graph: Graph): Graph => fuseTransposes(unpackInt4(graph));

/** Counts what {@link integerForm} multiplies in integers. */
export function integerKernels(graph: Graph): IntegerKernels {
  const form = unpackInt4(graph);
  const types = typesOf(form);
  const producers = producersOf(form);
  const run = integerForm(graph).nodes;
  const products = new Set(run.flatMap((node) => (node.op === 'MatMulIntegerToFloat' ? node.outputs : [])));
  /** One product, or the sum of two: a 16-bit input is multiplied byte by byte. */
  const whole = new Set([
    ...products,
    ...run.flatMap(({ op, inputs, outputs }) => (op === 'Add' && inputs.every((x) => products.has(x)) ? outputs : [])),
  ]);
  const float: { site: string; reason: string }[] = [];
  let linears = 0;
  for (const node of form.nodes) {
    if (node.op !== 'Gemm') continue;
    const [x, w] = node.inputs.map((name) => producers.get(name)) as [Node | undefined, Node | undefined];
    const isQuantized = w?.op === 'DequantizeLinear';
    const site = (isQuantized ? w.inputs[0] : node.inputs[1])?.replace(/(_quantized(_int8)?|_float32)$/, '') as string;
    if (!site.endsWith('.weight')) continue; // the rotation of queries and keys
    linears++;
    if (!whole.has(node.outputs[0] as string))
      float.push({ site, reason: isQuantized ? reasonOf(x, w) : 'the weight is not quantized' });
  }
  return { linears, integer: linears - float.length, float };

  function reasonOf(x: Node | undefined, w: Node): string {
    const typeOf = (node: Node) => types.get(node.inputs[0] as string)?.type;
    if (x?.op !== 'DequantizeLinear') return 'the input is not quantized';
    if (typeOf(w) !== 'int8') return 'the weight has more than 8 bits';
    return 'the weight has a scale for each group';
  }
}
