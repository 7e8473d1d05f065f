/**
 * The reference implementation's two JSON files, so that its published checkpoints load here and it can load ours.
 *
 *     default_qcfg.json   module → port → { bitwidth, group_size, is_symmetric, is_per_channel, is_dynamic }   (all strings)
 *     act_dict.json       module → port → [min, max]
 *
 * More than 16 bits means that the site is off.
 */
import { checkInteger, checkObject, checkOneOf, type JsonObject } from './check-json.ts';
import { FormatError, RecipeError } from './errors.ts';
import type { Recipe, Rule } from './recipe.ts';
import { resolveRecipe } from './resolve-recipe.ts';
import { type DecoderShape, decoderSites, ports, splitSite } from './sites.ts';
import type { Granularity, QuantizerSpec, Range } from './spec.ts';
import { rangeFromJson } from './spec-json.ts';

/** What the reference says of a site; numbers and booleans are strings, `True` and `False` as Python prints them. */
export interface ReferenceSiteConfig {
  readonly bitwidth: string;
  readonly group_size: string;
  readonly is_symmetric: string;
  readonly is_per_channel: string;
  readonly is_dynamic: string;
}

/** `default_qcfg.json`: module → port → settings. */
export type ReferenceConfig = Readonly<Record<string, Readonly<Record<string, ReferenceSiteConfig>>>>;

/** `act_dict.json`: module → port → [min, max]. */
export type ReferenceRanges = Readonly<Record<string, Readonly<Record<string, readonly [min: number, max: number]>>>>;

const settings = ['bitwidth', 'group_size', 'is_symmetric', 'is_per_channel', 'is_dynamic'] as const;

/** The sigmoid inside SiLU: the file does not say its range, the reference's code does. */
const SIGMOID = '.act_fn.input2';

/**
 * The recipe of a parsed `default_qcfg.json`: one rule for each site in it, with the reference's conventions.
 *
 * @throws FormatError when the file is malformed.
 * @throws RecipeError when it asks for a dynamic range, which has no encoding.
 */
export function recipeFromReferenceConfig(json: unknown, name: string): Recipe {
  const rules = siteEntries(json, 'config').map(
    ([site, value]): Rule => ({ site, spec: specFromReference(value, site) }),
  );
  return { name, rules, conventions: 'reference' };
}

/** A recipe as `default_qcfg.json` for a decoder; sites left in float are absent. */
export function referenceConfigFromRecipe(recipe: Recipe, decoder: DecoderShape): ReferenceConfig {
  const resolve = resolveRecipe(recipe);
  return byModule(
    decoderSites(decoder).flatMap((site) => {
      const spec = resolve(site);
      return spec ? [[site, referenceFromSpec(spec)] as const] : [];
    }),
  );
}

/**
 * The ranges in a parsed `act_dict.json`, by site.
 *
 * @throws FormatError when the file is malformed, or has ranges per channel.
 */
export function rangesFromReference(json: unknown): Map<string, Range> {
  return new Map(siteEntries(json, 'ranges').map(([site, value]) => [site, rangeFromJson(value, site, FormatError)]));
}

/** Ranges by site as `act_dict.json`. */
export function referenceFromRanges(ranges: Iterable<readonly [site: string, range: Range]>): ReferenceRanges {
  return byModule([...ranges].map(([site, { min, max }]) => [site, [min, max]] as const));
}

function specFromReference(json: unknown, site: string): QuantizerSpec | null {
  const config = checkObject(json, site, FormatError, settings);
  const bits = integer(config, 'bitwidth', 1, site);
  if (bits > 16) return null;
  if (flag(config, 'is_dynamic', site)) {
    throw new RecipeError({
      where: site,
      expected: 'a static quantizer',
      received: 'is_dynamic "True"',
      advice: 'Calibrate a range for this site, or leave it in float (bitwidth "32").',
    });
  }
  return {
    bits: checkInteger(bits, 2, 16, `${site}.bitwidth`, FormatError),
    symmetric: flag(config, 'is_symmetric', site),
    granularity: granularityFrom(config, site),
    ...(site.endsWith(SIGMOID) && { range: { min: 0, max: 1 } }),
  };
}

/** Groups are those of channels; along the one axis of a norm's weight, a channel is all of it. */
function granularityFrom(config: JsonObject, site: string): Granularity {
  const group = integer(config, 'group_size', -1, site);
  if (!flag(config, 'is_per_channel', site)) return { kind: 'tensor' };
  if (group > 0) return { kind: 'group', size: group };
  return { kind: site.endsWith('norm.weight') ? 'tensor' : 'channel' };
}

function referenceFromSpec({ bits, symmetric, granularity }: QuantizerSpec): ReferenceSiteConfig {
  return {
    bitwidth: String(bits),
    group_size: granularity.kind === 'group' ? String(granularity.size) : '-1',
    is_dynamic: 'False',
    is_per_channel: granularity.kind === 'tensor' ? 'False' : 'True',
    is_symmetric: symmetric ? 'True' : 'False',
  };
}

function integer(config: JsonObject, key: (typeof settings)[number], min: number, site: string): number {
  const value = config[key];
  const parsed = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return checkInteger(parsed, min, 2 ** 31 - 1, `${site}.${key}`, FormatError);
}

function flag(config: JsonObject, key: (typeof settings)[number], site: string): boolean {
  const value = config[key];
  const text = typeof value === 'boolean' || value === 'true' || value === 'false' ? pythonFlag(value) : value;
  return checkOneOf(text, ['True', 'False'], `${site}.${key}`, FormatError) === 'True';
}

const pythonFlag = (value: boolean | string): string => (String(value) === 'true' ? 'True' : 'False');

/** `[site, value]` of every port of every module. */
function siteEntries(json: unknown, where: string): (readonly [site: string, value: unknown])[] {
  return Object.entries(checkObject(json, where, FormatError)).flatMap(([module, its]) =>
    Object.entries(checkObject(its, module, FormatError, ports)).map(
      ([port, value]) => [`${module}.${port}`, value] as const,
    ),
  );
}

function byModule<T>(sites: readonly (readonly [site: string, value: T])[]): Record<string, Record<string, T>> {
  const modules = new Map<string, [port: string, value: T][]>();
  for (const [site, value] of sites) {
    const { module, port } = splitSite(site);
    const its = modules.get(module) ?? [];
    modules.set(module, its);
    its.push([port, value]);
  }
  return Object.fromEntries([...modules].map(([module, its]) => [module, Object.fromEntries(its)]));
}
