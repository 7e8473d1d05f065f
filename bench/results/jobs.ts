/** From a config to what is to be done: every quantization once, whichever rows ask for it, with all that is to be measured of it. */
import type { Config, ModelEntry, TextEntry } from './config.ts';
import { type Asked, type AskedMeasurement, type AskedTask, canonical, hashOf } from './record.ts';
import { meaningOf, ROW_GROUPS, type Row, WIDTHS, type Width, wayOf } from './rows.ts';
import { taskMeaning } from './tasks.ts';

/** What models are measured on. */
export const MEASURED_ON = ['texts', 'tasks'] as const;
export type MeasuredOn = (typeof MEASURED_ON)[number];

export interface Selection {
  /** Names of rows; by default all that the config has. */
  readonly only?: readonly string[] | undefined;
  /** Names of models. */
  readonly models?: readonly string[] | undefined;
  /** Halves of the table; by default both. */
  readonly widths?: readonly Width[] | undefined;
  /** What is measured on; by default both. */
  readonly on?: MeasuredOn | undefined;
  /** Windows of each text at most. */
  readonly windows?: number | undefined;
  /** Items of each task at most. */
  readonly limit?: number | undefined;
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

type Limits = Pick<Selection, 'windows' | 'limit'>;

/** What is to be done for the models and rows that are selected; models for which that is nothing are left out. */
export function jobsOf(config: Config, { only, models, widths = WIDTHS, on, ...limits }: Selection = {}): ModelJobs[] {
  return config.models
    .filter(({ name }) => !models || models.includes(name))
    .map((entry) => {
      const floats = new Map<string, AskedMeasurement>();
      const jobs = new Map<string, { readonly asked: Asked; readonly measurements: Map<string, AskedMeasurement> }>();
      for (const kind of on ? [on] : MEASURED_ON) {
        const { rows, ofFloat, of } = MEASUREMENTS[kind](entry, limits);
        addTo(floats, ofFloat());
        for (const row of rows) {
          if (only && !only.includes(row.name)) continue;
          for (const width of widths) {
            const asked = askedOf(entry, row, width);
            const { measurements } = getOrSet(jobs, canonical(asked), { asked, measurements: new Map() });
            addTo(floats, ofFloat(row));
            addTo(measurements, of(row, asked));
          }
        }
      }
      const quantizations = [...jobs.values()].map(({ asked, measurements }) => ({
        asked,
        measurements: [...measurements.values()],
      }));
      return { entry, floats: [...floats.values()], quantizations };
    })
    .filter(({ floats }) => floats.length > 0);
}

function addTo(found: Map<string, AskedMeasurement>, more: readonly AskedMeasurement[]): void {
  for (const asked of more) found.set(canonical(asked), asked);
}

/** All that can be measured of a model: its rows, and for each what of the float model and of the quantized one. */
interface Measurements {
  readonly rows: readonly Row[];
  /** Without a row, what stands beside those that are to be known well. */
  ofFloat(row?: Row): AskedMeasurement[];
  of(row: Row, quantization: Asked): AskedMeasurement[];
}

const MEASUREMENTS: Readonly<Record<MeasuredOn, (entry: ModelEntry, limits: Limits) => Measurements>> = {
  texts: (entry, limits) => ({
    rows: rowsOf(entry),
    ofFloat: (row) => textsOf(entry, limits, row).map((text) => ({ model: entry.name, text, form: 'float' })),
    of: (row, quantization) =>
      formsOf(entry, row).flatMap((form) =>
        textsOf(entry, limits, row, form).map((text) => ({ model: entry.name, quantization, text, form })),
      ),
  }),
  tasks: (entry, limits) => ({
    rows: taskRowsOf(entry),
    ofFloat: () => tasksOf(entry, limits),
    of: (_, quantization) => tasksOf(entry, limits, quantization),
  }),
};

/** The rows of a model, in order; one that stands in two groups comes twice. */
export const rowsOf = ({ rows }: Pick<ModelEntry, 'rows'>): Row[] =>
  ROW_GROUPS.flatMap((group) => group.rows.filter(({ name }) => !rows || rows.includes(name)));

/** Those that are measured on tasks, each once. */
export function taskRowsOf(entry: ModelEntry): Row[] {
  const { tasks } = entry;
  if (!tasks) return [];
  const rows = rowsOf(tasks.rows ? tasks : entry);
  return [...new Map(rows.map((row) => [row.name, row])).values()];
}

export type Form = 'simulated' | 'integer';

/** The forms in which a row is measured, the one that counts first. */
export const formsOf = ({ integer = [] }: ModelEntry, { name }: Row): readonly [Form, ...Form[]] =>
  integer.includes(name) ? ['integer', 'simulated'] : ['simulated'];

export function askedOf({ name, calibration }: ModelEntry, row: Row, width: Width): Asked {
  const { options, ...way } = wayOf(row, width);
  const { samples, ...others } = options;
  const own = samples === calibration.samples ? others : options; // what all rows have is not said again
  return { model: name, ...way, options: own, meaning: hashOf(meaningOf(way)), calibration };
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

/** A model's tasks, for a quantization of it or the float model. */
export function tasksOf(
  { name: model, tasks }: ModelEntry,
  { limit = Number.POSITIVE_INFINITY }: Pick<Selection, 'limit'>,
  quantization?: Asked,
): AskedTask[] {
  if (!tasks) return [];
  const { data, limits, form = 'simulated' } = tasks;
  return Object.entries(limits).map(([name, own]) => ({
    model,
    ...(quantization && { quantization }),
    task: { name, data, limit: Math.min(own, limit) },
    meaning: taskMeaning(name),
    form: quantization ? form : 'float',
  }));
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
