/**
 * Encodings in a file: site → { spec, scale, zeroPoint }.
 *
 * A float32 scale is written with as few digits as bring it back exactly, a zero point that all groups share once.
 */
import { checkArray, checkInteger, checkNumber, checkObject, show } from './check-json.ts';
import type { Encoding, Encodings } from './encoding.ts';
import { FormatError } from './errors.ts';
import { type SpecJson, specFromJson, specKeys, specToJson } from './spec-json.ts';

/** An encoding as JSON: the spec's short form, with the numbers of each group. */
export interface EncodingJson extends SpecJson {
  readonly scale: readonly number[];
  /** One number when all groups have it. */
  readonly zeroPoint: number | readonly number[];
}

/** Site → encoding. */
export type EncodingsJson = Readonly<Record<string, EncodingJson>>;

/** Encodings as a JSON value; {@link encodingsFromJson} gives back equal ones, bit for bit. */
export function encodingsToJson(encodings: Encodings): EncodingsJson {
  return Object.fromEntries(
    [...encodings].map(([site, { spec, scale, zeroPoint }]) => [
      site,
      {
        ...specToJson(spec),
        scale: Array.from(scale, shortestFloat32),
        zeroPoint: zeroPoint.every((z) => z === zeroPoint[0]) ? (zeroPoint[0] ?? 0) : Array.from(zeroPoint),
      },
    ]),
  );
}

/**
 * The encodings in a parsed file.
 *
 * @throws FormatError, naming the site, when a number is not what an encoding allows.
 */
export function encodingsFromJson(json: unknown): Encodings {
  return new Map(
    Object.entries(checkObject(json, 'encodings', FormatError)).map(([site, value]) => [
      site,
      encodingFromJson(value, site),
    ]),
  );
}

function encodingFromJson(json: unknown, site: string): Encoding {
  const entry = checkObject(json, site, FormatError, [...specKeys, 'scale', 'zeroPoint']);
  const spec = specFromJson(entry, site, FormatError);
  const scale = Float32Array.from(checkArray(entry.scale, `${site}.scale`, FormatError), (value, g) =>
    positive(value, `${site}.scale[${g}]`),
  );
  if (scale.length === 0 || (spec.granularity.kind === 'tensor' && scale.length !== 1)) {
    throw new FormatError({
      where: `${site}.scale`,
      expected: spec.granularity.kind === 'tensor' ? 'one number' : 'at least one number',
      received: String(scale.length),
    });
  }
  const shared = typeof entry.zeroPoint === 'number';
  const points = shared ? scale : checkArray(entry.zeroPoint, `${site}.zeroPoint`, FormatError);
  if (points.length !== scale.length) {
    throw new FormatError({
      where: `${site}.zeroPoint`,
      expected: `${scale.length} numbers, as many as scales, or one for all`,
      received: String(points.length),
    });
  }
  const [lowest, highest] = spec.symmetric ? [2 ** (spec.bits - 1), 2 ** (spec.bits - 1)] : [0, 2 ** spec.bits - 1];
  const zeroPoint = Int32Array.from(points, (value, g) =>
    checkInteger(shared ? entry.zeroPoint : value, lowest, highest, `${site}.zeroPoint[${g}]`, FormatError),
  );
  return { spec, scale, zeroPoint };
}

function positive(json: unknown, where: string): number {
  const value = checkNumber(json, where, FormatError);
  const rounded = Math.fround(value);
  if (rounded > 0 && Number.isFinite(rounded)) return value;
  throw new FormatError({ where, expected: 'a positive float32', received: show(json) });
}

/** The decimal with fewest digits that rounds to the float32 `x`; nine always do. */
function shortestFloat32(x: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === x) return short;
  }
  return Number(x.toPrecision(9));
}
