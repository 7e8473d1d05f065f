/**
 * Versions 2.0.0 and 2.1.0: one list of encodings in the terms of ONNX's QuantizeLinear, scales in lists of the scales' own shape.
 *
 *     real = y_scale · (q - y_zero_point)     on the grid of `output_dtype`
 *
 * A signed type is what the other versions call symmetric, as AIMET has it, whatever the zero point. LPBQ has two scales side by side in
 * 2.0.0, and in 2.1.0 a scale that is itself an encoding, of integers `x` by a scale for each channel.
 */
import { EncodingsError } from './encodings-error.ts';
import {
  integerAt,
  type JsonObject,
  type Nested,
  nameAt,
  nestedAt,
  objectAt,
  oneOfAt,
  show,
  toNested,
} from './json-fields.ts';
import {
  type Blocks,
  checkEncoding,
  type IntegerEncoding,
  type TensorEncoding,
  type TensorGranularity,
} from './tensor-encoding.ts';

export type Version2 = '2.0.0' | '2.1.0';

const INTEGERS = ['int2', 'uint2', 'int4', 'uint4', 'int8', 'uint8', 'int16', 'uint16', 'int32'];

const FLOATS = ['float4e2m1', 'float8e4m3fn', 'float8e4m3fnuz', 'float8e5m2', 'float8e5m2fnuz'];

export function readVersion2(value: unknown, group: string, version: Version2): TensorEncoding {
  const entry = objectAt(value, group);
  const name = nameAt(entry['name'], `${group}.name`);
  const where = `${group.replace(/\[\d+\]$/, '')}.${name}`;
  const dtype = integerTypeAt(entry['output_dtype'], `${where}.output_dtype`);
  const signed = dtype.startsWith('int');
  const bits = Number(dtype.replace(/\D/g, ''));
  const { granularity, scale, toOrder } = scalesOf(entry, where, bits, version);
  const zeroPoint = zeroPointsOf(entry['y_zero_point'], `${where}.y_zero_point`, {
    bits,
    signed,
    toOrder,
    count: scale.length,
  });
  const encoding: IntegerEncoding = {
    kind: 'integer',
    name,
    bits,
    symmetric: signed,
    granularity,
    scale,
    zeroPoint,
  };
  checkEncoding(encoding, where, { scale: 'y_scale', zeroPoint: 'y_zero_point' });
  return encoding;
}

/** @throws EncodingsError for what this version cannot say. */
export function writeVersion2(encoding: TensorEncoding, version: Version2): JsonObject {
  const { name, kind, bits } = encoding;
  const refuse = (expected: string, received: string, advice: string): never => {
    throw new EncodingsError(name, `${expected} for version ${version}`, received, advice);
  };
  if (kind === 'float') return refuse('integers', `float${bits}`, 'Leave floats out (omitFloats), or write 1.0.0.');
  const { granularity, scale, zeroPoint } = encoding;
  const dtype = `${encoding.symmetric ? '' : 'u'}int${bits}`;
  if (!INTEGERS.includes(dtype)) return refuse(INTEGERS.join(', '), dtype, 'Write 1.0.0, or use other bits.');
  const points = zeroPoint.map((z) => (encoding.symmetric ? z - 2 ** (bits - 1) : z));
  const withPoints = (shaped: (values: Float64Array) => unknown): JsonObject =>
    points.every((z) => z === 0) ? {} : { y_zero_point: shaped(points) };
  const head = { name, output_dtype: dtype };
  switch (granularity.kind) {
    case 'tensor':
      return { ...head, y_scale: scale[0], ...withPoints(([z]) => z) };
    case 'channel':
      return { ...head, y_scale: Array.from(scale), ...withPoints((z) => Array.from(z)), axis: granularity.axis };
    case 'block': {
      const { axis, size } = granularity;
      const shaped = (values: Float64Array): unknown => nestedBlocks(values, granularity);
      return { ...head, y_scale: shaped(scale), ...withPoints(shaped), axis, block_size: size };
    }
    case 'lpbq': {
      const { axis, channelAxis, size, blockScale, decompressedBits } = granularity;
      if (decompressedBits !== 2 * bits)
        return refuse(`${2 * bits} decompressed bits`, `${decompressedBits}`, 'Write 1.0.0, which says them.');
      const scales =
        version === '2.0.0'
          ? {
              per_block_int_scale: nestedBlocks(blockScale, granularity),
              per_channel_float_scale: nestedBlocks(scale, granularity),
            }
          : { y_scale: { x: nestedBlocks(blockScale, granularity), x_scale: Array.from(scale), axis: channelAxis } };
      return { ...head, ...scales, axis, block_size: size };
    }
    default:
      throw new Error(`unknown granularity ${JSON.stringify(granularity satisfies never)}`);
  }
}

