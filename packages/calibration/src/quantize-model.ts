/**
 * From float weights, ranges and a recipe to a quantized model: an encoding for every site that the recipe names.
 */
import { type DecoderConfig, headName, layerTensorNames, type QuantizedModel, type Weights } from '@mobilequant/core';
import {
  type DecoderShape,
  decoderSites,
  type Encoding,
  encodingFromRange,
  encodingFromRanges,
  groupCount,
  type Range,
  type Ranges,
  type Recipe,
  RecipeError,
  rangesOf,
  resolveRecipe,
  splitSite,
} from '@mobilequant/quantizer';
import { learnedRange } from './learnables.ts';
import type { Learned } from './learning.ts';
import { viewWeights } from './transformed-weights.ts';

export interface QuantizeInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** Full site name → range of activations. */
  readonly ranges: ReadonlyMap<string, Range>;
  /** Full site name → what a weight keeps; others keep all. */
  readonly clipping?: ReadonlyMap<string, Ranges>;
}

export interface QuantizeResult {
  readonly model: QuantizedModel;
  /** Activation sites whose range excluded 0 and had to be widened. */
  readonly widened: readonly string[];
}

/**
 * Chooses scales and zero points. `ranges` are taken as they are: put what a recipe knows of them (a sigmoid's [0, 1]) in by `withKnownRanges`.
 *
 * @throws RecipeError when a site of the recipe has no range.
 */
export async function quantizeModel({
  config,
  weights,
  recipe,
  ranges,
  clipping,
}: QuantizeInput): Promise<QuantizeResult> {
  const resolve = resolveRecipe(recipe);
  const encodings = new Map<string, Encoding>();
  const widened: string[] = [];

  const activation = (site: string, range: Range): void => {
    const spec = resolve(site);
    if (!spec) return;
    const result = encodingFromRange(range, spec, { site });
    encodings.set(site, result.encoding);
    if (result.widened.length > 0) widened.push(site);
  };
  const weight = async (site: string, name: string): Promise<void> => {
    const spec = resolve(site);
    if (!spec) return;
    const shape = weights.shape(name);
    groupCount(shape, spec.granularity, site);
    const kept = clipping?.get(site) ?? rangesOf(await weights.read(name), shape, spec.granularity, { site });
    encodings.set(site, encodingFromRanges(kept, spec, { site }).encoding);
  };

  for (const [site, calibrated] of ranges) activation(site, calibrated);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const name of layerTensorNames(weights, layer)) {
      if (name.endsWith('.weight')) await weight(`model.layers.${layer}.${name}`, `model.layers.${layer}.${name}`);
    }
  }
  await weight('model.norm.weight', 'model.norm.weight');
  await weight('lm_head.weight', headName(weights));
  for (const site of activationSites(config)) {
    if (resolve(site) && !encodings.has(site)) {
      throw new RecipeError({
        where: recipe.name,
        expected: `a calibrated range of '${site}'`,
        received: 'none',
        advice: 'Collect statistics of the same model, with its head if the recipe names it.',
      });
    }
  }
  return { model: { config, weights, recipe, encodings }, widened };
}

/** The sites of values that the model computes; it has no tap at the embedding. */
const activationSites = (decoder: DecoderShape | number): string[] =>
  decoderSites(decoder).filter((site) => splitSite(site).port !== 'weight' && !site.startsWith('model.embed_tokens.'));

/** Whether a recipe quantizes the final norm or the head beyond their weights, so that their ranges are needed too. */
export const needsHeadRanges = (recipe: Recipe): boolean =>
  activationSites(0).some((site) => resolveRecipe(recipe)(site));

/** The ranges of a recipe's known sites (a sigmoid's [0, 1]) in place of the calibrated ones. */
export function withKnownRanges(ranges: ReadonlyMap<string, Range>, recipe: Recipe): Map<string, Range> {
  const resolve = resolveRecipe(recipe);
  return new Map([...ranges].map(([site, range]) => [site, resolve(site)?.range ?? range]));
}

/** What was learned, fused: weights (transformed as they are read), ranges, and what weights keep. */
export async function fuseLearned(
  { programs, learnables }: Learned,
  { config, weights, recipe, ranges }: Omit<QuantizeInput, 'clipping'>,
): Promise<Required<QuantizeInput>> {
  await programs.release(); // what learning compiled; fusing compiles its own
  const resolve = resolveRecipe(recipe);
  const clipping = new Map<string, Ranges>();
  let added: Record<string, readonly number[]> = {};
  for (const [layer, own] of learnables.entries()) {
    const fused = await programs.fuse(layer, own);
    for (const [site, kept] of fused.clipping) clipping.set(`model.layers.${layer}.${site}`, kept);
    const fresh = Object.entries(fused.tensors).filter(([name]) => !weights.has(`model.layers.${layer}.${name}`));
    added = { ...added, ...Object.fromEntries(fresh.map(([name, { shape }]) => [name, shape])) };
  }
  const fusedWeights = viewWeights(
    weights,
    async (layer, tensors) => {
      const own = learnables[layer];
      return own ? { ...tensors, ...(await programs.fuse(layer, own)).tensors } : tensors;
    },
    added,
  );
  const learnedRanges = new Map(
    [...ranges].map(([site, range]) => {
      const match = /^model\.layers\.(\d+)\.(.+)$/.exec(site);
      const spec = resolve(site);
      const own = match && learnables[Number(match[1])];
      return [site, (own && spec && learnedRange(match[2] as string, spec, own)) ?? spec?.range ?? range] as const;
    }),
  );
  return { config, weights: fusedWeights, recipe, ranges: learnedRanges, clipping };
}
