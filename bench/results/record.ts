/**
 * What was asked and what came out, a file for each: so a run that was interrupted goes on, nothing is measured twice, and the tables can
 * be written again without the models.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MetricName, MetricResult } from '@mobilequant/evaluator';
import type { ModelEntry, Source, TextEntry } from './config.ts';
import type { Way } from './rows.ts';

/** A quantization, in the config's own words. */
export interface Asked extends Way {
  readonly model: string;
  /** A hash of what the names of the recipe and of the preset stand for: when that changes, older records do not answer. */
  readonly meaning: string;
  readonly calibration: ModelEntry['calibration'];
}

/** A measurement on a text; without a quantization, that of the float model. */
export interface AskedText {
  readonly model: string;
  readonly quantization?: Asked;
  readonly text: TextEntry;
  readonly form: 'float' | 'simulated' | 'integer';
}

/** A measurement on a task. */
export interface AskedTask extends Omit<AskedText, 'text'> {
  readonly task: { readonly name: string; readonly data: Source; readonly limit: number };
  /** A hash of what the task's name stands for. */
  readonly meaning: string;
}

export type AskedMeasurement = AskedText | AskedTask;

/** What the words stood for: hashes of files. A change of one of them makes another record. */
export type Subject = Readonly<Record<string, unknown>>;

/** Under what it was made. */
export interface Circumstances {
  readonly date: string;
  readonly commit: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly machine: string;
  readonly threads: number;
  /** Of the machine when it began: more than its cores means that times are too long. */
  readonly load: number;
}

export interface QuantizationResult {
  /** Wall time of the command's own work. */
  readonly seconds: number;
  readonly steps?: Readonly<Record<string, number>>;
  /** Resident memory at most, bytes. */
  readonly peak: number;
  readonly prefix: readonly number[];
  /** Bytes of the model, packed. */
  readonly size: number;
}

export interface MeasurementResult {
  readonly windows: number;
  readonly tokens: number;
  readonly perplexity: number;
  /** Negative log-likelihood of each window, in nats: what comparisons pair. */
  readonly losses: readonly number[];
  /** The float model behind the same prefix, on the same windows. */
  readonly float?: number;
  /** log(perplexity / float) and its standard error, paired over windows. */
  readonly logRatio?: number;
  readonly standardError?: number;
  /** Mean KL(float‖quantized), in nats. */
  readonly divergence?: number;
  readonly agreement?: number;
  readonly prefix: readonly number[];
  readonly seconds: number;
  readonly peak: number;
}

export interface TaskResult {
  readonly items: number;
  /** Items whose beginning was cut off, being longer than what is read. */
  readonly cut?: number;
  readonly metrics: Readonly<Partial<Record<MetricName, MetricResult>>>;
  /** Tokens of the longest text. */
  readonly tokens: number;
  /** Whose definitions the task follows. */
  readonly harness: string;
  /** Wall time of the command, its start included. */
  readonly seconds: number;
  readonly peak: number;
}

export interface QuantizationRecord {
  readonly kind: 'quantization';
  readonly asked: Asked;
  readonly subject: Subject;
  /** What `asked.meaning` is the hash of, to be read. */
  readonly means?: unknown;
  readonly made: Circumstances;
  readonly result: QuantizationResult;
}

export interface MeasurementRecord {
  readonly kind: 'measurement';
  readonly asked: AskedText;
  readonly subject: Subject;
  readonly made: Circumstances;
  readonly result: MeasurementResult;
}

export interface TaskRecord {
  readonly kind: 'task';
  readonly asked: AskedTask;
  readonly subject: Subject;
  readonly made: Circumstances;
  readonly result: TaskResult;
}

export type ResultRecord = QuantizationRecord | MeasurementRecord | TaskRecord;

/** The same for equal values, whatever the order of their fields. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** Twelve digits for a value, whatever the order of its fields. */
export const hashOf = (value: unknown): string =>
  createHash('sha256').update(canonical(value)).digest('hex').slice(0, 12);

/** By what a record is found again: a readable name, and a hash of all that was asked and of what that stood for. */
export function recordName({ kind, asked, subject }: Pick<ResultRecord, 'kind' | 'asked' | 'subject'>): string {
  const way = 'method' in asked ? asked : asked.quantization;
  const parts = [
    asked.model,
    ...(way ? [way.recipe, way.method, ...Object.entries(way.options).map((option) => option.join('-'))] : []),
    ...('text' in asked ? [asked.text.name, asked.form] : []),
    ...('task' in asked ? [asked.task.name, `${asked.task.limit}`, asked.form] : []),
  ];
  const hash = hashOf({ kind, asked, subject });
  return [...parts.map((part) => part.replaceAll(/[^\w+-]+/g, '_')), hash].join('.');
}

/** Records in a folder. */
export interface RecordStore {
  find<R extends ResultRecord>(wanted: Pick<R, 'kind' | 'asked' | 'subject'>): Promise<R | undefined>;
  save(record: ResultRecord): Promise<void>;
  /** All, the oldest first. */
  all(): Promise<ResultRecord[]>;
}

export function recordStore(folder: string): RecordStore {
  const pathFor = (record: Pick<ResultRecord, 'kind' | 'asked' | 'subject'>) =>
    join(folder, `${recordName(record)}.json`);
  return {
    async find<R extends ResultRecord>(wanted: Pick<R, 'kind' | 'asked' | 'subject'>) {
      const path = pathFor(wanted);
      return existsSync(path) ? (JSON.parse(await readFile(path, 'utf8')) as R) : undefined;
    },
    async save(record) {
      await mkdir(folder, { recursive: true });
      const path = pathFor(record);
      await writeFile(`${path}.part`, `${JSON.stringify(record)}\n`);
      await rename(`${path}.part`, path);
    },
    async all() {
      const names = existsSync(folder) ? (await readdir(folder)).filter((name) => name.endsWith('.json')) : [];
      const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
      const records = texts.map((text) => JSON.parse(text) as ResultRecord);
      return records.toSorted((a, b) => (a.made.date < b.made.date ? -1 : 1));
    },
  };
}
