/** What `evaluate --divergence` measures and prints: what the rounding of each site, alone, does to the logits. */
import { type OnProgress, siteDivergence } from '@mobilequant/calibration';
import { cachedWeights } from '@mobilequant/core';
import { formatNumber } from '@mobilequant/evaluator';
import type { Runtime } from '@mobilequant/tracer';
import { readQuantized } from '../quantized-directory.ts';
import { narrowSites, sitesOfKinds } from '../site-groups.ts';

/** Nats a token, the costliest first. */
export interface SiteDivergences {
  /** One site of all layers, rounded together: name in the layer → divergence. */
  readonly kinds: Readonly<Record<string, number>>;
  /** Single sites of up to 8 bits: full name → divergence. */
  readonly sites?: Readonly<Record<string, number>>;
}

export type DivergenceDetail = 'kinds' | 'sites';

const KIND_WINDOWS = 2;
const WORST_SITES = 12; // shown to people; with --json all

/** Measures a quantized directory against its own float weights: kinds on two windows, single sites on the first. */
export async function siteDivergences(
  runtime: Runtime,
  directory: string,
  windows: readonly Int32Array[],
  detail: DivergenceDetail,
  onProgress: OnProgress,
): Promise<SiteDivergences> {
  const { config, encodings, ...model } = await readQuantized(directory);
  const input = { config, weights: cachedWeights(model.weights), encodings };
  const measure = async (groups: ReadonlyMap<string, readonly string[]>, count: number) => {
    const given = { ...input, samples: windows.slice(0, count), groups: [...groups.values()] };
    const found = await siteDivergence(runtime, given, { onProgress });
    const named = [...groups.keys()].map((name, i) => [name, found[i] as number] as const);
    return Object.fromEntries(named.sort(([, a], [, b]) => b - a));
  };

  const found = { kinds: await measure(sitesOfKinds(encodings), KIND_WINDOWS) };
  if (detail === 'kinds') return found;
  return { ...found, sites: await measure(new Map(narrowSites(encodings).map((site) => [site, [site]])), 1) };
}

/** One a line, in thousandths of a nat. */
export function describeDivergences({ kinds, sites }: SiteDivergences): string {
  const table = (values: Readonly<Record<string, number>>, count = Number.POSITIVE_INFINITY): string => {
    const rows = Object.entries(values).slice(0, count);
    const width = Math.max(...rows.map(([name]) => name.length));
    return rows.map(([name, value]) => `${name.padEnd(width)}  ${formatNumber(1000 * value)}`).join('\n');
  };
  const ofKinds = `divergence of the logits by each site alone, in all layers, in thousandths of a nat:\n${table(kinds)}`;
  return sites ? `${ofKinds}\nthe worst single sites:\n${table(sites, WORST_SITES)}` : ofKinds;
}
