/**
 * Version 1.0.0: a list of encodings with a type, scales and offsets in flat lists, blocks in the order `[channels, blocks]`.
 *
 *     real = scale · (q + offset)     on the unsigned grid
 *
 * Programs disagree about that order where channels come last of more than two axes, so such blocks are refused.
 * LPBQ has the bits of the weight times its block's integer as `bw`, those of the weight as `compressed_bw`, and the offset of the former.
 */
import { EncodingsError } from './encodings-error.ts';
import { integerAt, type JsonObject, listAt, nameAt, numbersAt, objectAt, oneOfAt } from './json-fields.ts';
import {
  type Blocks,
  checkEncoding,
  type IntegerEncoding,
  type TensorEncoding,
  type TensorGranularity,
} from './tensor-encoding.ts';
import { blocksBy, channelsBy, type TensorFacts } from './tensor-facts.ts';

const TYPES = ['PER_TENSOR', 'PER_CHANNEL', 'PER_BLOCK', 'LPBQ'] as const;

const TYPE_OF = { tensor: 'PER_TENSOR', channel: 'PER_CHANNEL', block: 'PER_BLOCK', lpbq: 'LPBQ' } as const;

export function readVersion1(value: unknown, group: string, facts: TensorFacts): TensorEncoding {
  const entry = objectAt(value, group);
  const name = nameAt(entry['name'], `${group}.name`);
  const where = `${group.replace(/\[\d+\]$/, '')}.${name}`;
  const type = oneOfAt(entry['enc_type'], `${where}.enc_type`, TYPES, 'Other types cannot be converted.');
  if (oneOfAt(entry['dtype'], `${where}.dtype`, ['INT', 'FLOAT']) === 'FLOAT')
    return { kind: 'float', name, bits: oneOfAt(entry['bw'], `${where}.bw`, [8, 16, 32] as const) };
  const bw = integerAt(entry['bw'], `${where}.bw`, 2, 32);
  const scale = numbersAt(entry['scale'], `${where}.scale`);
  const offsets = offsetsOf(entry, where, bw, scale.length);
  const bits = type === 'LPBQ' ? integerAt(entry['compressed_bw'], `${where}.compressed_bw`, 2, bw - 1) : bw;
  const encoding: IntegerEncoding = {
    kind: 'integer',
    name,
    bits,
    symmetric: oneOfAt(entry['is_sym'], `${where}.is_sym`, [true, false]),
    granularity: granularityOf(entry, where, type, { name, bw, scales: scale.length, facts }),
    scale,
    zeroPoint: offsets.map((offset) => (type === 'LPBQ' ? lpbqZeroPoint(offset, bw, bits, where) : 0 - offset)),
  };
  checkEncoding(encoding, where, { scale: 'scale', zeroPoint: 'offset' });
  return encoding;
}

/** @throws EncodingsError for what this version cannot say. */
export function writeVersion1(encoding: TensorEncoding): JsonObject {
  const { name, kind, bits } = encoding;
  if (kind === 'float') return { name, enc_type: 'PER_TENSOR', dtype: 'FLOAT', bw: bits };
  const { symmetric, granularity, scale, zeroPoint } = encoding;
  if ('rank' in granularity) checkOrder(granularity, name);
  const lpbq = granularity.kind === 'lpbq' ? granularity : undefined;
  const bw = lpbq ? lpbq.decompressedBits : bits;
  const offsets = Array.from(zeroPoint, (z) => (lpbq ? -(2 ** (bw - 1)) : 0 - z));
  const whole = offsets.map(Math.floor);
  return {
    name,
    enc_type: TYPE_OF[granularity.kind],
    dtype: 'INT',
    bw,
    is_sym: symmetric,
    scale: Array.from(scale),
    offset: whole,
    ...(offsets.some((offset) => !Number.isInteger(offset)) && {
      zero_point_shift: offsets.map((offset, i) => offset - (whole[i] as number)),
    }),
    ...('size' in granularity && { block_size: granularity.size }),
    ...(lpbq && { compressed_bw: bits, per_block_int_scale: Array.from(lpbq.blockScale) }),
  };
}

/** Offsets with the fractions that the grid of -3, -1, 1, 3 has; AIMET also writes these into the offsets themselves. */
function offsetsOf(entry: JsonObject, where: string, bw: number, scales: number): Float64Array {
  const least = 1 - 2 ** bw;
  const shift = entry['zero_point_shift'];
  const shifts =
    shift === undefined ? undefined : numbersAt(Array.isArray(shift) ? shift : [shift], `${where}.zero_point_shift`);
  if (shifts && shifts.length !== 1 && shifts.length !== scales)
    throw new EncodingsError(
      `${where}.zero_point_shift`,
      `${scales}, as many as scales`,
      `${shifts.length}`,
      'Give each one.',
    );
  return numbersAt(entry['offset'], `${where}.offset`).map((offset, i) => {
    const sum = offset + (shifts?.[shifts.length === 1 ? 0 : i] ?? 0);
    if (sum >= least && sum <= 0 && Number.isInteger(bw === 2 ? 2 * sum : sum)) return sum;
    throw new EncodingsError(
      `${where}.offset[${i}]`,
      `an integer from ${least} to 0`,
      `${sum}`,
      'An offset is the negative of a zero point on the unsigned grid.',
    );
  });
}

function lpbqZeroPoint(offset: number, bw: number, bits: number, where: string): number {
  if (offset === -(2 ** (bw - 1))) return 2 ** (bits - 1);
  throw new EncodingsError(
    `${where}.offset`,
    `${-(2 ** (bw - 1))}, since LPBQ is symmetric`,
    `${offset}`,
    'Correct it.',
  );
}

function granularityOf(
  entry: JsonObject,
  where: string,
  type: (typeof TYPES)[number],
  {
    name,
    bw,
    scales,
    facts,
  }: { readonly name: string; readonly bw: number; readonly scales: number; readonly facts: TensorFacts },
): TensorGranularity {
  if (type === 'PER_TENSOR') return { kind: 'tensor' };
  if (type === 'PER_CHANNEL') return channelsBy(facts, name, scales, where);
  const size = integerAt(entry['block_size'], `${where}.block_size`, 1, 2 ** 31 - 1);
  if (type === 'PER_BLOCK') {
    const blocks = blocksBy(facts, name, { size, blocks: (channels) => scales / channels }, where);
    checkOrder(blocks, where);
    return { kind: 'block', ...blocks };
  }
  const blockScale = Uint16Array.from(listAt(entry['per_block_int_scale'], `${where}.per_block_int_scale`), (s, i) =>
    integerAt(s, `${where}.per_block_int_scale[${i}]`, 1, 65535),
  );
  const blocks = blocksBy(facts, name, { size, channels: scales, blocks: () => blockScale.length / scales }, where);
  checkOrder(blocks, where);
  return { kind: 'lpbq', ...blocks, blockScale, decompressedBits: bw };
}

function checkOrder({ axis, channelAxis, rank }: Blocks, where: string): void {
  if (channelAxis < axis || rank === 2) return;
  throw new EncodingsError(
    where,
    'blocks of a matrix, or channels before blocks, for version 1.0.0',
    `channels on axis ${channelAxis} of ${rank}`,
    'Use 2.0.0 or later, whose lists have the axes.',
  );
}
