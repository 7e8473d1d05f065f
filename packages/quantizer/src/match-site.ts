/**
 * Patterns of site names: `*` stands for any run of characters (dots too), everything else for itself, and the whole name
 * must match. Matched without regular expressions, so a pattern from a file cannot blow up.
 */

const EVERY_LAYER = 'model.layers.*.';
const FULL = /^(model|lm_head)\./; // how full names begin, and layer-relative ones do not

/**
 * Whether `pattern` covers `site`. What a pattern says of every layer (`model.layers.*.…`) also covers the layer-relative name.
 *
 * @example
 * matchSite('model.layers.*.mlp.*.weight', 'model.layers.3.mlp.w2.weight'); // => true
 * matchSite('model.layers.*.mlp.*.weight', 'mlp.w2.weight'); // => true
 * matchSite('model.layers.3.mlp.w2.weight', 'mlp.w2.weight'); // => false
 * matchSite('model.layers.*.*.weight', 'lm_head.weight'); // => false
 */
export function matchSite(pattern: string, site: string): boolean {
  if (matches(pattern, site)) return true;
  return pattern.startsWith(EVERY_LAYER) && !FULL.test(site) && matches(pattern.slice(EVERY_LAYER.length), site);
}

/** Greedy: after a mismatch, the last star takes one character more. */
function matches(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.length && pattern[p] === text[t]) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
