/**
 * Channel scales that are searched, layer by layer: for each pair the candidate with which the layer, quantized as the recipe says, comes
 * closest to its float output on calibration text.
 *
 *     error = mean over tokens of ‖simulated - float‖² / ‖residual‖²       so that the few tokens with huge residuals do not decide
 *
 * A layer's inputs are the float model's. Pairs are searched one after another (norm → q, k, v; norm → w1, w3; v → o; w3 → w2; q ↔ k)
 * with what was chosen kept, each measured on the part of the layer that it changes, with every quantizer of that part in it: scales chosen
 * by the input of w2 alone ruin the output of w3. Leaving a pair as it is is always a candidate.
 *
 * The float layer is observed once. A scale moves the range of a few sites, and the new ranges follow from their channels' outermost
 * values, so a candidate costs one run of a part on some of the tokens. Weights, scales and ranges are inputs: one graph serves all
 * candidates of all layers of a shape.
 */
import { type DecoderConfig, embed, readLayer, siteName, type Weights } from '@mobilequant/core';
import {
  encodingFromRange,
  layerSites,
  type QuantizerSpec,
  type Range,
  type Recipe,
  type ResolveSite,
  resolveRecipe,
  siteInLayer,
} from '@mobilequant/quantizer';
import type { Executor, Value, Values } from '@mobilequant/tracer';
import { checkSamples } from './check-samples.ts';
import { availablePairs, type Pair } from './learnables.ts';
import { type LayerObservation, layerObserver } from './observe-layer.ts';
import { partErrors, partOf, tokensOf } from './part-error.ts';
import { type OnProgress, progressOf } from './progress.ts';
import { rangeRulesOf, ruleOf } from './range-rules.ts';
import {
  candidateScale,
  channelFactors,
  type Exponents,
  type Measures,
  measuredSites,
  measuresOf,
  scaledSites,
} from './scale-candidates.ts';
import { type LayerScales, scaledWeights, scaleValues } from './transformed-weights.ts';

export interface SearchScalesInput {
  /** In the form that is quantized (see `quantizedForm`). */
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** Token ids, each a text of its own: a few thousand in all. */
  readonly samples: readonly Int32Array[];
}

export interface SearchScalesOptions {
  /** The pairs to scale, where the decoder has them. Default all. */
  readonly pairs?: readonly Pair[];
  /** For the norms: α in `max|x|^α / max|W|^(1-α)`. */
  readonly alphas?: readonly number[];
  /** For the other pairs: (a, b) in `f^a · g^b`; see `scale-candidates.ts`. */
  readonly exponents?: readonly Exponents[];
  /**
   * The share of an activation's values that each end of its range covers, by full site name: 1 is min-max, 0.99999 cuts off one value in
   * 100,000 on either side. Default: as the recipe's range rules say (`mse` as min-max). Scores and probabilities are always min-max.
   */
  readonly coverage?: (site: string, spec: QuantizerSpec) => number;
  /** How many tokens candidates are compared on, at most (attention: whole samples, at least one). Ranges come from all. Default 1024. */
  readonly tokens?: number;
  readonly onProgress?: OnProgress;
}

/** What a search came to for one pair of a layer. */
export interface ScaleChoice {
  /** (0, 0) leaves the pair as it is; (α, 1 - α) for the norms. */
  readonly exponents: Exponents;
  /** The error of the part of the layer behind the pair, with what was chosen. */
  readonly error: number;
  /** The error of leaving it as it is. */
  readonly unscaled: number;
}

export interface SearchedLayer {
  readonly scales: LayerScales;
  readonly choices: Readonly<Partial<Record<Pair, ScaleChoice>>>;
}

export interface SearchedScales {
  /** The scaled weights: the same float function. A layer is transformed when it is read. */
  readonly weights: Weights;
  /** One entry a layer. */
  readonly chosen: readonly SearchedLayer[];
}

/** In the order in which they are searched. */
const PAIRS: readonly Pair[] = ['qkv', 'fc1', 'out', 'fc2', 'qkt'];
const ALPHAS: readonly number[] = [0.5, 0.6, 0.7, 0.8, 0.9, 1];
// biome-ignore format: a grid
const EXPONENTS: readonly Exponents[] = [
  [0, 0.5], [0, 0.75], [0, 1], [0.25, 0.25], [0.25, 0.5], [0.25, 0.75], [0.5, 0], [0.5, 0.25], [0.5, 0.5], [0.75, 0.25],
];
const UNSCALED: Exponents = [0, 0];

/**
 * Searches the scales of every layer.
 *
 * @throws RangeError without samples.
 */
