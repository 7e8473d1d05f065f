/**
 * Looks at an exported graph before anything slow is run: what a device would refuse, compute in float without a word, or compute wrongly.
 *
 * Rules are a list, and the list is the documentation. Their facts were measured with Qualcomm's compiler and emulator.
 */
import type { Graph } from '@mobilequant/graph';
import type { EncodingsFile } from '../encodings/tensor-encoding.ts';
import { graphRules } from './graph-rules.ts';
import { fileRules, gridRules } from './grid-rules.ts';
import { lintFacts } from './lint-facts.ts';
import type { Finding, LintDevice, LintRule } from './lint-rule.ts';
import { operatorRules } from './operator-rules.ts';
import { productRules } from './product-rules.ts';

/** All rules, in the order in which findings are given. */
export const lintRules: readonly LintRule[] = [
  ...graphRules,
  ...gridRules,
  ...fileRules,
  ...operatorRules,
  ...productRules,
];

export interface LintOptions {
  /** What will run the graph. Default npu. */
  readonly device?: LintDevice;
  /** Encodings that belong to it, where it has no quantizers itself. */
  readonly encodings?: EncodingsFile | undefined;
  /** The graph that prepares its inputs. */
  readonly inputs?: Graph | undefined;
  /** Default all. */
  readonly rules?: readonly LintRule[];
}

/**
 * What in a graph breaks a rule; nothing, if all is well. Of its constants only scales and zero points are read.
 *
 * @example
 * const graph = { name: 'g', inputs: [], outputs: [], nodes: [], initializers: new Map(), values: new Map() };
 * await lintGraph(graph); // => []
 */
export async function lintGraph(
  graph: Graph,
  { device = 'npu', encodings, inputs, rules = lintRules }: LintOptions = {},
): Promise<Finding[]> {
  const facts = await lintFacts(graph, encodings, inputs);
  return rules
    .filter((rule) => rule.device === undefined || rule.device === device)
    .flatMap(({ name, severity, check }) => check(facts).map((breach) => ({ rule: name, severity, ...breach })));
}

const ENCODING_RULES = [...gridRules, ...fileRules, ...operatorRules, ...productRules];

/** What in encodings does not fit their graph, an NPU, or themselves: the rules of `lintGraph` that are about grids. */
export const checkEncodings = (graph: Graph, encodings: EncodingsFile): Promise<Finding[]> =>
  lintGraph(graph, { encodings, rules: ENCODING_RULES });
