/**
 * Versions 0.4.0, 0.5.0 and 0.6.1: a tensor's name → a list of encodings, one for the tensor or one for each channel.
 *
 *     real = scale · (q + offset)     on the unsigned grid, so the offset is the negative of the zero point
 */
import { EncodingsError } from './encodings-error.ts';
import { integerAt, type JsonObject, listAt, numberAt, objectAt, oneOfAt, show } from './json-fields.ts';
import { checkEncoding, type IntegerEncoding, type TensorEncoding } from './tensor-encoding.ts';
import { channelsBy, type TensorFacts } from './tensor-facts.ts';

const FIELDS = { scale: 'scale', zeroPoint: 'offset' };

export function readVersion0(value: unknown, name: string, where: string, facts: TensorFacts): TensorEncoding {
  const list = listAt(value, where).map((entry, i) => objectAt(entry, `${where}[${i}]`));
  const [first] = list;
  if (!first) throw new EncodingsError(where, 'at least one encoding', 'an empty list', 'Leave the tensor out.');
  const dtype = oneOfAt(first['dtype'] ?? 'int', `${where}[0].dtype`, ['int', 'float']);
  if (dtype === 'float')
    return { kind: 'float', name, bits: oneOfAt(first['bitwidth'], `${where}[0].bitwidth`, [8, 16, 32] as const) };
  const bits = integerAt(first['bitwidth'], `${where}[0].bitwidth`, 2, 32);
  for (const field of ['bitwidth', 'is_symmetric', 'dtype'])
    list.forEach((entry, i) => {
      oneOfAt(entry[field], `${where}[${i}].${field}`, [first[field]], 'All channels of a tensor share it.');
    });
  const encoding: IntegerEncoding = {
    kind: 'integer',
    name,
    bits,
    symmetric: booleanOf(first['is_symmetric'], `${where}[0].is_symmetric`),
    granularity: list.length > 1 ? channelsBy(facts, name, list.length, where) : { kind: 'tensor' },
    scale: Float64Array.from(list, ({ scale }, i) =>
      numberAt(scale, `${where}[${i}].scale`, 'Settings without a grid cannot be converted.'),
    ),
    zeroPoint: Float64Array.from(list, ({ offset }, i) => 0 - offsetAt(offset, `${where}[${i}].offset`, bits)),
  };
  checkEncoding(encoding, where, FIELDS);
  list.forEach((entry, i) => checkRange(entry, encoding, i, `${where}[${i}]`));
  return encoding;
}

/** @throws EncodingsError for what this version cannot say. */
export function writeVersion0(encoding: TensorEncoding): readonly JsonObject[] {
  const { name, kind, bits } = encoding;
  if (kind === 'float') return [{ bitwidth: bits, dtype: 'float' }];
  const refuse = (expected: string, received: string, advice: string): never => {
    throw new EncodingsError(name, `${expected} for version 0.6.1`, received, advice);
  };
  const { granularity, symmetric, scale, zeroPoint } = encoding;
  if (granularity.kind === 'lpbq' || granularity.kind === 'block')
    return refuse('one scale for the tensor or each channel', granularity.kind, 'Write 1.0.0 or later.');
  if (bits < 4) return refuse('4 to 32 bits', `${bits}`, 'Write 1.0.0 or later.');
  return Array.from(scale, (s, i) => {
    const offset = 0 - (zeroPoint[i] as number);
    return {
      bitwidth: bits,
      dtype: 'int',
      is_symmetric: symmetric ? 'True' : 'False',
      max: s * (offset + 2 ** bits - 1),
      min: s * offset,
      offset,
      scale: s,
    };
  });
}

/** Written as a text; some write it small, or as JSON has it. */
function booleanOf(value: unknown, where: string): boolean {
  return ['True', 'true', true].includes(oneOfAt(value, where, ['True', 'False', 'true', 'false', true, false]));
}

/** An offset of the unsigned grid. */
const offsetAt = (value: unknown, where: string, bits: number): number =>
  integerAt(value, where, 1 - 2 ** bits, 0, 'An offset is the negative of a zero point on the unsigned grid.');

const FLOAT32 = 2 ** -22; // what rounding a float32 twice can do

/**
 * The range is what scale and offset say, but for what rounding the offset can do, half a step; a strictly symmetric grid leaves one
 * level unused.
 */
function checkRange(
  entry: JsonObject,
  { bits, symmetric, scale, zeroPoint }: IntegerEncoding,
  i: number,
  where: string,
): void {
  const [s, z] = [scale[i] as number, zeroPoint[i] as number];
  const range = { min: 0 - z * s, max: (2 ** bits - 1 - z) * s };
  const slack = (symmetric ? 1 : 0.5) * s * (1 + 1e-3) + FLOAT32 * Math.max(-range.min, range.max);
  for (const field of ['min', 'max'] as const) {
    if (entry[field] === undefined) continue;
    const value = numberAt(entry[field], `${where}.${field}`);
    if (Math.abs(value - range[field]) <= slack) continue;
    throw new EncodingsError(
      `${where}.${field}`,
      `about ${show(range[field])}, as scale and offset have it`,
      show(value),
      'They are of different grids: correct one, or leave min and max out.',
    );
  }
}
