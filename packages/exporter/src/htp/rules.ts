/**
 * What HTP computes for an operator between DequantizeLinear and QuantizeLinear, as operators that ONNX Runtime's processor has.
 *
 * Products are summed in integers, uint8 × uint8, which no processor saturates; all else is double precision, in which every number
 * here is exact. A rule gives whole steps over the result's zero point, before they saturate. Measured on the emulator
 * (`docs/devices.md`, "Arithmetic of the NPU"): *exact* rules agree with it to the last bit, of the others the tests say how near.
 */
import { type Initializer, initializer, type Node } from '@mobilequant/graph';
import type { Grid } from '../device-grid.ts';
import { ExportError } from '../errors.ts';
import { productFactors, rescalingOf, sumFactors, wordOffset } from './fixed-point.ts';
import type { Writer } from './writer.ts';

/** A quantized value. */
export interface Held {
  readonly integers: string;
  readonly grid: Grid;
}

/** A constant matrix, one scale for it or for each output. */
export interface Weight {
  readonly scales: readonly number[];
  /** `[in, out]`, uint8 with zero point 128. */
  readonly bytes: Initializer;
  /** `[out]`, float64: a function of the sum of an output's weights and of its bias. */
  offsets(of: (weightSum: number, bias: number) => number): Initializer;
}

/** An operator with what it reads and makes. */
export interface Unit {
  readonly node: Node;
  readonly operands: readonly Held[];
  /** Of a Gemm: what it is multiplied by. */
  readonly weight?: Weight;
  readonly result: Grid;
}

export type Rule = (unit: Unit, write: Writer) => string;

/** exact */
const linear: Rule = ({ operands, weight, result }, write) => {
  const [x] = operands as [Held];
  const { scales, bytes, offsets } = weight as Weight;
  const { zeroPoint } = x.grid;
  const matrix = write.constant(bytes);
  const offset =
    result.bits === 8
      ? offsets((weightSum, bias) => bias - zeroPoint * weightSum)
      : offsets((weightSum, bias) => wordOffset(weightSum, zeroPoint, bias));
  const sum = write.plus(productSum(x, matrix, write), write.constant(offset));
  return rescaledSum(sum, productFactors(x.grid.scale, scales, result.scale), result, write);
};

/** exact */
const product: Rule = ({ operands, result }, write) => {
  const [x, second] = operands as [Held, Held];
  if (second.grid.bits !== 8 || second.grid.zeroPoint !== 128)
    throw new ExportError(
      second.integers,
      'a second operand of 8 bits, symmetric',
      `${second.grid.bits} bits with zero point ${second.grid.zeroPoint}`,
      'HTP would round it again.',
    );
  const weightSum = write.node('ReduceSum', [write.centered(second), axis(-2, write)]);
  const share = write.times(weightSum, x.grid.zeroPoint);
  const offset = result.bits === 8 ? share : write.halfUp(write.times(share, 1 / 256));
  const sum = write.node('Sub', [productSum(x, second.integers, write), offset]);
  return rescaledSum(sum, productFactors(x.grid.scale, [second.grid.scale], result.scale), result, write);
};

/** exact */
const sum: Rule = ({ operands, result }, write) => {
  const [a, b] = operands as [Held, Held];
  const factors = sumFactors([a.grid.scale, b.grid.scale], result.scale);
  const [first, second] = [a, b].map((held, i) => write.times(write.centered(held), factors[i] as number));
  return write.halfUp(write.plus(first as string, second as string));
};

/** Nearest, half up. HTP's own factor has fewer bits: 2 to 5 of 100 values are a step beside. */
const multiplied: Rule = ({ operands, result }, write) => {
  const [a, b] = operands as [Held, Held];
  const value = write.node('Mul', [write.centered(a), write.centered(b)]);
  return write.halfUp(write.times(value, (a.grid.scale * b.grid.scale) / result.scale));
};

/** From grid to grid, half up: less than 1 of 100 values are a step beside. */
const converted: Rule = ({ operands, result }, write) => {
  const [x] = operands as [Held];
  return write.halfUp(write.times(write.centered(x), x.grid.scale / result.scale));
};

