/** Sites as they are measured: one of all layers together, or each alone. */
import { type Encodings, siteInLayer } from '@mobilequant/quantizer';

/** A site's name in its layer → those of all layers, in the order in which they come. */
export function sitesOfKinds(encodings: Encodings): Map<string, string[]> {
  const kinds = new Map<string, string[]>();
  for (const site of encodings.keys()) {
    const kind = siteInLayer(site);
    kinds.set(kind, [...(kinds.get(kind) ?? []), site]);
  }
  return kinds;
}

const NARROW = 8; // what more bits cost is not to be measured in a single site

/** Sites whose rounding alone can be measured. */
export const narrowSites = (encodings: Encodings): string[] =>
  [...encodings].flatMap(([site, { spec }]) => (spec.bits <= NARROW ? [site] : []));
