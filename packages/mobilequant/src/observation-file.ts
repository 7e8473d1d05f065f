/** Observations as files: one JSON object, with the bins and counts of each histogram as lists. */
import { joinObservations, type Observation, type SiteHistogram } from '@mobilequant/calibration';
import { writeFileAtomic } from '@mobilequant/checkpoint/node';
import { readText } from './file-error.ts';
import { toolVersion } from './version.ts';

const KIND = 'observation';
const BINS = 2 ** 16;

/** A file that is no observation, or a damaged one. */
export class ObservationFileError extends Error {
  override readonly name = 'ObservationFileError';

  constructor(file: string, expected: string, received: unknown) {
    const got = JSON.stringify(received)?.slice(0, 40) ?? 'nothing';
    super(`${file}: expected ${expected}, got ${got}. Write it by \`mobilequant observe\`.`);
  }
}

export async function writeObservation(file: string, { sites, ...facts }: Observation): Promise<void> {
  const listed = [...sites].map(([site, { min, max, histogram }]) => {
    const own = histogram && {
      min: histogram.min,
      max: histogram.max,
      total: histogram.total,
      bins: [...histogram.bins],
      counts: [...histogram.counts],
    };
    return [site, { min, max, ...(own && { histogram: own }) }];
  });
  const whole = { kind: KIND, mobilequant: toolVersion(), ...facts, sites: Object.fromEntries(listed) };
  await writeFileAtomic(file, `${JSON.stringify(whole)}\n`);
}

/** Whether the contents of a file begin as an observation does. */
export const isObservation = (content: string): boolean => content.startsWith(`{"kind":"${KIND}"`);

/** @throws ObservationFileError for what is none: every number is looked at. */
export function parseObservation(content: string, file: string): Observation {
  const json = objectFrom(parsed(content, file), file, 'an observation');
  if (json.kind !== KIND) throw new ObservationFileError(file, `the kind '${KIND}'`, json.kind);
  const { fingerprint, count } = json;
  if (typeof fingerprint !== 'string' || fingerprint === '')
    throw new ObservationFileError(file, 'a fingerprint', fingerprint);
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!isCount(count) || count === 0) throw new ObservationFileError(file, 'a count of parts', count);
  const prefix = listFrom(json.prefix, file, 'prefix', isCount);
  const parts = listFrom(json.parts, file, 'parts', (part) => isCount(part) && part < count);
  const sites: [string, SiteHistogram][] = [];
  for (const [site, value] of Object.entries(objectFrom(json.sites, file, 'sites'))) {
    const own = objectFrom(value, file, `'${site}'`);
    const range = rangeFrom(own, file, site);
    if (own.histogram === undefined) {
      sites.push([site, range]);
      continue;
    }
    const given = objectFrom(own.histogram, file, `the histogram of '${site}'`);
    const isBin = (value: unknown): boolean => isCount(value) && value < BINS;
    const bins = listFrom(given.bins, file, `the bins of '${site}'`, isBin);
    const counts = listFrom(given.counts, file, `the counts of '${site}'`, isCount);
    const total = counts.reduce((sum, n) => sum + n, 0);
    const rises = bins.every((bin, i) => i === 0 || bin > (bins[i - 1] as number));
    if (!rises || bins.length === 0 || counts.length !== bins.length || given.total !== total)
      throw new ObservationFileError(file, `rising bins of '${site}' with a count each, ${total} in all`, given.total);
    const histogram = {
      ...rangeFrom(given, file, site),
      total,
      bins: Uint16Array.from(bins),
      counts: Float64Array.from(counts),
    };
    sites.push([site, { ...range, histogram }]);
  }
  return { fingerprint, prefix, parts, count, sites: new Map(sites) };
}

/** What several files hold together; nothing of none. @throws FileError, or as `parseObservation` and `joinObservations`. */
export async function readObservations(files: readonly string[]): Promise<Observation | undefined> {
  if (files.length === 0) return undefined;
  const parts = new Map<string, Observation>();
  for (const file of files) parts.set(file, parseObservation(await readText(file), file));
  return joinObservations(parts);
}

function parsed(content: string, file: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    throw new ObservationFileError(file, 'JSON', content);
  }
}

function objectFrom(value: unknown, file: string, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ObservationFileError(file, `${what} as an object`, value);
}

function listFrom(value: unknown, file: string, what: string, holds: (item: unknown) => boolean): readonly number[] {
  const wrong = Array.isArray(value) ? value.find((item) => !holds(item)) : value;
  if (Array.isArray(value) && wrong === undefined && value.every(holds)) return value as number[];
  throw new ObservationFileError(file, `${what} as a list of whole numbers`, wrong);
}

function rangeFrom({ min, max }: Readonly<Record<string, unknown>>, file: string, site: string) {
  if (Number.isFinite(min) && Number.isFinite(max) && (min as number) <= (max as number))
    return { min: min as number, max: max as number };
  throw new ObservationFileError(file, `a range of '${site}'`, [min, max]);
}
