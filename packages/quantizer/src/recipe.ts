/**
 * A recipe says, as plain data, how each site of a decoder is quantized.
 */
import type { QuantizerSpec, SiteSpec } from './spec.ts';

/** Which sites (a pattern, `*` stands for any run of characters but never crosses the end) and what becomes of them. */
export interface Rule {
  readonly site: string;
  /** `null` leaves the site in float. */
  readonly spec: QuantizerSpec | null;
}

/**
 * How an activation's range is taken from what calibration text sent through its site.
 *
 *     minmax       everything is kept
 *     percentile   of all values, `percent` % are not above the range, and as many not below: 99.999 gives up one in 100,000 on each side
 *     mse          least squared error of rounding to the site's grid
 */
export type RangeRule =
  | { readonly kind: 'minmax' }
  | { readonly kind: 'percentile'; readonly percent: number }
  | { readonly kind: 'mse' };

/** Which sites take their range by which rule. */
export interface SiteRangeRule {
  /** A pattern, as in {@link Rule}. */
  readonly site: string;
  /** Only sites quantized to so many bits or fewer. */
  readonly maxBits?: number;
  readonly range: RangeRule;
}

export interface Recipe {
  readonly name: string;
  readonly description?: string;
  /** Ordered: the last rule that matches a site decides, so overrides are appended. */
  readonly rules: readonly Rule[];
  /**
   * Ordered: the last one that matches an activation decides, over what is the custom of the conventions. A range in a spec stands
   * above them all.
   */
  readonly ranges?: readonly SiteRangeRule[];
  /**
   * `reference`: learn as the reference implementation does (raw scales, grouped heads left out).
   * `exact`: learn logarithms, share scales under grouped heads and rotary pairs, fuse what was trained.
   */
  readonly conventions: 'reference' | 'exact';
}

/** Resolves a site's full name (`model.layers.3.mlp.w2.output`) or layer-relative name against a recipe. */
export type ResolveSite = (site: string) => SiteSpec;
