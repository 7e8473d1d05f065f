/** What the records of a run come to: metrics of tasks, of groups of tasks, and how long it took. */
import type { ItemRecord } from './evaluate-block.ts';
import { type ItemValue, type MetricName, type MetricResult, meanResult, metricOf, pooled } from './metrics.ts';
import type { TaskGroup } from './task.ts';

/** A task as far as counting is concerned. */
export interface CountedTask {
  readonly name: string;
  readonly version: number;
  readonly metrics: readonly MetricName[];
}

export interface TaskResult {
  readonly version?: number;
  readonly items: number;
  /** Items whose beginning was cut off. */
  readonly cut?: number;
  readonly metrics: Readonly<Partial<Record<MetricName, MetricResult>>>;
}

/** Time of an item; alone only if blocks are of one item. */
export interface TaskTiming {
  readonly secondsPerItem: number;
  readonly standardError?: number;
}

export interface Summary {
  readonly results: Readonly<Record<string, TaskResult>>;
  readonly timing: Readonly<Record<string, TaskTiming>>;
}

/** Counts records, in whatever order they are. Tasks without any are left out, and groups of none but such. */
export function summarize(
  tasks: readonly CountedTask[],
  groups: readonly TaskGroup[],
  records: readonly ItemRecord[],
): Summary {
  const results: Record<string, TaskResult> = {};
  const timing: Record<string, TaskTiming> = {};
  for (const { name, version, metrics } of tasks) {
    const own = records.filter(({ task }) => task === name).sort((a, b) => a.item - b.item);
    if (own.length === 0) continue;
    const cut = own.filter((record) => record.cut !== undefined).length;
    results[name] = {
      version,
      items: own.length,
      ...(cut > 0 && { cut }),
      metrics: Object.fromEntries(
        metrics.map((metric) => [
          metric,
          metricOf(
            metric,
            own.map(({ values }) => values[metric] as ItemValue),
          ),
        ]),
      ),
    };
    const { value, standardError } = meanResult(own.map(({ seconds }) => seconds));
    timing[name] = { secondsPerItem: value, ...(standardError !== undefined && { standardError }) };
  }
  for (const { name, tasks: members, metrics } of groups) {
    const own = members.flatMap((member) => results[member] ?? []);
    if (own.length === 0) continue;
    results[name] = {
      items: own.reduce((total, { items }) => total + items, 0),
      metrics: Object.fromEntries(
        metrics.map((metric) => [
          metric,
          pooled(own.map(({ items, metrics }) => ({ items, ...(metrics[metric] as MetricResult) }))),
        ]),
      ),
    };
  }
  return { results, timing };
}
