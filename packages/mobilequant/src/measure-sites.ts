/** What is measured of a quantized model's sites for a report: signal to noise, divergences, outliers. All of it is plain data. */
import {
  collectOutliers,
  type OnProgress,
  type Outliers,
  type SiteOutliers,
  siteDivergence,
} from '@mobilequant/calibration';
import type { Tokenizer } from '@mobilequant/checkpoint';
import { cachedWeights, type FloatModel, type QuantizedModel, simulatedReading } from '@mobilequant/core';
import { type SiteRatio, siteSignalToNoise } from '@mobilequant/evaluator';
import { siteInLayer } from '@mobilequant/quantizer';
import {
  type Divergences,
  isNoisy,
  type KindDivergence,
  type Noise,
  type Outlier,
  type SiteValues,
} from '@mobilequant/report';
import type { Runtime } from '@mobilequant/tracer';
import { sitesByKind } from './model-facts.ts';
import { narrowSites, sitesOfKinds } from './site-groups.ts';

/** One number a site, as rows of a page; what is not finite is a hole. */
function rowsOf(values: ReadonlyMap<string, number>, layers: number): SiteValues[] {
  return [...sitesByKind(values.keys(), layers)].map(([site, names]) => ({
    site,
    layers: names.map((name) => {
      const value = name === undefined ? Number.NaN : (values.get(name) as number);
      return Number.isFinite(value) ? value : null;
    }),
  }));
}

/** Signal to noise at every site, against the float model of the same weights. */
export async function measureNoise(
  runtime: Runtime,
  { config, weights, encodings }: QuantizedModel,
  samples: readonly Int32Array[],
): Promise<Noise> {
  const reading = simulatedReading(encodings);
  const input = { config, weights: cachedWeights(weights), reading, samples };
  const found = await siteSignalToNoise(runtime, input);
  const rows = (of: (ratio: SiteRatio) => number): SiteValues[] =>
    rowsOf(new Map([...found].map(([site, ratio]) => [site, of(ratio)])), config.layers);
  return { own: rows(({ own }) => own), total: rows(({ total }) => total) };
}

/** What rounding does to the logits: by kind of site, and of every narrow site if there are texts for that and its own rounding makes noise. */
export async function measureDivergences(
  runtime: Runtime,
  { config, weights, encodings }: QuantizedModel,
  { own: ownNoise }: Noise,
  samples: { readonly kinds: readonly Int32Array[]; readonly sites?: readonly Int32Array[] },
  onProgress: OnProgress,
): Promise<Divergences> {
  const input = { config, weights: cachedWeights(weights), encodings };
  const measure = (groups: readonly (readonly string[])[], own: readonly Int32Array[], around: 'float' | 'rounded') =>
    siteDivergence(runtime, { ...input, groups, samples: own }, { around, onProgress });

  const groups = sitesOfKinds(encodings);
  const alone = await measure([...groups.values()], samples.kinds, 'float');
  const [whole, ...spared] = await measure([[], ...groups.values()], samples.kinds, 'rounded');
  const kinds = [...groups].map(
    ([site, [first]], i): KindDivergence => ({
      site,
      bits: encodings.get(first as string)?.spec.bits as number,
      alone: alone[i] as number,
      spared: spared[i] as number,
    }),
  );
  const found = { whole: whole as number, kinds };
  if (!samples.sites) return found;
  const noisy = new Set(ownNoise.filter(isNoisy).map(({ site }) => site));
  const narrow = narrowSites(encodings).filter((site) => noisy.has(siteInLayer(site))); // of layers: rows of a page are that
  const rows = (values: readonly number[]): SiteValues[] =>
    rowsOf(new Map(narrow.map((site, i) => [site, values[i] as number])), config.layers);
  const each = narrow.map((site) => [site]);
  const ofSites = await measure(each, samples.sites, 'float');
  const [base, ...sparing] = await measure([[], ...each], samples.sites, 'rounded');
  return { ...found, sites: { whole: base as number, alone: rows(ofSites), spared: rows(sparing) } };
}

/** Ranges and outliers at every site of a float model. */
export async function measureOutliers(
  runtime: Runtime,
  { config, weights }: FloatModel,
  samples: readonly Int32Array[],
  onProgress: OnProgress,
): Promise<[string, SiteOutliers][]> {
  return [...(await collectOutliers(runtime, config, cachedWeights(weights), samples, { onProgress }))];
}

const SHOWN = 12;
const BESIDE = 3; // tokens shown on each side

/** Those that stand out most, the worst layer of each kind of site, with the text around their tokens. */
export function worstOutliers(
  found: Outliers,
  samples: readonly Int32Array[],
  tokenizer: Pick<Tokenizer, 'decode'> | undefined,
): Outlier[] {
  const text = (ids: Int32Array): string =>
    tokenizer ? tokenizer.decode(ids) : Array.from(ids, (id) => `#${id}`).join(' ');
  const worst = new Map<string, { readonly ratio: number; readonly outlier: Outlier }>();
  for (const [site, { channel, token }] of found) {
    if (!channel || !token) continue;
    const { index, largest, median } = token;
    const ids = samples[token.sample] as Int32Array;
    const outlier = {
      site,
      channel,
      token: {
        index,
        largest,
        median,
        before: text(ids.subarray(Math.max(0, index - BESIDE), index)),
        text: text(ids.subarray(index, index + 1)),
        after: text(ids.subarray(index + 1, index + 1 + BESIDE)),
      },
    };
    const ratio = Math.max(channel.largest / channel.median, largest / median);
    const kind = siteInLayer(site);
    if (ratio > (worst.get(kind)?.ratio ?? 0)) worst.set(kind, { ratio, outlier });
  }
  return [...worst.values()]
    .sort((a, b) => b.ratio - a.ratio)
    .slice(0, SHOWN)
    .map(({ outlier }) => outlier);
}
