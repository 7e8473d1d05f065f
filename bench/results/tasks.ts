/** What the name of a task stands for, what the task is known by, and what a run of it came to. */
import { type CountedTask, type MetricName, type RunResult, selectTasks } from '@mobilequant/evaluator';
import { readTaskData } from 'mobilequant';
import { hashOf, type TaskResult } from './record.ts';

/** A hash of the definitions that a name stands for; not of where their items can be fetched from, whose contents are known by their own hashes. */
export function taskMeaning(name: string): string {
  const { tasks, ...others } = selectTasks([name]);
  return hashOf({ tasks: tasks.map(({ hub: _, ...task }) => task), ...others });
}

/** The task or group of a name, under which its metrics are counted. */
function countedTask(given: string): Pick<CountedTask, 'name' | 'metrics'> {
  const { tasks, groups } = selectTasks([given]);
  return groups.find(({ name }) => name === given) ?? (tasks[0] as CountedTask);
}

/** Metrics beside which others of the same answers say nothing more. */
const STANDS_FOR: Readonly<Partial<Record<MetricName, readonly MetricName[]>>> = {
  acc_norm: ['acc'],
  word_perplexity: ['byte_perplexity', 'bits_per_byte', 'token_perplexity'],
};

/**
 * What a task is known by.
 *
 * @example
 * mainMetrics('arc_challenge'); // => ['acc_norm']
 */
export function mainMetrics(name: string): MetricName[] {
  const { metrics } = countedTask(name);
  return metrics.filter((metric) => !metrics.some((other) => STANDS_FOR[other]?.includes(metric)));
}

/** What `evaluate --tasks NAME --json` printed, as far as it is kept. */
export function taskResultOf({ results, tokens, harness }: RunResult, name: string): Omit<TaskResult, Cost> {
  const { items, cut, metrics } = results[countedTask(name).name] as RunResult['results'][string];
  return { items, ...(cut !== undefined && { cut }), metrics, tokens, harness };
}

type Cost = 'seconds' | 'peak';

const hashes = new Map<string, Promise<Readonly<Record<string, string>>>>();

/**
 * SHA-256 of each file that a task's items come from. Computed once.
 *
 * @throws TaskError for files that are missing or hold no items.
 */
export function taskHashes(name: string, directory: string): Promise<Readonly<Record<string, string>>> {
  const key = `${name} ${directory}`;
  const known =
    hashes.get(key) ?? readTaskData(directory, selectTasks([name]).tasks, false).then((data) => data.hashes);
  hashes.set(key, known);
  return known;
}
