/** Rules about the grids of single tensors, and about the file of encodings as a whole. */
import { typesOf } from '@mobilequant/graph';
import type { IntegerEncoding, TensorEncoding } from '../encodings/tensor-encoding.ts';
import { type LintFacts, PRODUCTS, typeName } from './lint-facts.ts';
import type { Breach, LintRule } from './lint-rule.ts';

const SMALLEST_SCALE = 1e-20; // below it the NPU computes garbage, and says nothing

const integers = ({ encodings }: LintFacts): IntegerEncoding[] =>
  [...encodings.values()].filter((encoding) => encoding.kind === 'integer');

/** Grids of 16 bits that the NPU's compiler puts functions on, whatever was written: scale and zero point, unsigned and signed. */
const FIXED: Readonly<Record<string, readonly [number, number]>> = {
  'Sigmoid uint16': [1 / 65536, 0],
  'Sigmoid int16': [1 / 32768, 32768],
  'Tanh uint16': [1 / 32768, 32768],
};

export const gridRules: readonly LintRule[] = [
  {
    name: 'scales',
    severity: 'error',
    description: `Scales are finite and at least ${SMALLEST_SCALE}: smaller ones are taken, and what comes out is garbage.`,
    check: (facts) =>
      integers(facts).flatMap(({ name, scale }): Breach[] => {
        const bad = scale.find((s) => !(s >= SMALLEST_SCALE && s < Number.POSITIVE_INFINITY));
        return bad === undefined ? [] : [{ where: name, found: `a scale of ${bad}`, advice: 'Calibrate it again.' }];
      }),
  },
  {
    name: 'zero-in-range',
    severity: 'error',
    description: 'Every range contains zero: its zero point is one of its integers.',
    check: (facts) =>
      integers(facts).flatMap(({ name, bits, zeroPoint }): Breach[] => {
        const most = 2 ** bits - 1;
        const bad = zeroPoint.find((zero) => !(zero >= 0 && zero <= most));
        const found = `zero at ${bad} of the levels 0 to ${most}`;
        return bad === undefined ? [] : [{ where: name, found, advice: 'Widen the range until it includes 0.' }];
      }),
  },
  {
    name: 'readable-scales',
    severity: 'error',
    description: 'Scales and zero points are constants: what is found out at run time has no form on an NPU.',
    device: 'npu',
    check: ({ quantizers }) =>
      quantizers
        .filter(({ encoding }) => encoding === undefined)
        .map(({ node }) => ({
          where: `${node.op} ${node.outputs[0]}`,
          found: 'scales that are computed, or too many',
          advice: 'Quantize statically.',
        })),
  },
  {
    name: 'one-scale',
    severity: 'error',
    device: 'npu',
    description:
      'A tensor has one scale: several belong to the weights and biases of products, and nothing else compiles with them.',
    check: ({ operators }) =>
      operators.flatMap(({ node, where, operands, results }) =>
        [
          ...operands.filter(({ constant, index }) => !(constant && index > 0 && PRODUCTS.has(node.op))),
          ...results,
        ].flatMap(({ name, encoding }) =>
          encoding?.kind === 'integer' && encoding.granularity.kind !== 'tensor'
            ? [{ where, found: `${encoding.scale.length} scales at ${name}`, advice: 'Quantize it per tensor.' }]
            : [],
        ),
      ),
  },
  {
    name: 'fixed-grids',
    severity: 'error',
    device: 'npu',
    description:
      'Sigmoid and Tanh of 16 bits are on the grid that the NPU’s compiler gives them: with another, what follows is read in the wrong scale.',
    check: ({ operators }) =>
      operators.flatMap(({ node, where, results }) =>
        results.flatMap(({ encoding }): Breach[] => {
          const fixed = encoding && FIXED[`${node.op} ${typeName(encoding)}`];
          if (!fixed || encoding.kind !== 'integer') return [];
          const [scale, zero] = [encoding.scale[0] as number, encoding.zeroPoint[0] as number];
          if (scale === fixed[0] && zero === fixed[1]) return [];
          const advice = `Use the scale ${fixed[0]}, and zero at ${fixed[1]} of the levels from 0.`;
          return [{ where, found: `the scale ${scale}, zero at ${zero}`, advice }];
        }),
      ),
  },
];

