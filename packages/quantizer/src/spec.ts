/**
 * How a site is quantized: bits, symmetry, granularity. Plain data, shared by every package.
 */

/** Closed interval of real values. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** Which elements share one scale: all, one row (output channel, axis 0), or `size` consecutive elements of a row. */
export type Granularity =
  | { readonly kind: 'tensor' }
  | { readonly kind: 'channel' }
  | { readonly kind: 'group'; readonly size: number };

/** What a quantizer does at a site. */
export interface QuantizerSpec {
  /** 2 to 16. */
  readonly bits: number;
  /** Symmetric: zero stands in the middle of the grid, the range is ±max(|min|, |max|). */
  readonly symmetric: boolean;
  readonly granularity: Granularity;
  /** A range known beforehand (a sigmoid's [0, 1]); calibration does not replace it. */
  readonly range?: Range;
}

/** What a recipe says of a site; `undefined` is "left in float". */
export type SiteSpec = QuantizerSpec | undefined;