export async function searchScales(
  executor: Executor,
  { config, weights, recipe, samples }: SearchScalesInput,
  options: SearchScalesOptions = {},
): Promise<SearchedScales> {
  const { pairs = PAIRS, alphas = ALPHAS, exponents = EXPONENTS, tokens: budget = 1024, onProgress } = options;
  checkSamples(samples, 'searchScales');

  const available = availablePairs(pairs, config, 'exact');
  const parts = new Map(PAIRS.filter((pair) => available.includes(pair)).map((pair) => [pair, partOf(pair, config)]));
  const searched = [...parts.keys()];
  const candidates = (pair: Pair): readonly Exponents[] => {
    const isNorm = pair === 'qkv' || pair === 'fc1';
    return [UNSCALED, ...(isNorm ? alphas.map((alpha): Exponents => [alpha, 1 - alpha]) : exponents)];
  };
  const within = (site: string): boolean => [...parts.values()].some((part) => part.has(siteInLayer(site)));
  const resolved = resolveRecipe(recipe);
  const resolve: ResolveSite = (site) => (within(site) ? resolved(site) : undefined);
  const observer = layerObserver(executor, {
    config,
    weights,
    resolve,
    coverage: options.coverage ?? coverageBy(recipe),
    kept: new Set([...parts.values()].flatMap(({ input, outputs }) => [input, ...outputs])),
    channels: new Set(
      searched.flatMap((pair) => [...measuredSites(pair, config), ...scaledSites(pair, config).keys()]),
    ),
  });
  const errors = partErrors(executor, { config, weights, recipe, resolve });

  const searchLayer = async (layer: number, tensors: Values, observed: LayerObservation): Promise<SearchedLayer> => {
    const measures = new Map(searched.map((pair) => [pair, measuresOf(pair, observed.absMax, tensors, config)]));
    const unscaled = Object.fromEntries([...measures].map(([pair, { f }]) => [pair, f.map(() => 1)]));
    const encode = (sites: Iterable<string>, range: (site: string) => Range): Values =>
      encodingValues(sites, (site) => resolve(siteName(layer, site)), range);
    const choices: Partial<Record<Pair, ScaleChoice>> = {};
    let best: Candidate = {
      exponents: UNSCALED,
      scales: {},
      encodings: encode(layerSites(config).filter(isActivation), (site) => observed.range(site)),
    };
    for (const [pair, part] of parts) {
      const before = best;
      const tokens = tokensOf(part, observed, budget);
      const signs = scaledSites(pair, config);
      const scaledBy = (exponents: Exponents): Candidate => {
        const scale = candidateScale(measures.get(pair) as Measures, exponents);
        if (!scale) return { ...before, exponents };
        const factors = (site: string) => (channels: number) =>
          channelFactors(pair, scale, signs.get(site) as 1 | -1, channels, config);
        const moved = encode(signs.keys(), (site) => observed.range(site, factors(site)));
        return {
          exponents,
          scales: { ...before.scales, [pair]: scale },
          encodings: { ...before.encodings, ...moved },
        };
      };
      const tried: { readonly candidate: Candidate; readonly error: number }[] = [];
      for (const candidate of candidates(pair).map(scaledBy)) {
        const scales = scaleValues({ ...unscaled, ...candidate.scales });
        const error = await errors.error(layer, part, tokens, { ...tensors, ...scales, ...candidate.encodings });
        tried.push({ candidate, error });
      }
      const least = tried.reduce((a, b) => (b.error < a.error ? b : a));
      best = least.candidate;
      choices[pair] = { exponents: best.exponents, error: least.error, unscaled: tried[0]?.error as number };
    }
    return { scales: best.scales, choices };
  };

  const progress = progressOf('scales', config.layers, onProgress);
  const chosen: SearchedLayer[] = [];
  let texts: readonly Value[] = await Promise.all(samples.map((sample) => embed(config, weights, sample)));
  try {
    for (let layer = 0; layer < config.layers; layer++) {
      const tensors = await readLayer(weights, layer);
      const observed = await observer.observe(layer, tensors, texts);
      chosen.push(await searchLayer(layer, tensors, observed));
      texts = observed.outputs;
      progress.step();
    }
  } finally {
    await observer.release();
    await errors.release();
  }
  return { weights: scaledWeights(executor, config, weights, (layer) => chosen[layer]?.scales ?? {}), chosen };
}

/** What a layer could become: scales and activation encodings, those chosen before included. */
interface Candidate {
  readonly exponents: Exponents;
  readonly scales: LayerScales;
  readonly encodings: Values;
}

/** What a recipe's range rules keep of a site. */
function coverageBy(recipe: Recipe): (site: string, spec: QuantizerSpec) => number {
  const rules = rangeRulesOf(recipe);
  return (site, spec) => {
    const rule = ruleOf(site, spec, rules);
    return rule.kind === 'percentile' ? rule.percent / 100 : 1;
  };
}

/** Scale and zero point of quantized activations, as inputs of a graph. */
function encodingValues(
  sites: Iterable<string>,
  resolve: (site: string) => QuantizerSpec | undefined,
  range: (site: string) => Range,
): Values {
  const entries = [...sites].flatMap((site): [string, Value][] => {
    const spec = resolve(site);
    if (!spec) return [];
    const { encoding } = encodingFromRange(spec.range ?? range(site), spec, { site });
    return [
      [`${site}.scale`, { data: encoding.scale, shape: [] }],
      [`${site}.offset`, { data: Float32Array.from(encoding.zeroPoint), shape: [] }],
    ];
  });
  return Object.fromEntries(entries);
}

const isActivation = (site: string): boolean => !site.endsWith('.weight');
