/**
 * Whether a recipe can be carried out on a decoder, found out before anything is computed: a rule that no site answers to is a
 * misspelt one, and left alone it would leave its site in float without a word.
 */
import { RecipeError } from './errors.ts';
import { matchSite } from './match-site.ts';
import type { Recipe } from './recipe.ts';
import { resolveRecipe, unusedRules } from './resolve-recipe.ts';
import { decoderSites, splitSite } from './sites.ts';

const EMBEDDING = 'model.embed_tokens.'; // looked up, not multiplied: it stays in float

/**
 * Checks a recipe for a decoder of `layers` layers. A site that only other decoders have is no mistake: a recipe serves many.
 *
 * @throws RecipeError for a rule that covers no site of the decoder, or none that is quantized; for an activation that is not quantized
 *   per tensor; for a weight with a range, since weights bring their own; and for a range rule that covers no activation.
 */
export function checkRecipe(recipe: Recipe, layers: number): void {
  const sites = decoderSites(layers);
  const fail = (site: string, expected: string, received: string, advice: string): never => {
    throw new RecipeError({ where: `recipe '${recipe.name}', '${site}'`, expected, received, advice });
  };

  const [unused] = unusedRules(recipe, sites);
  if (unused) {
    const advice = 'Correct the name or take the rule out. Examples: model.layers.*.mlp.w2.weight, lm_head.weight.';
    fail(unused.site, `a site of a decoder with ${layers} layers`, 'a pattern that covers none', advice);
  }
  const quantized = sites.filter((site) => !site.startsWith(EMBEDDING));
  const idle = recipe.rules.find(({ site, spec }) => spec && !quantized.some((name) => matchSite(site, name)));
  if (idle) fail(idle.site, 'a site that can be quantized', 'the embedding', 'It stays in float; take the rule out.');

  const activations = sites.filter((site) => splitSite(site).port !== 'weight');
  const unranged = recipe.ranges?.find(({ site }) => !activations.some((name) => matchSite(site, name)));
  if (unranged) {
    const advice = 'The range of a weight is that of its values.';
    fail(unranged.site, `an activation of a decoder with ${layers} layers`, 'a range rule that covers none', advice);
  }

  const resolve = resolveRecipe(recipe);
  for (const site of quantized) {
    const spec = resolve(site);
    if (!spec) continue;
    const isWeight = splitSite(site).port === 'weight';
    if (!isWeight && spec.granularity.kind !== 'tensor')
      fail(
        site,
        'an activation quantized per tensor',
        `per ${spec.granularity.kind}`,
        'Only weights have finer scales.',
      );
    if (isWeight && spec.range) fail(site, 'no range', 'one', 'The range of a weight is that of its values.');
  }
}
