/**
 * What a quantizer came to: the numbers a device needs at one site.
 */
import type { QuantizerSpec } from './spec.ts';

/**
 * `real = (q - zeroPoint[g]) * scale[g]`, one entry for each group of the spec's granularity
 * (1 for a tensor, rows for channels, rows × groups in row-major order for groups).
 * The grid is unsigned, `0 … 2^bits - 1`; a symmetric site has zeroPoint `2^(bits-1)`.
 */
export interface Encoding {
  readonly spec: QuantizerSpec;
  readonly scale: Float32Array;
  readonly zeroPoint: Int32Array;
}

/** Site (full name, e.g. `model.layers.3.mlp.w2.output`) → encoding. Sites left in float are absent. */
export type Encodings = ReadonlyMap<string, Encoding>;
