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
  /** Mean latency of each run, where there were several. */
  readonly runs?: readonly number[];
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

/** One run of a graph: its inferences one behind the other. */
export interface GraphRun {
  /** Microseconds of each execution, in their order. */
  readonly executions: readonly number[];
  readonly accelerator?: readonly number[] | undefined;
  readonly operators?: readonly OperatorCost[];
  readonly power: BatteryPower;
}

export interface GraphMeasurement {
  readonly graph: string;
  readonly tokens: number;
  /** First executions of each run that are left out: they load and wake up. */
  readonly warmUp: number;
  readonly runs: readonly GraphRun[];
}

/** All inferences of all runs taken together. @throws DeviceError if no execution is left. */
export function graphResult({ graph, tokens, warmUp, runs }: GraphMeasurement): GraphResult {
  const inMilliseconds = (times: readonly number[]): number[] => times.slice(warmUp).map((time) => time / 1000);
  const measured = runs.map(({ executions }) => inMilliseconds(executions));
  const latency = summaryOf(measured.flat());
  const onNpu = runs.flatMap(({ accelerator = [] }) => inMilliseconds(accelerator));
  const operators = summedCosts(runs.flatMap(({ operators = [] }) => operators));
  const power = meanPower(runs.map((run) => run.power));
  const above = power.kind === 'known' ? power.running - power.idle : 0;
  return {
    graph,
    tokens,
    inferences: measured.flat().length,
    latency,
    ...(runs.length > 1 ? { runs: measured.map((times) => summaryOf(times).mean) } : {}),
    ...(onNpu.length > 0 ? { accelerator: summaryOf(onNpu) } : {}),
    tokensPerSecond: (1000 * tokens) / latency.mean,
    power,
    ...(above > 0 ? { energyPerToken: (above * latency.mean) / 1000 / tokens } : {}),
    ...(operators.length > 0 ? { operators } : {}),
  };
}

/** Of several runs; not known if that of one is not. */
function meanPower(powers: readonly BatteryPower[]): BatteryPower {
  const known = powers.flatMap((power) => (power.kind === 'known' ? [power] : []));
  const unknown = powers.find(({ kind }) => kind === 'unknown');
  if (unknown || known.length === 0) return unknown ?? { kind: 'unknown', reason: 'nothing ran' };
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    kind: 'known',
    idle: mean(known.map(({ idle }) => idle)),
    running: mean(known.map(({ running }) => running)),
    samples: known.reduce((sum, { samples }) => sum + samples, 0),
  };
}

/** Costs of the same operators together, the most expensive first. */
function summedCosts(costs: readonly OperatorCost[]): OperatorCost[] {
  const sums = new Map<string, OperatorCost>();
  for (const cost of costs) {
    const key = `${cost.id} ${cost.name}`;
    const { cycles, executions } = sums.get(key) ?? { cycles: 0, executions: 0 };
    sums.set(key, { ...cost, cycles: cycles + cost.cycles, executions: executions + cost.executions });
  }
  return [...sums.values()].sort((a, b) => b.cycles - a.cycles || a.id - b.id);
}

const HEAD = ['graph', 'tokens', 'inferences', 'mean ms', 'median ms', 'p90 ms', 'tokens/s', 'mJ/token'];

/** The result to read: Markdown for documents, aligned text for terminals. What is not known is –, with the reason below. */
export function benchmarkTable(
  { phone, soc, graphs }: BenchmarkResult,
  form: 'markdown' | 'text' = 'markdown',
): string {
  const rows = graphs.map((result) => {
    const { graph, tokens, inferences, latency, tokensPerSecond } = result;
    return [
      ...[graph, String(tokens), String(inferences), latencyOf(result)],
      ...[latency.median, latency.p90, tokensPerSecond].map(digits),
      energyOf(result),
    ];
  });
  const notes = graphs.flatMap(energyNote);
  return [`${phone} (${soc})`, '', table([HEAD, ...rows], form), ...(notes.length > 0 ? ['', ...notes] : [])].join(
    '\n',
  );
}

/** What several exports come to on one phone, a row each: latency, tokens a second and energy of every graph. */
export function comparisonTable(
  results: readonly { readonly name: string; readonly result: BenchmarkResult }[],
  form: 'markdown' | 'text' = 'markdown',
): string {
  const names = [...new Set(results.flatMap(({ result }) => result.graphs.map(({ graph }) => graph)))];
  const head = ['model', ...names.flatMap((name) => [`${name} ms`, `${name} tokens/s`, `${name} mJ/token`])];
  const rows = results.map(({ name, result }) => [
    name,
    ...names.flatMap((graph) => {
      const found = result.graphs.find((candidate) => candidate.graph === graph);
      return found ? [latencyOf(found), digits(found.tokensPerSecond), energyOf(found)] : ['–', '–', '–'];
    }),
  ]);
  const notes = results.flatMap(({ name, result }) =>
    result.graphs.flatMap(energyNote).map((note) => `${name}, ${note}`),
  );
  const phones = [...new Set(results.map(({ result: { phone, soc } }) => `${phone} (${soc})`))].join(', ');
  return [phones, '', table([head, ...rows], form), ...(notes.length > 0 ? ['', ...notes] : [])].join('\n');
}

/** The mean, and how far runs were apart from each other (standard deviation). */
function latencyOf({ latency, runs }: GraphResult): string {
  if (runs === undefined) return digits(latency.mean);
  const mean = runs.reduce((sum, run) => sum + run, 0) / runs.length;
  const variance = runs.reduce((sum, run) => sum + (run - mean) ** 2, 0) / (runs.length - 1);
  return `${digits(latency.mean)} ± ${digits(Math.sqrt(variance))}`;
}

const energyOf = ({ energyPerToken }: GraphResult): string =>
  energyPerToken === undefined ? '–' : digits(1000 * energyPerToken);

const energyNote = ({ graph, power, energyPerToken }: GraphResult): string[] =>
  energyPerToken !== undefined
    ? []
    : [`${graph}: no energy, ${power.kind === 'unknown' ? power.reason : 'no power above that of an idle phone'}.`];

const digits = (x: number): string => (x === 0 || x >= 1000 ? x.toFixed(0) : x.toPrecision(4));

function table(lines: readonly (readonly string[])[], form: 'markdown' | 'text'): string {
  const [head = [], ...rows] = lines;
  if (form === 'markdown') {
    const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
    return [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows].map(line).join('\n');
  }
  const widths = head.map((_, i) => Math.max(...lines.map((cells) => cells[i]?.length ?? 0)));
  const pad = (cell: string, i: number) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0));
  const rule = widths.map((width) => '-'.repeat(width));
  return [head, rule, ...rows].map((cells) => cells.map(pad).join('  ')).join('\n');
}