/** Towards zero: less than 1 of 100 values are a step beside. */
const normalized: Rule = ({ node, operands, result }, write) => {
  const [x] = operands as [Held];
  const { axis: along = -1, p = 2 } = node.attributes;
  if (along !== -1 || p !== 2) throw new ExportError(node.op, 'axis -1 and p 2', `${along} and ${p}`, 'Export it so.');
  const value = write.centered(x);
  const squares = write.node('ReduceSum', [write.node('Mul', [value, value]), axis(-1, write)]);
  // A sum of squares of integers is 0 or at least 1.
  const length = write.node('Sqrt', [write.node('Max', [squares, write.number(1)])]);
  const steps = write.times(write.node('Div', [value, length]), 1 / result.scale);
  return write.node('Mul', [write.node('Sign', [steps]), write.node('Floor', [write.node('Abs', [steps])])]);
};

/** 16 bits: the step below, as 9 of 10 are. 8 bits: nearest. */
const softmax: Rule = ({ node, operands, result }, write) => {
  const value = write.node('Softmax', [real(operands[0] as Held, write)], node.attributes);
  const steps = write.times(value, 1 / result.scale);
  return result.bits === 16 ? write.node('Floor', [steps]) : write.halfUp(steps);
};

/** 8 bits: exact. 16 bits come from a table and are 1 step low in the mean, within 3 of that. */
const sigmoid: Rule = ({ operands, result }, write) => {
  const steps = write.times(write.node('Sigmoid', [real(operands[0] as Held, write)]), 1 / result.scale);
  return write.halfUp(result.bits === 16 ? write.plus(steps, -1) : steps);
};

/** 8 bits: nearest. 16 bits come from a table, within 17 steps of what is computed here. */
const gelu: Rule = ({ node, operands, result }, write) => {
  const x = write.cast(real(operands[0] as Held, write), 'float32'); // there is no other kernel
  const value = write.cast(write.node('Gelu', [x], node.attributes), 'float64');
  return write.halfUp(write.times(value, 1 / result.scale));
};

/** By operator; Convert is a QuantizeLinear behind a DequantizeLinear. */
export const RULES: ReadonlyMap<string, Rule> = new Map([
  ['Add', sum],
  ['Convert', converted],
  ['Gelu', gelu],
  ['Gemm', linear],
  ['LpNormalization', normalized],
  ['MatMul', product],
  ['Mul', multiplied],
  ['Sigmoid', sigmoid],
  ['Softmax', softmax],
]);

/** The sum of products with a matrix of bytes around 128. 16-bit inputs: of both bytes, without the low 8 bits of the sum. */
function productSum({ integers, grid }: Held, matrix: string, write: Writer): string {
  const [zero, middle] = [0, 128].map((value) =>
    write.constant(initializer(`htp.byte ${value}`, 'uint8', [], [value])),
  );
  const times = (x: string): string =>
    write.cast(write.node('MatMulInteger', [x, matrix, zero as string, middle as string]), 'float64');
  if (grid.bits === 8) return times(integers);
  const shift = write.constant(initializer('htp.int 256', 'int32', [], [256]));
  const high = write.cast(write.node('Div', [write.cast(integers, 'int32'), shift]), 'uint8');
  const low = write.cast(integers, 'uint8'); // keeps the low byte
  return write.plus(times(high), write.node('Floor', [write.times(times(low), 1 / 256)]));
}

function rescaledSum(sum: string, factors: Float32Array, { bits }: Grid, write: Writer): string {
  const rescalings = Array.from(factors, (factor) => rescalingOf(factor, bits));
  const all = (key: 'unit' | 'slope' | 'offset'): string => write.number(Float64Array.from(rescalings, (r) => r[key]));
  const kept = write.node('Floor', [write.times(sum, all('unit'))]);
  return write.node('Floor', [write.plus(write.times(kept, all('slope')), all('offset'))]);
}

const real = (held: Held, write: Writer): string => write.times(write.centered(held), held.grid.scale);

const axis = (index: number, write: Writer): string =>
  write.constant(initializer(`htp.axis ${index}`, 'int64', [1], [index]));
