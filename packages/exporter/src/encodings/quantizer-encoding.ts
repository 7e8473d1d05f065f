/** What a QuantizeLinear or DequantizeLinear says of the tensor between them, in the terms of an encodings file. */
import {
  dataOf,
  type ElementType,
  elementCount,
  type Graph,
  type Initializer,
  type Node,
  valuesOf,
} from '@mobilequant/graph';
import type { IntegerEncoding, TensorGranularity } from './tensor-encoding.ts';

/** Most scales that a tensor can have to be looked at; a file may say any number. */
const MOST_SCALES = 2 ** 24;

/**
 * The encoding of a quantizer, as it is written: nothing about its numbers is checked. Only scales and zero points are read.
 *
 * @param type of the integers.
 * @returns undefined where scale or zero point are no constants, or as large as weights.
 */
export async function quantizerEncoding(
  { initializers }: Pick<Graph, 'initializers'>,
  { inputs, attributes }: Node,
  name: string,
  type: ElementType,
): Promise<IntegerEncoding | undefined> {
  const [scale, zero] = [initializers.get(inputs[1] ?? ''), initializers.get(inputs[2] ?? '')];
  if (!scale || sizeOf(scale) > MOST_SCALES || (inputs[2] && (!zero || sizeOf(zero) > MOST_SCALES))) return undefined;
  const bits = Number(type.replace(/\D+/, ''));
  const symmetric = type.startsWith('int');
  const middle = symmetric ? 2 ** (bits - 1) : 0; // files count levels from 0
  const granularity = granularityOf(
    scale.shape,
    Number(attributes['axis'] ?? 1),
    Number(attributes['block_size'] ?? 0),
  );
  const ordered = (values: number[]): Float64Array => Float64Array.from(inOrder(values, scale.shape, granularity));
  const scales = valuesOf(scale, await dataOf(scale));
  const zeros = zero ? valuesOf(zero, await dataOf(zero)) : scales.map(() => 0);
  return {
    kind: 'integer',
    name,
    bits,
    symmetric,
    granularity,
    scale: ordered(scales),
    zeroPoint: ordered(zeros.map((z) => z + middle)),
  };
}

const sizeOf = ({ shape }: Initializer): number => elementCount(shape);

function granularityOf(scales: readonly number[], axis: number, size: number): TensorGranularity {
  const rank = scales.length;
  if (size > 0 && rank >= 2) {
    const at = axis < 0 ? axis + rank : axis;
    const channelAxis = at === 0 ? 1 : at - 1;
    return { kind: 'block', axis: at, channelAxis, channels: scales[channelAxis] ?? 1, size, rank };
  }
  return rank === 0 || (rank === 1 && scales[0] === 1) ? { kind: 'tensor' } : { kind: 'channel', axis };
}

/** Scales of blocks of a matrix in the order `[channels, blocks]`. */
function inOrder(values: number[], shape: readonly number[], granularity: TensorGranularity): number[] {
  if (granularity.kind !== 'block' || granularity.axis !== 0 || shape.length !== 2) return values;
  const [blocks, channels] = shape as [number, number];
  return values.map((_, i) => values[(i % blocks) * channels + Math.floor(i / blocks)] as number);
}
