/**
 * Where 16 bits are worth what they cost: which of a layer's linears run with 16-bit activations, chosen under a budget.
 *
 * A device's linear has inputs and outputs of one width, so the choice is about linears and the sites follow: an output has 16 bits where
 * its linear has, an input where all linears that read it have. The cost is the share of the layers' multiply-accumulates that move from
 * 8-bit to 16-bit activations, since that is what a linear's time is made of; element-wise operators and conversions pass over the
 * activations alone and count nothing. Keys, values and what becomes of them in the products with queries stay as they are: a second
 * operand has 8 bits on the device, and so has the cache.
 *
 * What a choice gains is the sum of the measured divergences of its sites. Choices of layers are independent then, and the best of them
 * within the budget is found exactly, as in a knapsack that takes one thing of each layer.
 */
import { type DecoderConfig, siteName, type Weights } from '@mobilequant/core';
import {
  encodingFromRange,
  layerSites,
  type QuantizerSpec,
  type Recipe,
  type ResolveSite,
  type Rule,
  resolveRecipe,
  splitSite,
  withRules,
} from '@mobilequant/quantizer';
import type { Executor } from '@mobilequant/tracer';
import { layerNorms } from './fold-norms.ts';
import { greatestDivisor } from './numbers.ts';
import type { QuantizeInput } from './quantize-model.ts';
import { type SiteDivergenceInput, type SiteDivergenceOptions, siteDivergence } from './site-divergence.ts';

export interface PlacementInput {
  readonly config: DecoderConfig;
  /** Of which the shapes say what a linear costs. */
  readonly weights: Pick<Weights, 'shape'>;
  readonly recipe: Recipe;
  /** Full site name → what its rounding costs, of `movableSites`; see `siteDivergence`. */
  readonly divergences: ReadonlyMap<string, number>;
}

export interface Placement {
  /** The given recipe with a rule for each site that was moved, or for one site of all layers. */
  readonly recipe: Recipe;
  /** Sites that have 16 bits now, full names. */
  readonly moved: readonly string[];
  /** The share of the layers' multiply-accumulates that moved: the budget or less. */
  readonly cost: number;
  /** The sums of the divergences of all movable sites, and of those that stay. */
  readonly before: number;
  readonly after: number;
}

const NARROW = 8;
const WIDE = 16;

/** Ends of the products with keys and values. */
const FIXED = ['qk_bmm.input2', 'qk_bmm.output', 'pv_bmm.input', 'pv_bmm.input2'].map((end) => `self_attn.${end}`);

/** The first operand of such a product, or its result, has 16 bits only beside the other one. */
const BESIDE: Readonly<Record<string, string>> = {
  'self_attn.qk_bmm.input': 'self_attn.qk_bmm.output',
  'self_attn.pv_bmm.output': 'self_attn.pv_bmm.input',
};

/** The linears that read or write what passes a site of a layer; none where only element-wise operators do. */
export function linearsAt(site: string, config: DecoderConfig): readonly string[] {
  const { module, port } = splitSite(site);
  if (/_proj$|\.w\d$/.test(module)) return [module];
  if (site === 'self_attn.pv_bmm.output') return ['self_attn.o_proj'];
  return (port === 'output' && layerNorms(config).find(({ norm }) => norm === module)?.linears) || [];
}

/** The linears of a layer. */
export const linearsOf = (config: DecoderConfig): string[] => [
  ...new Set(layerSites(config).flatMap((site) => linearsAt(site, config))),
];

const layersOf = ({ layers }: DecoderConfig): number[] => Array.from({ length: layers }, (_, layer) => layer);

/** Sites of a layer at which values pass, not weights. */
const activationSites = (config: DecoderConfig): string[] =>
  layerSites(config).filter((site) => splitSite(site).port !== 'weight');

/** Those that may have 16 bits and have fewer. @param resolve of names in the layer */
const movableIn = (config: DecoderConfig, resolve: ResolveSite): string[] =>
  activationSites(config).filter((site) => {
    const spec = resolve(site);
    const beside = BESIDE[site] && resolve(BESIDE[site]);
    return spec && spec.bits <= NARROW && !FIXED.includes(site) && !(beside && beside.bits <= NARROW);
  });

/** Full names of the activation sites that a budget can move to 16 bits: those whose divergence a placement needs. */
export function movableSites(config: DecoderConfig, recipe: Recipe): string[] {
  const resolve = resolveRecipe(recipe);
  return layersOf(config).flatMap((layer) =>
    movableIn(config, (site) => resolve(siteName(layer, site))).map((site) => siteName(layer, site)),
  );
}

/**
 * What rounding each movable site, alone, does to the float model: full site name → `siteDivergence`.
 *
 * @throws RangeError for a site without a range.
 */
export async function movableDivergences(
  executor: Executor,
  { config, weights, recipe, ranges, samples }: Omit<QuantizeInput, 'clipping'> & Pick<SiteDivergenceInput, 'samples'>,
  options: SiteDivergenceOptions = {},
): Promise<Map<string, number>> {
  const resolve = resolveRecipe(recipe);
  const sites = movableSites(config, recipe);
  const encodings = new Map(
    sites.flatMap((site) => {
      const [range, spec] = [ranges.get(site), resolve(site)];
      return range && spec ? [[site, encodingFromRange(range, spec, { site }).encoding] as const] : [];
    }),
  );
  const groups = sites.map((site) => [site]);
  const found = await siteDivergence(executor, { config, weights, encodings, samples, groups }, options);
  return new Map(sites.map((site, i) => [site, found[i] as number]));
}

