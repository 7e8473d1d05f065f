/** From a config to what is to be done: every quantization once, whichever rows ask for it, with all that is to be measured of it. */
import type { Config, ModelEntry, TextEntry } from './config.ts';
import { type Asked, type AskedMeasurement, canonical, hashOf } from './record.ts';
import { meaningOf, ROW_GROUPS, type Row, WIDTHS, type Width, wayOf } from './rows.ts';

export interface Selection {
  /** Names of rows; by default all that the config has. */
  readonly only?: readonly string[] | undefined;
  /** Names of models. */
  readonly models?: readonly string[] | undefined;
  /** Halves of the table; by default both. */
  readonly widths?: readonly Width[] | undefined;
  /** Windows of each text at most. */
  readonly windows?: number | undefined;
}

export interface QuantizationJob {
  readonly asked: Asked;
  readonly measurements: readonly AskedMeasurement[];
}

export interface ModelJobs {
  readonly entry: ModelEntry;
  readonly floats: readonly AskedMeasurement[];
  readonly quantizations: readonly QuantizationJob[];
}

/** What is to be done for the models and rows that are selected. */
export function jobsOf(config: Config, { only, models, widths = WIDTHS, ...selection }: Selection = {}): ModelJobs[] {
  return config.models
    .filter(({ name }) => !models || models.includes(name))
    .map((entry) => {
      const floats = new Map<string, AskedMeasurement>();
      const addFloat = (text: TextEntry): void => {
        const asked: AskedMeasurement = { model: entry.name, text, form: 'float' };
        floats.set(canonical(asked), asked);
      };
      textsOf(entry, selection).forEach(addFloat);
      const jobs = new Map<string, { readonly asked: Asked; readonly measurements: Map<string, AskedMeasurement> }>();
      for (const row of rowsOf(entry)) {
        if (only && !only.includes(row.name)) continue;
        for (const width of widths) {
          const asked = askedOf(entry, row, width);
          const { measurements } = getOrSet(jobs, canonical(asked), { asked, measurements: new Map() });
          textsOf(entry, selection, row).forEach(addFloat);
          for (const form of formsOf(entry, row))
            for (const text of textsOf(entry, selection, row, form)) {
              const measurement: AskedMeasurement = { model: entry.name, quantization: asked, text, form };
              measurements.set(canonical(measurement), measurement);
            }
        }
      }
      const quantizations = [...jobs.values()].map(({ asked, measurements }) => ({
        asked,
        measurements: [...measurements.values()],
      }));
      return { entry, floats: [...floats.values()], quantizations };
    });
}

/** The rows of a model, in order; one that stands in two groups comes twice. */
export const rowsOf = ({ rows }: ModelEntry): Row[] =>
  ROW_GROUPS.flatMap((group) => group.rows.filter(({ name }) => !rows || rows.includes(name)));

export type Form = 'simulated' | 'integer';

/** The forms in which a row is measured, the one that counts first. */
export const formsOf = ({ integer = [] }: ModelEntry, { name }: Row): readonly [Form, ...Form[]] =>
  integer.includes(name) ? ['integer', 'simulated'] : ['simulated'];

export function askedOf({ name, calibration }: ModelEntry, row: Row, width: Width): Asked {
  const way = wayOf(row, width);
  return { model: name, ...way, meaning: hashOf(meaningOf(way)), calibration };
}

/** A model's texts with as many windows as are wanted: for a row and the form that counts of it, or for those that are to be known well. */
export function textsOf(
  entry: ModelEntry,
  { windows: selected }: Pick<Selection, 'windows'>,
  row?: Row,
  form?: Form,
): TextEntry[] {
  const { texts, fewer, compared } = entry;
  const forRow = row && fewer?.rows.includes(row.name) ? fewer.windows : undefined;
  const forForm = row && form && form !== formsOf(entry, row)[0] ? compared : undefined;
  return texts.map((text) => {
    const limits = [selected, forRow, forForm, text.windows].filter((limit) => limit !== undefined);
    return limits.length > 0 ? { ...text, windows: Math.min(...limits) } : text;
  });
}

function getOrSet<V>(map: Map<string, V>, key: string, otherwise: V): V {
  const found = map.get(key) ?? otherwise;
  map.set(key, found);
  return found;
}

/** Arguments of `mobilequant quantize` behind the model, except where to write. A row's options go before those of the calibration. */
export function quantizeArguments(
  { recipe, method, options, calibration }: Asked,
  files: { readonly calibration: string; readonly learn?: string },
): string[] {
  const { samples, tokens } = calibration;
  const all = {
    recipe,
    method,
    calibration: files.calibration,
    samples,
    tokens,
    ...(files.learn !== undefined && { learn: files.learn }),
    ...calibration.options,
    ...options,
  };
  return Object.entries(all).flatMap(([name, value]) => [`--${name}`, String(value)]);
}
