/**
 * What a plan looks at in its calibration text, apart from the plan: so that many machines look at a part of the text each, and one goes on
 * from all of it.
 *
 * Counts are whole numbers and extremes are exact, so the parts come to what one pass over the whole text finds, to the last digit.
 */
import type { DecoderConfig, Weights } from '@mobilequant/core';
import { type Recipe, recipeToJson } from '@mobilequant/quantizer';
import type { Histograms, SiteHistogram } from './collect-histograms.ts';
import { mergeHistograms } from './histogram.ts';
import { hashOf } from './learning.ts';

/** Which samples: those whose number leaves `index` when divided by `count`. */
export interface SampleShard {
  readonly index: number;
  readonly count: number;
}

/** The sites of a plan's model on some of the calibration samples, or all. */
export interface Observation {
  /** Of the model, the plan and the whole calibration text: equal for all parts. */
  readonly fingerprint: string;
  /** The prefix behind which was observed. */
  readonly prefix: readonly number[];
  /** The parts that are in it, ascending, of so many. */
  readonly parts: readonly number[];
  readonly count: number;
  /** Without statistics of channels. */
  readonly sites: Histograms;
}

/** Observations that do not belong together, or not to what is to be quantized. */
export class ObservationError extends Error {
  override readonly name = 'ObservationError';

  constructor(where: string, expected: string, received: string, advice: string) {
    super(`${where}: expected ${expected}, got ${received}. ${advice}`);
  }
}

/**
 * All parts together, by their names.
 *
 * @throws ObservationError for parts of several texts, models or plans, or one that is given twice.
 */
export function joinObservations(parts: ReadonlyMap<string, Observation>): Observation {
  const [[firstName, first] = []] = parts;
  if (!firstName || !first) throw new ObservationError('observations', 'at least one', 'none', 'Name the parts.');
  const seen = new Map<number, string>();
  const sites = new Map(first.sites);
  for (const [name, own] of parts) {
    if (
      own.fingerprint !== first.fingerprint ||
      own.count !== first.count ||
      String(own.prefix) !== String(first.prefix)
    )
      throw new ObservationError(
        name,
        `a part of what ${firstName} is one of (${first.fingerprint}, of ${first.count})`,
        `one of another (${own.fingerprint}, of ${own.count})`,
        'Observe all parts with the same options.',
      );
    for (const part of own.parts) {
      const other = seen.get(part);
      if (other !== undefined)
        throw new ObservationError(
          name,
          'each part once',
          `part ${part}, which ${other} has`,
          'Leave one of them out.',
        );
      seen.set(part, name);
    }
    if (own !== first) for (const [site, values] of own.sites) sites.set(site, joined(sites.get(site), values));
  }
  return { ...first, parts: [...seen.keys()].sort((a, b) => a - b), sites };
}

function joined(a: SiteHistogram | undefined, b: SiteHistogram): SiteHistogram {
  if (!a) return b;
  const range = { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) };
  return a.histogram && b.histogram ? { ...range, histogram: mergeHistograms(a.histogram, b.histogram) } : range;
}

/** What tells observations apart. */
export interface ObservedInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** All of it. */
  readonly calibration: readonly Int32Array[];
  readonly first?: number | undefined;
}

/** @param how the steps of the plan that decide what is observed. */
export async function observationFingerprint(
  { config, weights, recipe, calibration, first }: ObservedInput,
  how: Readonly<Record<string, unknown>>,
): Promise<string> {
  const texts = calibration.map((sample) => [...sample]);
  const norm = [...(await weights.read('model.norm.weight'))]; // models of one architecture differ in it
  return hashOf([config, norm, recipeToJson(recipe), texts, first ?? null, how]);
}

/**
 * @throws ObservationError unless all parts are there, and of this fingerprint.
 */
export function checkObservation({ fingerprint, parts, count }: Observation, wanted: string): void {
  const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !parts.includes(i));
  if (missing.length > 0)
    throw new ObservationError('observation', `all of ${count} parts`, `none of ${missing.join(', ')}`, 'Add them.');
  if (fingerprint !== wanted)
    throw new ObservationError(
      'observation',
      `one of this model, plan and text (${wanted})`,
      `one of another (${fingerprint})`,
      'Quantize with the options it was made with.',
    );
}

/** @throws ObservationError for what was observed behind another prefix. */
export function checkObservedPrefix({ prefix }: Observation, wanted: readonly number[]): void {
  if (String(prefix) !== String(wanted))
    throw new ObservationError(
      'observation',
      `the prefix ${wanted.join(', ') || 'none'}`,
      prefix.join(', ') || 'none',
      'Say which by --prefix, in both.',
    );
}
