/**
 * Recipes in files, and as text.
 *
 *     {
 *       "name": "w4a8 with a careful first layer",
 *       "extends": "w4a8",
 *       "rules": [{ "site": "model.layers.0.*.weight", "spec": { "bits": 8, "symmetric": true, "granularity": "channel" } }]
 *     }
 */
import { checkArray, checkObject, checkOneOf, checkString } from './check-json.ts';
import { RecipeError } from './errors.ts';
import type { Recipe, Rule } from './recipe.ts';
import { recipeByName } from './recipes.ts';
import type { QuantizerSpec } from './spec.ts';
import { type SpecJson, specFromJson, specKeys, specToJson } from './spec-json.ts';

/** A recipe as JSON, everything spelt out (a file that people write may say `extends` too). */
export interface RecipeJson {
  readonly name: string;
  readonly description?: string;
  readonly rules: readonly { readonly site: string; readonly spec: SpecJson | null }[];
  readonly conventions: Recipe['conventions'];
}

const conventions = ['exact', 'reference'] as const;

/**
 * The recipe that a parsed JSON file describes. `extends` names a built-in recipe whose rules come first; `conventions`
 * are its, or "exact".
 *
 * @throws RecipeError saying where; a key that does not exist is refused by name.
 */
export function parseRecipe(json: unknown): Recipe {
  const file = checkObject(json, 'recipe', RecipeError, ['name', 'description', 'extends', 'rules', 'conventions']);
  const base =
    file.extends === undefined ? undefined : recipeByName(checkString(file.extends, 'recipe.extends', RecipeError));
  const description =
    file.description === undefined ? undefined : checkString(file.description, 'recipe.description', RecipeError);
  return {
    name: checkString(file.name, 'recipe.name', RecipeError),
    ...(description !== undefined && { description }),
    rules: [...(base?.rules ?? []), ...checkArray(file.rules, 'recipe.rules', RecipeError).map(parseRule)],
    conventions:
      file.conventions === undefined
        ? (base?.conventions ?? 'exact')
        : checkOneOf(file.conventions, conventions, 'recipe.conventions', RecipeError),
  };
}

/** A recipe as JSON; {@link parseRecipe} gives back an equal one. */
export function recipeToJson({ name, description, rules, conventions: how }: Recipe): RecipeJson {
  return {
    name,
    ...(description !== undefined && { description }),
    rules: rules.map(({ site, spec }) => ({ site, spec: spec && specToJson(spec) })),
    conventions: how,
  };
}

/** A recipe as text, one line a rule, in order. */
export function describeRecipe({ name, description, rules, conventions: how }: Recipe): string {
  const width = Math.max(0, ...rules.map((rule) => rule.site.length));
  return [
    description === undefined ? name : `${name}: ${description}`,
    `conventions: ${how}`,
    ...rules.map(({ site, spec }) => `${site.padEnd(width)}  ${spec ? describeSpec(spec) : 'float'}`),
  ].join('\n');
}

/**
 * A spec in words.
 *
 * @example
 * describeSpec({ bits: 4, symmetric: true, granularity: { kind: 'group', size: 32 } }); // => '4 bit symmetric per group of 32'
 */
export function describeSpec({ bits, symmetric, granularity, range }: QuantizerSpec): string {
  const each = granularity.kind === 'group' ? `group of ${granularity.size}` : granularity.kind;
  const known = range ? `, range [${range.min}, ${range.max}]` : '';
  return `${bits} bit ${symmetric ? 'symmetric' : 'asymmetric'} per ${each}${known}`;
}

function parseRule(json: unknown, index: number): Rule {
  const where = `recipe.rules[${index}]`;
  const rule = checkObject(json, where, RecipeError, ['site', 'spec']);
  const site = checkString(rule.site, `${where}.site`, RecipeError);
  if (rule.spec === null) return { site, spec: null };
  return {
    site,
    spec: specFromJson(checkObject(rule.spec, `${where}.spec`, RecipeError, specKeys), `${where}.spec`, RecipeError),
  };
}