function integerTypeAt(value: unknown, where: string): string {
  if (FLOATS.includes(value as string))
    throw new EncodingsError(where, 'a type of integers', show(value), 'Scaled floats cannot be converted.');
  return oneOfAt(value, where, INTEGERS);
}

interface Scales {
  readonly granularity: TensorGranularity;
  readonly scale: Float64Array;
  /** Values beside the scales, checked to have their shape, in the order of the scales. */
  readonly toOrder: (values: Nested, where: string) => Float64Array;
}

function scalesOf(entry: JsonObject, where: string, bits: number, version: Version2): Scales {
  const scale = entry['y_scale'];
  if (entry['per_block_int_scale'] !== undefined) return lpbqOf(entry, where, bits);
  if (typeof scale === 'object' && scale !== null && !Array.isArray(scale)) {
    if (version === '2.0.0')
      throw new EncodingsError(`${where}.y_scale`, 'numbers in version 2.0.0', 'an encoding', 'Say that it is 2.1.0.');
    return metaOf(scale as JsonObject, entry, where, bits);
  }
  const { shape, values } = nestedAt(scale, `${where}.y_scale`);
  const alike = (given: Nested, at: string): Float64Array => sameShape(given, shape, at).values;
  if (entry['block_size'] !== undefined) {
    const blocks = blocksOf(entry, shape, where);
    const toOrder = (given: Nested, at: string): Float64Array => channelMajor(alike(given, at), blocks);
    return { granularity: { kind: 'block', ...blocks }, scale: channelMajor(values, blocks), toOrder };
  }
  if (entry['axis'] !== undefined) {
    const axis = integerAt(entry['axis'], `${where}.axis`, -8, 7);
    if (shape.length !== 1)
      throw new EncodingsError(
        `${where}.y_scale`,
        'a list of numbers',
        `lists ${shape.length} deep`,
        'Or say block_size.',
      );
    return { granularity: { kind: 'channel', axis }, scale: values, toOrder: alike };
  }
  if (values.length !== 1)
    throw new EncodingsError(`${where}.axis`, 'the axis of the scales', 'none', 'More than one scale needs one.');
  return { granularity: { kind: 'tensor' }, scale: values, toOrder: ({ values }) => values };
}

/** LPBQ as in 2.0.0: both scales have all axes, that of channels 1 along the blocks. */
function lpbqOf(entry: JsonObject, where: string, bits: number): Scales {
  const integers = nestedAt(entry['per_block_int_scale'], `${where}.per_block_int_scale`);
  const blocks = blocksOf(entry, integers.shape, where);
  const one = integers.shape.map((length, axis) => (axis === blocks.axis ? 1 : length));
  const at = `${where}.per_channel_float_scale`;
  const { values } = sameShape(nestedAt(entry['per_channel_float_scale'], at), one, at);
  return lpbqScales(integers, values, blocks, where, bits);
}

/** LPBQ as in 2.1.0: integers by a scale for each channel. */
function metaOf(meta: JsonObject, entry: JsonObject, where: string, bits: number): Scales {
  const at = `${where}.y_scale`;
  if (meta['input_dtype'] !== undefined) integerTypeAt(meta['input_dtype'], `${at}.input_dtype`);
  if (meta['block_size'] !== undefined)
    throw new EncodingsError(
      `${at}.block_size`,
      'none, a scale for each channel',
      show(meta['block_size']),
      'It cannot be converted.',
    );
  if (
    meta['x_zero_point'] !== undefined &&
    nestedAt(meta['x_zero_point'], `${at}.x_zero_point`).values.some((z) => z !== 0)
  )
    throw new EncodingsError(`${at}.x_zero_point`, 'none, or 0', show(meta['x_zero_point']), 'It cannot be converted.');
  const integers = nestedAt(meta['x'], `${at}.x`);
  const rank = integers.shape.length;
  const channelAxis = fromEnd(integerAt(meta['axis'], `${at}.axis`, -rank, rank - 1), rank);
  const blocks = blocksOf(entry, integers.shape, where, channelAxis);
  const scale = sameShape(nestedAt(meta['x_scale'], `${at}.x_scale`), [blocks.channels], `${at}.x_scale`);
  return lpbqScales(integers, scale.values, blocks, `${at}.x`, bits);
}

