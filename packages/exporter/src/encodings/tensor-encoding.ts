/**
 * How tensors of a graph are quantized, whatever version of the file says so.
 *
 *     real = scale · (q - zeroPoint)     q from 0 to 2^bits - 1
 *
 * Versions differ in signs, in names, in the grid (unsigned, or that of a signed type) and in the order of blocks. Here there is one
 * of each, so that a conversion is reading and writing.
 */
import { type Encoding, groupCount } from '@mobilequant/quantizer';
import { EncodingsError } from './encodings-error.ts';
import { show } from './json-fields.ts';

/** How blocks lie in a tensor: along one axis, for each channel of another. */
export interface Blocks {
  /** The axis that blocks divide. */
  readonly axis: number;
  readonly channelAxis: number;
  readonly channels: number;
  /** Elements of a block along `axis`. */
  readonly size: number;
  /** Axes of the tensor. */
  readonly rank: number;
}

/** Which elements share a scale. Blocks are in the order `[channels, blocks]`, whatever the axes. */
export type TensorGranularity =
  | { readonly kind: 'tensor' }
  /** `axis` may count from the end, as -1. */
  | { readonly kind: 'channel'; readonly axis: number }
  | ({ readonly kind: 'block' } & Blocks)
  /** Low power blockwise quantization: a scale for each channel, times a small integer for each block. */
  | ({
      readonly kind: 'lpbq';
      /** `[channels, blocks]`, from 1 to 2^(decompressedBits - bits). */
      readonly blockScale: Uint16Array;
      /** Bits of a weight times its block's integer. */
      readonly decompressedBits: number;
    } & Blocks);

/** A tensor of integers. */
export interface IntegerEncoding {
  readonly kind: 'integer';
  readonly name: string;
  /** 2 to 32. */
  readonly bits: number;
  /** Most often zero stands in the middle of the grid, at 2^(bits - 1); all that files mean by it is that levels are signed. */
  readonly symmetric: boolean;
  readonly granularity: TensorGranularity;
  /** `[1]`, `[channels]` or `[channels, blocks]`; for LPBQ `[channels]`. */
  readonly scale: Float64Array;
  /** As many as scales, on the unsigned grid. Integers; with 2 bits halves too, for the grid of -3, -1, 1, 3. */
  readonly zeroPoint: Float64Array;
}

/** A tensor that stays in floating point. */
export interface FloatEncoding {
  readonly kind: 'float';
  readonly name: string;
  readonly bits: 8 | 16 | 32;
}

export type TensorEncoding = IntegerEncoding | FloatEncoding;

/** What a file says. */
export interface EncodingsFile {
  readonly activations: ReadonlyMap<string, TensorEncoding>;
  readonly params: ReadonlyMap<string, TensorEncoding>;
  /** How they were found, for people to read; 0.6.1 and 1.0.0 only. */
  readonly quantizerArgs?: Readonly<Record<string, unknown>>;
  /** Layers that were left alone; 1.0.0 only. */
  readonly excludedLayers?: readonly unknown[];
}

/** How many scales a granularity has, if it says so. */
const scaleCount = (granularity: TensorGranularity, scales: number): number => {
  if (granularity.kind === 'tensor') return 1;
  if (granularity.kind === 'lpbq') return granularity.channels;
  if (granularity.kind === 'block') return Math.max(Math.ceil(scales / granularity.channels), 1) * granularity.channels;
  return Math.max(scales, 1);
};

/**
 * Checks the numbers of an encoding; `fields` are the names that the file has for them.
 *
 * @throws EncodingsError
 */
export function checkEncoding(
  encoding: IntegerEncoding,
  where: string,
  fields: { readonly scale: string; readonly zeroPoint: string } = { scale: 'scale', zeroPoint: 'zeroPoint' },
): void {
  const { bits, granularity, scale, zeroPoint } = encoding;
  const fail: Fail = (field, expected, received, advice) => {
    throw new EncodingsError(`${where}.${field}`, expected, received, advice);
  };
  if (!(Number.isInteger(bits) && bits >= 2 && bits <= 32))
    fail('bits', 'an integer from 2 to 32', show(bits), 'Other widths are floats.');
  if (granularity.kind === 'block' || granularity.kind === 'lpbq') checkBlocks(granularity, fail);
  const scales = scaleCount(granularity, scale.length);
  if (scale.length !== scales)
    fail(fields.scale, `${scales} for the granularity '${granularity.kind}'`, `${scale.length}`, 'Give each its own.');
  if (zeroPoint.length !== scales)
    fail(fields.zeroPoint, `${scales}, as many as scales`, `${zeroPoint.length}`, 'Give each scale one.');
  const bad = scale.findIndex((s) => !(Math.fround(s) > 0 && Math.fround(s) < Infinity));
  if (bad >= 0)
    fail(`${fields.scale}[${bad}]`, 'a positive float32', show(scale[bad]), 'Calibrate the tensor on other data.');
  const unit = bits === 2 ? 2 : 1;
  const off = zeroPoint.findIndex((z) => !(Number.isInteger(unit * z) && z >= 0 && z <= 2 ** bits - 1));
  if (off >= 0)
    fail(
      `${fields.zeroPoint}[${off}]`,
      `a zero point from 0 to ${2 ** bits - 1} on the unsigned grid`,
      show(zeroPoint[off]),
      'It is the negative of an offset, or the zero point of a signed type plus half the levels.',
    );
  if (granularity.kind === 'lpbq') checkLpbq(encoding, granularity, fail);
}

