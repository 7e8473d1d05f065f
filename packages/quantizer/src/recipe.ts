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

export interface Recipe {
  readonly name: string;
  readonly description?: string;
  /** Ordered: the last rule that matches a site decides, so overrides are appended. */
  readonly rules: readonly Rule[];
  /**
   * `reference`: learn as the reference implementation does (raw scales, grouped heads left out).
   * `exact`: learn logarithms, share scales under grouped heads and rotary pairs, fuse what was trained.
   */
  readonly conventions: 'reference' | 'exact';
}

/** Resolves a site's full name (`model.layers.3.mlp.w2.output`) or layer-relative name against a recipe. */
export type ResolveSite = (site: string) => SiteSpec;
