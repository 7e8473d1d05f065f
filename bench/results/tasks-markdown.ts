/** A model's results on tasks: one table of all rows in both widths, with how sure the numbers are and what they took. */
import { formatNumber, type MetricResult, markdownTable } from '@mobilequant/evaluator';
import { duration } from 'mobilequant';
import type { ModelEntry } from './config.ts';
import { askedOf, type Selection, taskRowsOf, tasksOf } from './jobs.ts';
import type { NewestRecords } from './newest-records.ts';
import type { Asked, TaskRecord } from './record.ts';
import { WIDTHS, type Width } from './rows.ts';
import { mainMetrics } from './tasks.ts';

type Limits = Pick<Selection, 'limit'>;

interface MeasuredRow {
  readonly title: string;
  /** None for the float model. */
  readonly width?: Width;
  readonly quantization?: Asked;
  /** Of each task in the config's order, none where it was not measured. */
  readonly found: readonly (TaskRecord | undefined)[];
}

/** The rows of which something was measured: the float model, then those of each width. */
function measuredRows(entry: ModelEntry, records: NewestRecords, limits: Limits): MeasuredRow[] {
  const quantized = WIDTHS.flatMap((width) =>
    taskRowsOf(entry).map((row) => ({ title: row.title, width, quantization: askedOf(entry, row, width) })),
  );
  const rows: Omit<MeasuredRow, 'found'>[] = [{ title: 'float' }, ...quantized];
  return rows
    .map((row) => ({ ...row, found: tasksOf(entry, limits, row.quantization).map(records.task) }))
    .filter(({ found }) => there(found).length > 0);
}

const there = <T>(found: readonly (T | undefined)[]): T[] => found.filter((one) => one !== undefined);

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

const once = (values: readonly (string | number)[]): string => [...new Set(values)].join(', ');

/** All that was measured of a model on tasks. */
export const taskRecordsOf = (entry: ModelEntry, records: NewestRecords, limits: Limits): TaskRecord[] =>
  measuredRows(entry, records, limits).flatMap(({ found }) => there(found));

/** The section, if something was measured. */
export function tasksSection(entry: ModelEntry, records: NewestRecords, limits: Limits): string[] {
  const measured = measuredRows(entry, records, limits);
  if (measured.length === 0) return [];
  const columns = Object.keys(entry.tasks?.limits ?? {}).flatMap((task, index) =>
    mainMetrics(task).map((metric) => ({ task, index, metric })),
  );
  const items = columns.map(({ index }) => once(measured.flatMap(({ found }) => itemsOf(found[index]) ?? [])));
  const rows = measured.map(({ title, width, quantization, found }) => ({
    width,
    name: title,
    cells: [
      quantization?.recipe ?? '',
      ...columns.map(({ index, metric }) => plusMinus(found[index]?.result.metrics[metric])),
      duration(secondsOf(there(found))),
    ],
  }));
  const table = {
    columns: ['recipe', ...columns.map(({ task, metric }) => `${task}, ${metric}`), 'time'],
    rows: [
      { name: 'items', cells: ['', ...items, ''] },
      ...rows.filter(({ width }) => width === undefined),
      ...WIDTHS.flatMap((half) => {
        const own = rows.filter(({ width }) => width === half);
        return own.length > 0 ? [{ name: `**${half}**`, cells: ['', ...columns.map(() => ''), ''] }, ...own] : [];
      }),
    ],
  };
  return ['### Tasks', remarks(entry, measured, records), markdownTable(table)];
}

function remarks({ tasks }: ModelEntry, measured: readonly MeasuredRow[], records: NewestRecords): string {
  const all = measured.flatMap(({ found }) => there(found));
  const quantizing = measured.flatMap(({ quantization }) => (quantization && records.quantization(quantization)) ?? []);
  const [harness, tokens] = [
    once(all.map(({ result }) => result.harness)),
    once(all.map(({ result }) => result.tokens)),
  ];
  const took = quantizing.length > 0 ? `, quantizing ${duration(secondsOf(quantizing))}` : '';
  return [
    `The first items of each task, for MMLU of each subject, counted as ${harness} counts them, texts of ${tokens} tokens at most. The quantized models are ${tasks?.form ?? 'simulated'}.`,
    '± is a standard error. So few items tell only gross differences: one of less than two or three such errors tells nothing. Of a perplexity less is better, of acc (the share of right answers) more.',
    `**time** is that of measuring, each task in a process of its own. Measuring the table took ${duration(secondsOf(all))}${took}.`,
  ].join('\n\n');
}

const secondsOf = (records: readonly { readonly result: { readonly seconds: number } }[]): number =>
  sum(records.map(({ result }) => result.seconds));

/** How many items, and of how many the beginning was cut off. */
function itemsOf(record: TaskRecord | undefined): string | undefined {
  if (!record) return undefined;
  const { items, cut } = record.result;
  return cut === undefined ? `${items}` : `${items} (${cut} cut)`;
}

/**
 * A value with its standard error, in as many digits as that is worth.
 *
 * @example
 * plusMinus({ value: 0.31, standardError: 0.04648 }); // => '0.310 ± 0.046'
 */
export function plusMinus(result: MetricResult | undefined): string | undefined {
  if (!result) return undefined;
  const { value, standardError: error } = result;
  if (error === undefined) return formatNumber(value);
  const digits = error > 0 ? Math.max(1 - Math.floor(Math.log10(error)), 0) : Number.POSITIVE_INFINITY;
  const text = (x: number) => (digits > 6 || Math.max(value, error) >= 1e6 ? formatNumber(x) : x.toFixed(digits));
  return `${text(value)} ± ${text(error)}`;
}
