/**
 * Recipes in files, and as text.
 *
 *     {
 *       "name": "w4a8 with a careful first layer",
 *       "extends": "w4a8",
 *       "rules": [{ "site": "model.layers.0.*.weight", "spec": { "bits": 8, "symmetric": true, "granularity": "channel" } }],
 *       "ranges": [{ "site": "*.mlp.w2.input", "maxBits": 8, "range": "mse" }, { "site": "*.v_proj.output", "range": { "percentile": 99.99 } }]
 *     }
 */
import { checkArray, checkInteger, checkNumber, checkObject, checkOneOf, checkString, show } from './check-json.ts';
import { RecipeError } from './errors.ts';
import type { RangeRule, Recipe, Rule, SiteRangeRule } from './recipe.ts';
import { recipeByName } from './recipes.ts';
import type { QuantizerSpec } from './spec.ts';
import { type SpecJson, specFromJson, specKeys, specToJson } from './spec-json.ts';

/** A recipe as JSON, everything spelt out (a file that people write may say `extends` too). */
export interface RecipeJson {
  readonly name: string;
  readonly description?: string;
  readonly rules: readonly { readonly site: string; readonly spec: SpecJson | null }[];
  readonly ranges?: readonly { readonly site: string; readonly maxBits?: number; readonly range: RangeRuleJson }[];
  readonly conventions: Recipe['conventions'];
}

/** A range rule as JSON. */
export type RangeRuleJson = 'minmax' | 'mse' | { readonly percentile: number };

const conventions = ['exact', 'reference'] as const;

/**
 * The recipe that a parsed JSON file describes. `extends` names a built-in recipe whose rules (and range rules) come
 * first; `conventions` are its, or "exact".
 *
 * @throws RecipeError saying where; a key that does not exist is refused by name.
 */
export function parseRecipe(json: unknown): Recipe {
  const file = checkObject(json, 'recipe', RecipeError, [
    'name',
    'description',
    'extends',
    'rules',
    'ranges',
    'conventions',
  ]);
  const base =
    file.extends === undefined ? undefined : recipeByName(checkString(file.extends, 'recipe.extends', RecipeError));
  const description =
    file.description === undefined ? undefined : checkString(file.description, 'recipe.description', RecipeError);
  const ranges = [
    ...(base?.ranges ?? []),
    ...(file.ranges === undefined ? [] : checkArray(file.ranges, 'recipe.ranges', RecipeError).map(parseSiteRangeRule)),
  ];
  return {
    name: checkString(file.name, 'recipe.name', RecipeError),
    ...(description !== undefined && { description }),
    rules: [...(base?.rules ?? []), ...checkArray(file.rules, 'recipe.rules', RecipeError).map(parseRule)],
    ...(ranges.length > 0 && { ranges }),
    conventions:
      file.conventions === undefined
        ? (base?.conventions ?? 'exact')
        : checkOneOf(file.conventions, conventions, 'recipe.conventions', RecipeError),
  };
}

/** A recipe as JSON; {@link parseRecipe} gives back an equal one. */
export function recipeToJson({ name, description, rules, ranges = [], conventions: how }: Recipe): RecipeJson {
  return {
    name,
    ...(description !== undefined && { description }),
    rules: rules.map(({ site, spec }) => ({ site, spec: spec && specToJson(spec) })),
    ...(ranges.length > 0 && { ranges: ranges.map((rule) => ({ ...rule, range: rangeRuleToJson(rule.range) })) }),
    conventions: how,
  };
}

/** A recipe as text, one line a rule, in order. */
export function describeRecipe({ name, description, rules, ranges = [], conventions: how }: Recipe): string {
  const width = Math.max(0, ...[...rules, ...ranges].map((rule) => rule.site.length));
  return [
    description === undefined ? name : `${name}: ${description}`,
    `conventions: ${how}`,
    ...rules.map(({ site, spec }) => `${site.padEnd(width)}  ${spec ? describeSpec(spec) : 'float'}`),
    ...ranges.map((rule) => `${rule.site.padEnd(width)}  range by ${describeRange(rule)}`),
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

function parseSiteRangeRule(json: unknown, index: number): SiteRangeRule {
  const where = `recipe.ranges[${index}]`;
  const rule = checkObject(json, where, RecipeError, ['site', 'maxBits', 'range']);
  return {
    site: checkString(rule.site, `${where}.site`, RecipeError),
    ...(rule.maxBits !== undefined && { maxBits: checkInteger(rule.maxBits, 2, 16, `${where}.maxBits`, RecipeError) }),
    range: parseRangeRule(rule.range, `${where}.range`),
  };
}

function parseRangeRule(json: unknown, where: string): RangeRule {
  if (json === 'minmax' || json === 'mse') return { kind: json };
  if (typeof json !== 'object') {
    throw new RecipeError({ where, expected: '"minmax", "mse" or {"percentile": percent}', received: show(json) });
  }
  const { percentile } = checkObject(json, where, RecipeError, ['percentile']);
  const percent = checkNumber(percentile, `${where}.percentile`, RecipeError);
  if (percent > 50 && percent <= 100) return { kind: 'percentile', percent };
  throw new RecipeError({ where: `${where}.percentile`, expected: 'above 50, up to 100', received: show(percent) });
}

const rangeRuleToJson = (rule: RangeRule): RangeRuleJson =>
  rule.kind === 'percentile' ? { percentile: rule.percent } : rule.kind;

function describeRange({ range, maxBits }: SiteRangeRule): string {
  const how = range.kind === 'percentile' ? `percentile ${range.percent}` : range.kind;
  return maxBits === undefined ? how : `${how}, up to ${maxBits} bit`;
}
