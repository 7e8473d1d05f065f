/**
 * From a recipe to what it says of one site: the last rule that matches decides.
 */
import { matchSite } from './match-site.ts';
import type { Recipe, ResolveSite, Rule } from './recipe.ts';
import type { SiteSpec } from './spec.ts';

/**
 * A function from site to spec; a site that no rule covers is left in float (`undefined`). Answers are remembered.
 *
 * @example
 * resolveRecipe(recipes.w4a8)('model.layers.0.mlp.w2.weight')?.bits; // => 4
 */
export function resolveRecipe(recipe: Recipe): ResolveSite {
  const known = new Map<string, SiteSpec>();
  return (site) => {
    if (!known.has(site))
      known.set(site, recipe.rules.findLast((rule) => matchSite(rule.site, site))?.spec ?? undefined);
    return known.get(site);
  };
}

/** The rules that cover none of `sites`: most likely misspelt. */
export function unusedRules(recipe: Recipe, sites: Iterable<string>): Rule[] {
  const names = [...sites];
  return recipe.rules.filter((rule) => !names.some((site) => matchSite(rule.site, site)));
}

/** `recipe` under a new name, with `rules` appended, so that they decide over its own. */
export function withRules(recipe: Recipe, name: string, rules: readonly Rule[]): Recipe {
  return { ...recipe, name, rules: [...recipe.rules, ...rules] };
}
