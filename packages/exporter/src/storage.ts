/**
 * How an encoding's integers are stored in a file: element type, shift from the unsigned grid, shape of the scales.
 *
 * Activations stay on the unsigned grid. Weights of up to 8 bits are stored signed, so that a symmetric one has zero
 * point 0, as integer kernels want it; wider ones stay unsigned. The numbers are the same either way.
 */
import type { Elements } from '@mobilequant/graph';
import { type Encoding, packInt4, quantize } from '@mobilequant/quantizer';
import { ExportError } from './errors.ts';

export interface Storage {
  readonly type: 'uint8' | 'uint16' | 'int8' | 'int4';
  /** What is taken off every level and zero point. */
  readonly shift: number;
  /** Largest level, where the type could hold more and nothing else keeps values below it. */
  readonly clip?: number;
}

/** @throws ExportError for 9 to 15 bits, groups, or several scales: ONNX has no form for those. */
export function activationStorage(site: string, { spec: { bits, granularity }, scale }: Encoding): Storage {
  if (granularity.kind !== 'tensor' || scale.length !== 1) {
    throw new ExportError(
      site,
      'one scale for the whole activation',
      `one for each ${granularity.kind}`,
      'Quantize it per tensor.',
    );
  }
  if (bits === 16) return { type: 'uint16', shift: 0 };
  if (bits === 8) return { type: 'uint8', shift: 0 };
  if (bits < 8) return { type: 'uint8', shift: 0, clip: 2 ** bits - 1 };
  throw new ExportError(
    site,
    'an activation of at most 8 bits, or 16',
    `${bits}`,
    'Choose 8 or 16 bits in the recipe.',
  );
}

/** Every width of a weight has a form: its levels are clipped when they are made. */
export function weightStorage({ spec: { bits } }: Encoding): Storage {
  if (bits > 8) return { type: 'uint16', shift: 0 };
  return { type: bits > 4 ? 'int8' : 'int4', shift: 2 ** (bits - 1) };
}

/** Shape of scale and zero point for a tensor `shape`: scalar, `[rows]`, or `[rows, groups]`. */
export function scaleShape({ spec: { granularity }, scale }: Encoding, shape: readonly number[]): readonly number[] {
  if (granularity.kind === 'tensor') return [];
  const rows = shape[0] as number;
  return granularity.kind === 'channel' ? [rows] : [rows, scale.length / rows];
}

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, int8: Int8Array } as const;

/**
 * Zero points as stored.
 *
 * @throws ExportError for one that is not a level of the grid.
 */
export function storedZeroPoints(
  site: string,
  { spec: { bits }, zeroPoint }: Encoding,
  { type, shift }: Pick<Storage, 'type' | 'shift'>,
): Elements {
  const outside = zeroPoint.find((zero) => zero < 0 || zero > 2 ** bits - 1);
  if (outside !== undefined) {
    throw new ExportError(
      site,
      `zero points from 0 to ${2 ** bits - 1}`,
      `${outside}`,
      'Widen the range until it includes 0.',
    );
  }
  const levels = Array.from(zeroPoint, (zero) => zero - shift);
  return type === 'int4' ? packInt4(Int8Array.from(levels)) : ARRAYS[type].from(levels);
}

/** @throws ExportError for a scale that no kernel can divide by. */
export function storedScales(site: string, { scale }: Encoding): Float32Array {
  const bad = scale.find((s) => !(s >= 1e-20 && s < Number.POSITIVE_INFINITY));
  if (bad !== undefined) throw new ExportError(site, 'scales of at least 1e-20', `${bad}`, 'Calibrate it again.');
  return scale;
}

/** A weight's levels as stored. */
export function storedWeight(site: string, values: Float32Array, encoding: Encoding): Elements {
  const { type } = weightStorage(encoding);
  if (type === 'uint16') return Uint16Array.from(quantize(values, encoding, { site }));
  const levels = Int8Array.from(quantize(values, encoding, { signed: true, site }));
  return type === 'int4' ? packInt4(levels) : levels;
}
