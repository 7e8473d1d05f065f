/** Rules about what an operator reads and makes. */
import { isQuantizer, type LintOperator, type LintValue, MOVES, NORMS, PRODUCTS, typeName } from './lint-facts.ts';
import type { Breach, LintRule } from './lint-rule.ts';

/** Values that must have an operator's width: not what is multiplied with them, nor what is added in 32 bits. */
function sameWidth({ node, operands, results }: LintOperator): LintValue[] {
  const own = PRODUCTS.has(node.op) || NORMS.has(node.op) ? operands.filter(({ index }) => index === 0) : operands;
  return [...own, ...results].filter(({ encoding }) => encoding?.kind === 'integer');
}

export const operatorRules: readonly LintRule[] = [
  {
    name: 'quantized-values',
    severity: 'error',
    device: 'npu',
    description:
      'Every operator stands between DequantizeLinear and QuantizeLinear: without one of them it is compiled as a float operator, and nothing says so.',
    check({ operators, quantizers, file }) {
      if (file || quantizers.length === 0) return [];
      const advice = 'Quantize the value.';
      return operators.flatMap(({ node, where, operands, results }): Breach[] => [
        ...operands
          .filter(({ quantized, index }) => !quantized && !(PRODUCTS.has(node.op) && index === 2)) // the compiler rounds biases by itself
          .map(({ name }) => ({ where, found: `reads ${name} in float`, advice })),
        ...results
          .filter(({ quantized }) => !quantized)
          .map(({ name }) => ({ where, found: `gives ${name} in float`, advice })),
      ]);
    },
  },
  {
    name: 'one-width',
    severity: 'error',
    device: 'npu',
    description:
      'What an operator reads and makes has one width, 8 or 16 bits (but for weights): with two it is compiled as a float operator, and nothing says so, or refused.',
    check: ({ operators, quantizers }) =>
      operators.flatMap((operator): Breach[] => {
        const { node, where } = operator;
        if (node.op === 'Cast' || (node.op === 'Identity' && quantizers.length === 0)) return []; // Identity converts there
        const values = sameWidth(operator);
        if (new Set(values.map(({ encoding }) => encoding?.bits)).size <= 1) return [];
        const found = values.map(({ name, encoding }) => `${name} in ${encoding?.bits} bits`).join(', ');
        return [{ where, found, advice: 'Convert behind the operator that makes the value.' }];
      }),
  },
  {
    name: 'conversion-place',
    severity: 'warning',
    device: 'npu',
    description:
      'From width to width values are converted right behind the operator that computes them: quantizers around a Reshape or Transpose are dropped by optimizers, and what moves may be left in float.',
    check({ graph, producers, encodings }) {
      /** What made a value, quantizers passed over. */
      const maker = (name: string | undefined): string | undefined => {
        const node = producers.get(name ?? '');
        return node && isQuantizer(node) ? maker(node.inputs[0]) : node?.op;
      };
      const bits = (name: string | undefined): number | undefined => encodings.get(name ?? '')?.bits;
      return graph.nodes.flatMap(({ op, inputs: [x], outputs: [y] }): Breach[] => {
        const converts =
          op === 'Identity' || (op === 'QuantizeLinear' && producers.get(x ?? '')?.op === 'DequantizeLinear');
        const before = converts ? maker(x) : undefined;
        if (before === undefined || !MOVES.has(before) || bits(x) === bits(y)) return [];
        const advice = `Convert before the ${before}.`;
        return [{ where: `${y}`, found: `${bits(x)} to ${bits(y)} bits behind a ${before}`, advice }];
      });
    },
  },
  {
    name: 'moves-keep-grids',
    severity: 'error',
    device: 'npu',
    description:
      'What only moves values (Reshape, Transpose, Slice, …) keeps their grid: from scale to scale it is compiled as a float operator, and another zero point is passed over.',
    check: ({ operators }) =>
      operators.flatMap(({ node, where, operands: [x], results }) =>
        results.flatMap((y): Breach[] => {
          const [from, to] = [x?.encoding, y.encoding];
          if (!MOVES.has(node.op) || node.op === 'Concat' || from?.kind !== 'integer' || to?.kind !== 'integer')
            return [];
          if (from.bits !== to.bits) return []; // another rule
          if (from.scale[0] === to.scale[0] && from.zeroPoint[0] === to.zeroPoint[0]) return [];
          const grid = ({ scale, zeroPoint }: typeof from) => `${scale[0]} (zero at ${zeroPoint[0]})`;
          const found = `the scale ${grid(from)} in, ${grid(to)} out`;
          return [{ where, found, advice: 'Give what comes out the grid of what goes in.' }];
        }),
      ),
  },
  {
    name: 'norm-weights',
    severity: 'error',
    device: 'npu',
    description:
      'Weights of a norm have a type that the NPU has: unsigned for RMS norms, uint8 for LayerNorms, whose bias has 32 bits; others are refused, or computed in float.',
    check: ({ operators }) =>
      operators
        .filter(({ node }) => NORMS.has(node.op))
        .flatMap(({ node, where, operands }) =>
          operands.flatMap(({ index, encoding }): Breach[] => {
            const type = encoding && typeName(encoding);
            if (type === undefined || index === 0) return [];
            const isLayer = node.op === 'LayerNormalization';
            const wanted = index === 2 ? ['int32'] : isLayer ? ['uint8'] : ['uint8', 'uint16', 'int16'];
            if (wanted.includes(type)) return [];
            const found = `a ${index === 1 ? 'weight' : 'bias'} of ${type}`;
            return [{ where, found, advice: `Make it ${wanted.join(' or ')}.` }];
          }),
        ),
  },
];