type Fail = (field: string, expected: string, received: string, advice: string) => never;

function checkBlocks({ axis, channelAxis, channels, size, rank }: Blocks, fail: Fail): void {
  const isAxis = (value: number): boolean => Number.isInteger(value) && value >= 0 && value < rank;
  if (!(Number.isInteger(rank) && rank >= 2)) fail('rank', 'at least 2 axes', show(rank), 'Blocks need a matrix.');
  if (!isAxis(axis) || !isAxis(channelAxis) || axis === channelAxis)
    fail('axis', `two axes of ${rank}`, `${axis} for blocks and ${channelAxis} for channels`, 'Give the tensor’s own.');
  for (const [field, value] of Object.entries({ channels, size }))
    if (!(Number.isInteger(value) && value >= 1)) fail(field, 'a positive integer', show(value), 'Correct it.');
}

function checkLpbq(
  { bits, symmetric, zeroPoint }: IntegerEncoding,
  { channels, blockScale, decompressedBits }: Extract<TensorGranularity, { kind: 'lpbq' }>,
  fail: Fail,
): void {
  const most = 2 ** (decompressedBits - bits);
  if (!(Number.isInteger(decompressedBits) && most >= 2 && decompressedBits <= 32))
    fail(
      'bits',
      `more than ${bits} and at most 32 decompressed bits`,
      show(decompressedBits),
      'Most often twice the bits.',
    );
  if (blockScale.length === 0 || blockScale.length % channels !== 0)
    fail('per_block_int_scale', `a multiple of ${channels} channels`, `${blockScale.length}`, 'Give each block one.');
  const bad = blockScale.findIndex((s) => s < 1 || s > most);
  if (bad >= 0)
    fail(`per_block_int_scale[${bad}]`, `an integer from 1 to ${most}`, show(blockScale[bad]), 'Scale its channel.');
  if (!symmetric || !zeroPoint.every((z) => z === 2 ** (bits - 1)))
    fail('zeroPoint', 'a symmetric grid for LPBQ', 'another', 'Use the granularity of blocks without LPBQ.');
}

/**
 * An encoding of a quantized model as that of a graph's tensor: channels on axis 0, groups as blocks of axis 1.
 *
 * @param shape of the tensor, `[out, in]`; must be given for groups.
 * @throws EncodingsError when groups come without a shape; ShapeError when it does not fit them.
 */
export function encodingOf(
  name: string,
  { spec, scale, zeroPoint }: Encoding,
  shape?: readonly number[],
): IntegerEncoding {
  const { bits, symmetric, granularity } = spec;
  if (shape && groupCount(shape, granularity, name) !== scale.length)
    throw new EncodingsError(
      name,
      `${groupCount(shape, granularity, name)} scales for the shape [${shape.join(', ')}]`,
      `${scale.length}`,
      'Give the shape of its own tensor.',
    );
  const encoding: IntegerEncoding = {
    kind: 'integer',
    name,
    bits,
    symmetric,
    granularity: granularityOf(name, granularity, shape),
    scale: Float64Array.from(scale),
    zeroPoint: Float64Array.from(zeroPoint),
  };
  checkEncoding(encoding, name);
  return encoding;
}

function granularityOf(
  name: string,
  granularity: Encoding['spec']['granularity'],
  shape: readonly number[] | undefined,
): TensorGranularity {
  if (granularity.kind === 'tensor') return granularity;
  if (granularity.kind === 'channel') return { kind: 'channel', axis: 0 };
  const [channels] = shape ?? [];
  if (channels !== undefined && shape?.length === 2)
    return { kind: 'block', axis: 1, channelAxis: 0, channels, size: granularity.size, rank: 2 };
  throw new EncodingsError(
    name,
    'the shape [out, in] of a weight in groups',
    shape ? `[${shape.join(', ')}]` : 'none',
    'Give it as the third argument.',
  );
}