function lpbqScales(integers: Nested, scale: Float64Array, blocks: Blocks, where: string, bits: number): Scales {
  const blockScale = Uint16Array.from(channelMajor(integers.values, blocks), (s) => integerAt(s, where, 1, 65535));
  return {
    granularity: { kind: 'lpbq', ...blocks, blockScale, decompressedBits: 2 * bits },
    scale,
    // Zero points are those of blocks, all the same; there is one for each channel here.
    toOrder(given, at) {
      const all = channelMajor(sameShape(given, integers.shape, at).values, blocks);
      const other = all.find((z) => z !== all[0]);
      if (other === undefined) return all.subarray(0, blocks.channels);
      throw new EncodingsError(at, 'the same for all of LPBQ', `${all[0]} and ${other}`, 'LPBQ is symmetric.');
    },
  };
}

/** How blocks lie, by the shape of their scales: all axes but two have length 1. */
function blocksOf(entry: JsonObject, shape: readonly number[], where: string, channels?: number): Blocks {
  const rank = shape.length;
  if (rank < 2)
    throw new EncodingsError(
      where,
      'scales of blocks in lists of lists',
      show(entry['y_scale']),
      'They have the axes of the tensor.',
    );
  const axis = fromEnd(integerAt(entry['axis'], `${where}.axis`, -rank, rank - 1), rank);
  const others = shape.map((_, i) => i).filter((i) => i !== axis);
  const channelAxis = channels ?? others.find((i) => shape[i] !== 1) ?? (axis === 0 ? 1 : axis - 1);
  const third = others.find((i) => i !== channelAxis && shape[i] !== 1);
  if (third !== undefined || channelAxis === axis)
    throw new EncodingsError(
      where,
      'scales along two axes, that of channels and that of blocks',
      `the shape [${shape.join(', ')}] with blocks along ${axis}`,
      'Other layouts cannot be converted.',
    );
  const size = integerAt(entry['block_size'], `${where}.block_size`, 1, 2 ** 31 - 1);
  return { axis, channelAxis, channels: shape[channelAxis] as number, size, rank };
}

function zeroPointsOf(
  value: unknown,
  where: string,
  { bits, signed, toOrder, count }: Pick<Scales, 'toOrder'> & { bits: number; signed: boolean; count: number },
): Float64Array {
  const low = signed ? 2 ** (bits - 1) : 0;
  if (value === undefined || value === null) return new Float64Array(count).fill(low);
  const given = nestedAt(value, where);
  const isOne = given.shape.length === 0; // for all
  const points = isOne ? new Float64Array(count).fill(given.values[0] as number) : toOrder(given, where);
  const [least, most] = [0 - low, 2 ** bits - 1 - low];
  const bad = points.findIndex((z) => !(z >= least && z <= most && Number.isInteger(bits === 2 ? 2 * z : z)));
  if (bad < 0) return points.map((z) => z + low);
  throw new EncodingsError(
    `${where}[${bad}]`,
    `an integer from ${least} to ${most}, which ${signed ? '' : 'u'}int${bits} has`,
    `${points[bad]}`,
    'A zero point is the negative of an offset.',
  );
}

function sameShape(given: Nested, shape: readonly number[], where: string): Nested {
  if (given.shape.length === shape.length && given.shape.every((length, i) => length === shape[i])) return given;
  throw new EncodingsError(
    where,
    `numbers of the shape [${shape.join(', ')}], as its scales`,
    `[${given.shape.join(', ')}]`,
    'Give every scale one.',
  );
}

const fromEnd = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** Values of blocks in the order of the tensor's axes → `[channels, blocks]`. */
function channelMajor(values: Float64Array, { axis, channelAxis, channels }: Blocks): Float64Array {
  if (channelAxis < axis) return values;
  const blocks = values.length / channels;
  return values.map((_, i) => values[(i % blocks) * channels + Math.floor(i / blocks)] as number);
}

/** `[channels, blocks]`, or one value for each channel, as lists with all axes of the tensor. */
function nestedBlocks(values: ArrayLike<number>, { axis, channelAxis, channels, rank }: Blocks): unknown {
  const blocks = values.length / channels;
  const shape = Array.from({ length: rank }, (_, i) => (i === axis ? blocks : i === channelAxis ? channels : 1));
  if (channelAxis < axis) return toNested(values, shape);
  return toNested(
    Array.from(values, (_, i) => values[(i % channels) * blocks + Math.floor(i / channels)] as number),
    shape,
  );
}
