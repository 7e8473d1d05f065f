/** Recipes to try next: more bits where they were measured to gain most. */
import { placePrecision } from '@mobilequant/calibration';
import { type QuantizedModel, siteName } from '@mobilequant/core';
import { formatNumber } from '@mobilequant/evaluator';
import {
  checkRecipe,
  type Recipe,
  type Rule,
  recipes,
  recipeToJson,
  resolveRecipe,
  withRules,
} from '@mobilequant/quantizer';
import type { Divergences, Override } from '@mobilequant/report';

const BUDGETS = [0.05, 0.1, 0.25];
const NARROW = 4; // weights that gain from 8 bits
const WIDE = 8;

/** Under budgets of 16-bit work, as `quantize --budget` has them, and with wider weights. Nothing that gains nothing. */
export function suggestRecipes(model: QuantizedModel, { kinds, sites }: Divergences): Override[] {
  const activations = sites ? BUDGETS.flatMap((budget) => ofBudget(model, sites.alone, budget)) : [];
  const distinct = activations.filter(
    ({ moved }, i, all) => all.findIndex((other) => String(other.moved) === String(moved)) === i,
  );
  return [...distinct.map(({ override }) => override), ...ofWeights(model, kinds)];
}

function ofBudget(
  { config, weights, recipe }: QuantizedModel,
  alone: NonNullable<Divergences['sites']>['alone'],
  budget: number,
): { moved: readonly string[]; override: Override }[] {
  const divergences = new Map(
    alone.flatMap(({ site, layers }) => layers.map((value, layer) => [siteName(layer, site), value ?? 0] as const)),
  );
  const {
    recipe: wider,
    moved,
    cost,
    before,
    after,
  } = placePrecision({ config, weights, recipe, divergences }, budget);
  if (moved.length === 0 || after >= before) return [];
  const work = `${(100 * cost).toFixed(1)} % of the layers’ multiply-accumulates`;
  const why = `${moved.length} activation sites get 16 bits, which moves ${work} to 16-bit inputs or outputs. The divergences of the 8-bit sites, each alone, add up to ${thousandths(after)} instead of ${thousandths(before)} thousandths of a nat.`;
  return [
    { moved, override: overrideOf(`16 bits for ${formatNumber(100 * budget)} % of the work`, why, wider, recipe) },
  ];
}

const thousandths = (nats: number): string => formatNumber(1000 * nats);

/** The kind of narrow weights that costs most, in 8 bits. */
function ofWeights({ config, recipe }: QuantizedModel, kinds: Divergences['kinds']): Override[] {
  const [worst] = kinds
    .filter(({ site, bits, alone }) => site.endsWith('.weight') && bits <= NARROW && alone > 0)
    .sort((a, b) => b.alone - a.alone);
  if (!worst) return [];
  const resolve = resolveRecipe(recipe);
  const names = Array.from({ length: config.layers }, (_, layer) => siteName(layer, worst.site)).filter(resolve);
  const rules = (names.length > 0 ? names : [worst.site]).flatMap((site): Rule[] => {
    const spec = resolve(site);
    return spec ? [{ site, spec: { ...spec, bits: WIDE } }] : [];
  });
  const alike = rules.length === config.layers && new Set(rules.map(({ spec }) => JSON.stringify(spec))).size === 1;
  const shortest = alike ? [{ site: `model.layers.*.${worst.site}`, spec: rules[0]?.spec ?? null }] : rules;
  const wider = withRules(recipe, `${recipe.name}+${worst.site}`, shortest);
  checkRecipe(wider, config.layers);
  const why = `These weights cost most: alone rounded, ${thousandths(worst.alone)} thousandths of a nat.`;
  return [overrideOf(`8 bits for ${worst.site}`, why, wider, recipe)];
}

/** The recipe as a file; of a built-in one only what is added to it. */
function overrideOf(title: string, why: string, wider: Recipe, base: Recipe): Override {
  const json = recipeToJson(wider);
  const known = Object.values(recipes).find((recipe) => JSON.stringify(recipe) === JSON.stringify(base));
  const recipe = known ? { name: json.name, extends: known.name, rules: json.rules.slice(known.rules.length) } : json;
  return { title, why, file: `${json.name.replaceAll(/[^\w.+-]/g, '-')}.json`, recipe };
}
