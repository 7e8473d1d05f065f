/** What a benchmark on a phone found: numbers, and a table of them. */
import type { BatteryPower } from './battery.ts';
import { DeviceError } from './errors.ts';
import type { OperatorCost } from './profile.ts';

/** Of one number that was measured again and again. */
export interface Summary {
  readonly mean: number;
  readonly median: number;
  /** Nine of ten are not above. */
  readonly p90: number;
}

export interface GraphResult {
  readonly graph: string;
  /** That one inference reads or makes. */
  readonly tokens: number;
  /** How many were measured, without the first ones. */
  readonly inferences: number;
  /** Milliseconds an inference, as its caller sees them. */
  readonly latency: Summary;
  /** Milliseconds an inference on the NPU alone. */
  readonly accelerator?: Summary;
  /** By the mean latency. */
  readonly tokensPerSecond: number;
  readonly power: BatteryPower;
  /** Joules above those of a phone that does nothing. */
  readonly energyPerToken?: number;
  /** Cycles of operators, the most expensive first, where they were counted. */
  readonly operators?: readonly OperatorCost[];
}

export interface BenchmarkResult {
  /** What the phone calls itself, and its chip's part number. */
  readonly phone: string;
  readonly soc: string;
  readonly graphs: readonly GraphResult[];
}

/**
 * Mean, median and 90th percentile (nearest rank).
 *
 * @throws DeviceError for no values.
 * @example
 * summaryOf([4, 1, 2, 3]); // => { mean: 2.5, median: 2.5, p90: 4 }
 */
export function summaryOf(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (i: number): number => sorted[i] ?? Number.NaN;
  if (sorted.length === 0)
    throw new DeviceError('benchmark', 'values to summarize', 'none', 'Run more inferences than are left out.');
  const { length } = sorted;
  return {
    mean: sorted.reduce((sum, value) => sum + value, 0) / length,
    median: (at((length - 1) >> 1) + at(length >> 1)) / 2,
    p90: at(Math.ceil(0.9 * length) - 1),
  };
}

export interface GraphMeasurement {
  readonly graph: string;
  readonly tokens: number;
  /** Microseconds of each execution, in their order. */
  readonly executions: readonly number[];
  readonly accelerator?: readonly number[] | undefined;
  readonly operators?: readonly OperatorCost[];
  /** First executions that are left out: they load and wake up. */
  readonly warmUp: number;
  readonly power: BatteryPower;
}

/** @throws DeviceError if no execution is left. */
export function graphResult(measurement: GraphMeasurement): GraphResult {
  const { graph, tokens, executions, accelerator, operators = [], warmUp, power } = measurement;
  const measured = executions.slice(warmUp);
  const latency = summaryOf(measured.map((time) => time / 1000));
  const onNpu = accelerator?.slice(warmUp) ?? [];
  const above = power.kind === 'known' ? power.running - power.idle : 0;
  return {
    graph,
    tokens,
    inferences: measured.length,
    latency,
    ...(onNpu.length > 0 ? { accelerator: summaryOf(onNpu.map((time) => time / 1000)) } : {}),
    tokensPerSecond: (1000 * tokens) / latency.mean,
    power,
    ...(above > 0 ? { energyPerToken: (above * latency.mean) / 1000 / tokens } : {}),
    ...(operators.length > 0 ? { operators } : {}),
  };
}

const HEAD = ['graph', 'tokens', 'inferences', 'mean ms', 'median ms', 'p90 ms', 'tokens/s', 'mJ/token'];

/** The result to read: Markdown for documents, aligned text for terminals. What is not known is –, with the reason below. */
export function benchmarkTable(
  { phone, soc, graphs }: BenchmarkResult,
  form: 'markdown' | 'text' = 'markdown',
): string {
  const rows = graphs.map(({ graph, tokens, inferences, latency, tokensPerSecond, energyPerToken }) => [
    ...[graph, String(tokens), String(inferences)],
    ...[latency.mean, latency.median, latency.p90, tokensPerSecond].map(digits),
    energyPerToken === undefined ? '–' : digits(1000 * energyPerToken),
  ]);
  const notes = graphs.flatMap(({ graph, power, energyPerToken }) =>
    energyPerToken !== undefined
      ? []
      : [`${graph}: no energy, ${power.kind === 'unknown' ? power.reason : 'no power above that of an idle phone'}.`],
  );
  const table = form === 'markdown' ? markdown(rows) : aligned(rows);
  return [`${phone} (${soc})`, '', table, ...(notes.length > 0 ? ['', ...notes] : [])].join('\n');
}

const digits = (x: number): string => (x >= 1000 ? x.toFixed(0) : x.toPrecision(4));

function markdown(rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [HEAD, HEAD.map((_, i) => (i === 0 ? '---' : '---:')), ...rows].map(line).join('\n');
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = HEAD.map((name, i) => Math.max(name.length, ...rows.map((cells) => cells[i]?.length ?? 0)));
  const pad = (cell: string, i: number) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0));
  return [HEAD, widths.map((width) => '-'.repeat(width)), ...rows].map((cells) => cells.map(pad).join('  ')).join('\n');
}