const isIndex = (type: string | undefined): boolean => /^(u?int|bool)/.test(type ?? '');

/** Real tensors of a graph without quantizers. */
function realTensors({ graph, quantizers }: LintFacts): string[] {
  if (quantizers.length > 0) return [];
  const types = typesOf(graph);
  const all = [
    ...graph.inputs.map(({ name }) => name),
    ...graph.initializers.keys(),
    ...graph.nodes.flatMap(({ outputs }) => outputs),
  ];
  return all.filter((name) => name !== '' && !isIndex(types.get(name)?.type));
}

/** `model.layers.3.mlp.w2.output`: the layer, and the rest, which other layers have too. */
const layered = (name: string): [number, string] | undefined => {
  const [, before = '', layer, behind = ''] = /^(model\.layers|present|past)\.(\d+)\b(.*)$/.exec(name) ?? [];
  return layer === undefined ? undefined : [Number(layer), `${before}.*${behind}`];
};

/** The width that most have, and those with another. */
function outliers(widths: ReadonlyMap<number, string>): { usual: string; others: [number, string][] } {
  const counts = new Map<string, number>();
  for (const width of widths.values()) counts.set(width, (counts.get(width) ?? 0) + 1);
  const [usual = ''] = [...counts].sort(([, a], [, b]) => b - a).map(([width]) => width);
  return { usual, others: [...widths].filter(([, width]) => width !== usual) };
}

const describe = (encoding: TensorEncoding): string =>
  encoding.kind === 'integer' && encoding.granularity.kind !== 'tensor'
    ? `${typeName(encoding)} per ${encoding.granularity.kind}`
    : typeName(encoding);

export const fileRules: readonly LintRule[] = [
  {
    name: 'encodings-complete',
    severity: 'error',
    description:
      'Every tensor that is no index has an encoding, those of Reshape and its like too: converters find ranges of their own for others, or compute in float.',
    check: (facts) =>
      facts.file === undefined
        ? []
        : realTensors(facts)
            .filter((name) => !facts.encodings.has(name))
            .map((name) => ({ where: name, found: 'no encoding', advice: 'Add one, or export again.' })),
  },
  {
    name: 'encodings-known',
    severity: 'error',
    description: 'Every encoding belongs to a tensor of the graph: converters pass over other names without a word.',
    check({ graph, file, types, producers }) {
      const isThere = (name: string) => types.has(name) || producers.has(name) || graph.initializers.has(name);
      return [...(file?.activations.keys() ?? []), ...(file?.params.keys() ?? [])]
        .filter((name) => !isThere(name))
        .map((name) => ({ where: name, found: 'no tensor of that name', advice: 'Take both files from one export.' }));
    },
  },
  {
    name: 'encodings-float',
    severity: 'warning',
    device: 'npu',
    description: 'No encoding says float: the operators at such a tensor are not computed in integers.',
    check: ({ file }) =>
      [...(file?.activations.values() ?? []), ...(file?.params.values() ?? [])]
        .filter(({ kind }) => kind === 'float')
        .map((encoding) => ({ where: encoding.name, found: typeName(encoding), advice: 'Give it a grid.' })),
  },
  {
    name: 'layers-alike',
    severity: 'warning',
    device: 'npu',
    description:
      'A tensor has the same integers in every layer. Others may be meant, as where a budget buys 16 bits; most often one was forgotten.',
    check({ encodings }) {
      const kinds = new Map<string, Map<number, string>>();
      for (const [name, encoding] of encodings) {
        const [layer, kind] = layered(name) ?? [];
        if (layer === undefined || kind === undefined) continue;
        kinds.set(kind, (kinds.get(kind) ?? new Map<number, string>()).set(layer, describe(encoding)));
      }
      return [...kinds].flatMap(([kind, widths]) => {
        const { usual, others } = outliers(widths);
        return others.map(([layer, width]) => ({
          where: kind.replace('*', `${layer}`),
          found: `${width}, ${usual} in other layers`,
          advice: 'Look whether that is meant.',
        }));
      });
    },
  },
];