/** @throws RangeError for a budget that is no share. */
export function checkBudget(budget: number): void {
  if (!(budget >= 0 && budget <= 1))
    throw new RangeError(`budget: expected a share from 0 to 1, got ${budget}. 0.1 is a good start.`);
}

/**
 * The recipe that loses least within a budget. A larger budget never leaves more; one of 0 moves what is free.
 *
 * @param budget share of the layers' multiply-accumulates, from 0 to 1
 * @throws RangeError for another budget, or for a movable site without a divergence.
 */
export function placePrecision({ config, weights, recipe, divergences }: PlacementInput, budget: number): Placement {
  checkBudget(budget);
  const resolve = resolveRecipe(recipe);
  const work = (layer: number, linear: string): number => product(weights.shape(siteName(layer, `${linear}.weight`)));
  const total = sum(layersOf(config).flatMap((layer) => linearsOf(config).map((linear) => work(layer, linear))));
  const divergenceOf = (site: string): number => {
    const found = divergences.get(site);
    if (Number.isFinite(found)) return Math.max(0, found as number); // less than nothing is noise
    throw new RangeError(
      `placePrecision: expected the divergence of '${site}', got ${found ?? 'none'}. Measure movableSites.`,
    );
  };
  const choices = layersOf(config).map((layer) =>
    choicesOf(config, (site) => resolve(siteName(layer, site)))
      .map(({ linears, sites }): Choice => {
        const names = sites.map((site) => siteName(layer, site));
        const cost = sum(linears.map((linear) => work(layer, linear)));
        return { cost, gain: sum(names.map(divergenceOf)), sites: names };
      })
      .sort((a, b) => a.cost - b.cost),
  );
  const chosen = best(choices, budget * total);
  const moved = chosen.flatMap(({ sites }) => sites);
  const all = movableSites(config, recipe);
  return {
    recipe: withRules(recipe, `${recipe.name}+${budget}`, widenings(moved, config, recipe)),
    moved,
    cost: sum(chosen.map(({ cost }) => cost)) / total,
    before: sum(all.map(divergenceOf)),
    after: sum(all.filter((site) => !moved.includes(site)).map(divergenceOf)),
  };
}

/** Every set of a layer's 8-bit linears, and the sites that have 16 bits when the linears have. @param resolve of names in the layer */
function choicesOf(config: DecoderConfig, resolve: ResolveSite): { linears: string[]; sites: string[] }[] {
  const wide = activationSites(config).filter((site) => (resolve(site)?.bits ?? 0) > NARROW);
  const already = wide.flatMap((site) => linearsAt(site, config));
  const narrow = linearsOf(config).filter((linear) => !already.includes(linear));
  return subsets(narrow).map((linears) => ({
    linears,
    sites: movableIn(config, resolve).filter((site) =>
      linearsAt(site, config).every((linear) => linears.includes(linear) || already.includes(linear)),
    ),
  }));
}

/** What may become of one layer. */
interface Choice {
  /** Multiply-accumulates. */
  readonly cost: number;
  readonly gain: number;
  readonly sites: readonly string[];
}

/**
 * One choice for each layer, the largest gain in all for at most `budget`; of equal ones a cheap one.
 *
 * `most[c]` is the most that the layers so far gain for `c` units or less. The unit is the greatest that all costs are multiples of.
 */
function best(layers: readonly (readonly Choice[])[], budget: number): Choice[] {
  const unit = layers.flat().reduce((divisor, { cost }) => greatestDivisor(cost, divisor), 0) || 1;
  const size = Math.floor(budget / unit + 1e-9) + 1;
  let most = new Float64Array(size);
  const taken = layers.map((choices) => {
    const next = new Float64Array(size).fill(Number.NEGATIVE_INFINITY);
    const which = new Uint8Array(size);
    for (const [i, { cost, gain }] of choices.entries()) {
      for (let c = cost / unit; c < size; c++) {
        const all = (most[c - cost / unit] as number) + gain;
        if (all <= (next[c] as number)) continue;
        next[c] = all;
        which[c] = i;
      }
    }
    most = next;
    return which;
  });
  let left = size - 1;
  return layers
    .map((choices, layer) => ({ choices, which: taken[layer] as Uint8Array }))
    .toReversed()
    .map(({ choices, which }) => {
      const choice = choices[which[left] as number] as Choice;
      left -= choice.cost / unit;
      return choice;
    })
    .toReversed();
}

/** Rules that give sites of a recipe 16 bits and leave their specs alone: one for a site of all layers, or one for each. */
export function widenings(sites: readonly string[], config: DecoderConfig, recipe: Recipe): Rule[] {
  const resolve = resolveRecipe(recipe);
  return activationSites(config).flatMap((site) => {
    const names = layersOf(config).map((layer) => siteName(layer, site));
    const own = names
      .filter((name) => sites.includes(name))
      .map((name): Rule => ({ site: name, spec: { ...(resolve(name) as QuantizerSpec), bits: WIDE } }));
    const alike = new Set(own.map(({ spec }) => JSON.stringify(spec))).size === 1;
    return own.length === config.layers && alike
      ? [{ site: `model.layers.*.${site}`, spec: (own[0] as Rule).spec }]
      : own;
  });
}

/** All subsets, the empty one first. */
function subsets<T>(all: readonly T[]): T[][] {
  const [first, ...others] = all;
  if (first === undefined) return [[]];
  const without = subsets(others);
  return [...without, ...without.map((some) => [first, ...some])];
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const product = (values: readonly number[]): number => values.reduce((total, value) => total * value, 1);
