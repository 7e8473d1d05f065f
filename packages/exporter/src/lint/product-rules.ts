/** Rules about products: weights, and second operands that are computed. */
import type { IntegerEncoding } from '../encodings/tensor-encoding.ts';
import { isCentred, type LintFacts, type LintOperator, PRODUCTS, typeName } from './lint-facts.ts';
import type { Breach, LintRule } from './lint-rule.ts';

interface Second {
  readonly operator: LintOperator;
  readonly name: string;
  readonly encoding: IntegerEncoding;
  /** Of a constant. */
  readonly shape: readonly number[] | undefined;
}

/** What products multiply with, as far as it is on a grid. */
const seconds = ({ operators }: LintFacts): Second[] =>
  operators
    .filter(({ node }) => PRODUCTS.has(node.op))
    .flatMap((operator) =>
      operator.operands.flatMap(({ index, name, encoding, constant }): Second[] =>
        index === 1 && encoding?.kind === 'integer' ? [{ operator, name, encoding, shape: constant?.shape }] : [],
      ),
    );

/** A rule about weights or about computed second operands: says what is wrong with one, if anything. */
const secondRule = (
  of: 'weight' | 'computed',
  rule: Omit<LintRule, 'check' | 'device'>,
  wrong: (second: Second) => Pick<Breach, 'found' | 'advice'> | undefined,
): LintRule => ({
  ...rule,
  device: 'npu',
  check: (facts) =>
    seconds(facts).flatMap((second): Breach[] => {
      if ((second.shape !== undefined) !== (of === 'weight')) return [];
      const breach = wrong(second);
      return breach ? [{ where: second.operator.where, ...breach }] : [];
    }),
});

/** The axis of output channels. */
function outputAxis({ node: { op, attributes } }: LintOperator, rank: number): number {
  if (op === 'MatMul') return rank - 1;
  if (op === 'ConvTranspose') return 1;
  return op === 'Gemm' && attributes['transB'] !== 1 ? 1 : 0;
}

export const productRules: readonly LintRule[] = [
  secondRule(
    'weight',
    {
      name: 'weight-axis',
      severity: 'error',
      description:
        'Scales of a weight are those of its output channels: along another axis it does not compile (error 1002), or small ones are computed wrongly.',
    },
    ({ operator, encoding: { granularity, scale }, shape = [] }) => {
      if (granularity.kind !== 'channel') return undefined;
      const axis = granularity.axis < 0 ? granularity.axis + shape.length : granularity.axis;
      const wanted = outputAxis(operator, shape.length);
      if (axis === wanted && scale.length === shape[wanted]) return undefined;
      return {
        found: `${scale.length} scales along axis ${axis} of [${shape.join(', ')}]`,
        advice: `Quantize along axis ${wanted}.`,
      };
    },
  ),
  secondRule(
    'weight',
    {
      name: 'weight-symmetric',
      severity: 'error',
      description: 'A weight with a scale for each channel is symmetric: another zero point is refused (error 3110).',
    },
    ({ encoding }) =>
      encoding.granularity.kind === 'channel' && !isCentred(encoding)
        ? { found: 'another zero point than the middle', advice: 'Quantize it symmetrically.' }
        : undefined,
  ),
  secondRule(
    'weight',
    {
      name: 'weight-unsigned',
      severity: 'error',
      description: 'A 4-bit weight with a scale for each channel is signed: uint4 is refused (error 3110).',
    },
    ({ encoding }) =>
      encoding.granularity.kind === 'channel' && typeName(encoding) === 'uint4'
        ? { found: 'uint4 per channel', advice: 'Store it as int4.' }
        : undefined,
  ),
  secondRule(
    'weight',
    {
      name: 'weight-blocks',
      severity: 'error',
      description:
        'A weight has one scale for each channel: with scales for blocks the product is computed in float, or refused; LPBQ works in MatMul.',
    },
    ({ operator, encoding: { granularity } }) =>
      granularity.kind === 'block' || (granularity.kind === 'lpbq' && operator.node.op !== 'MatMul')
        ? {
            found: `${granularity.kind === 'block' ? 'blocks' : 'LPBQ'}`,
            advice: 'Quantize it per channel, or with LPBQ in a MatMul.',
          }
        : undefined,
  ),
  secondRule(
    'weight',
    {
      name: 'weight-requantized',
      severity: 'warning',
      description:
        'A weight with one scale is symmetric too: from another zero point the NPU goes to a symmetric grid by itself, and loses up to a bit.',
    },
    ({ encoding }) =>
      encoding.granularity.kind === 'tensor' && encoding.bits <= 8 && !isCentred(encoding)
        ? { found: `zero at ${encoding.zeroPoint[0]}`, advice: 'Quantize it symmetrically.' }
        : undefined,
  ),
  secondRule(
    'computed',
    {
      name: 'second-width',
      severity: 'error',
      description:
        'A second operand that is computed (keys, values) has 8 bits: one of 16 is rounded to 8 on the way, or refused.',
    },
    ({ name, encoding }) =>
      encoding.bits > 8
        ? { found: `${name} in ${encoding.bits} bits`, advice: 'Give keys and values 8 bits.' }
        : undefined,
  ),
  secondRule(
    'computed',
    {
      name: 'second-unsigned',
      severity: 'error',
      description:
        'A second operand that is computed is unsigned: int8 does not compile in every product (error 1002).',
    },
    ({ name, encoding }) =>
      encoding.bits <= 8 && encoding.symmetric
        ? {
            found: `${name} in ${typeName(encoding)}`,
            advice: 'Use uint8 with zero point 128, which has the same levels.',
          }
        : undefined,
  ),
  secondRule(
    'computed',
    {
      name: 'second-symmetric',
      severity: 'warning',
      description:
        'A second operand that is computed has its zero in the middle: from another zero point the NPU goes to a symmetric grid by itself, and loses up to a bit.',
    },
    ({ name, encoding }) =>
      encoding.bits <= 8 && !isCentred(encoding)
        ? { found: `${name} with zero at ${encoding.zeroPoint[0]}`, advice: 'Quantize keys and values symmetrically.' }
        : undefined,
  ),
];
