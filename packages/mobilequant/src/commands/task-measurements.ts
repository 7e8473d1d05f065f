/** `mobilequant evaluate --tasks`: a model on the tasks of lm-evaluation-harness. */
import { readFile } from 'node:fs/promises';
import {
  alignedTable,
  blocksOf,
  formatNumber,
  HARNESS,
  parseTask,
  type RunHeader,
  type RunResult,
  resultOf,
  selectTasks,
  type Task,
  TaskError,
  taskNames,
} from '@mobilequant/evaluator';
import { checkStopped, pathFrom, StoppedError, type Surroundings } from '../command.ts';
import { evaluateTasks } from '../evaluate-tasks.ts';
import { flag, integer, type Option, type OptionValues, text, UsageError } from '../options.ts';
import { downloadTo, duration } from '../progress.ts';
import { readTaskData } from '../task-data.ts';
import { toolVersion } from '../version.ts';
import { findModel, tokenizerAt } from './find-model.ts';
import { shardFrom } from './shard.ts';
import { type SubjectValues, subjectOf } from './task-subject.ts';

/** Options of `evaluate` that tasks need. */
export const taskOptions: {
  readonly tasks: Option<string | undefined>;
  readonly 'data-dir': Option<string | undefined>;
  readonly hub: Option<boolean>;
  readonly limit: Option<number | undefined>;
  readonly fewshot: Option<number | undefined>;
  readonly seed: Option<number | undefined>;
  readonly block: Option<number | undefined>;
  readonly records: Option<string | undefined>;
  readonly shard: Option<string | undefined>;
  readonly server: Option<string | undefined>;
  readonly 'server-model': Option<string | undefined>;
  readonly onnx: Option<string | undefined>;
} = {
  tasks: text('NAME|FILE,…', `${taskNames.join(', ')}, a subject as mmlu_anatomy, or tasks in JSON`, undefined),
  'data-dir': text('DIR', 'tasks: where their data is', undefined),
  hub: flag('tasks: fetch data that --data-dir lacks from the Hugging Face hub, and keep it there'),
  limit: integer('N', 'tasks: items of each, from the first (default: all)', 1, undefined),
  fewshot: integer('N', 'tasks: solved items before each (default 0)', 0, undefined),
  seed: integer('S', 'tasks: of the solved items that are drawn (default 1234)', 0, undefined),
  block: integer('N', 'tasks: items scored together; 1 to time each alone (default 16)', 1, undefined),
  records: text('FILE', 'tasks: what each item came to, as JSON lines; a run goes on from there', undefined),
  shard: text('I/N', 'tasks: only every Nth block from the Ith, counted from 0, for merge', undefined),
  server: text(
    'URL',
    'tasks: measure what an OpenAI-compatible server has (http://HOST/v1); DIR is its tokenizer',
    undefined,
  ),
  'server-model': text('NAME', 'tasks: what the server calls it', undefined),
  onnx: text('FILE', 'tasks: measure this file, whoever exported it; DIR is its tokenizer', undefined),
};

type TaskValues = OptionValues<typeof taskOptions> & SubjectValues & { readonly json: boolean };

/** Measures, and prints what it came to. */
export async function measureTasks(values: TaskValues, name: string, surroundings: Surroundings): Promise<void> {
  const { limit, fewshot = 0, seed = 1234, block = 16, json } = values;
  const { print, report, status, signal } = surroundings;
  const shard = values.shard === undefined ? undefined : shardFrom(values.shard);
  if (values['data-dir'] === undefined) throw new UsageError('--data-dir: expected DIR, got nothing. Tasks need data.');
  if (shard && values.records === undefined)
    throw new UsageError('--records: expected FILE, got nothing. A shard is worth something in a file, for merge.');
  const chosen = await tasksFrom(values.tasks ?? '', surroundings);
  const isTokenizer = values.server !== undefined || values.onnx !== undefined; // DIR is no more than that
  const place = await findModel(name, isTokenizer ? 'float' : values.form, surroundings);
  const dataDirectory = pathFrom(surroundings, values['data-dir']);
  const onProgress = downloadTo(surroundings);
  const data = await readTaskData(dataDirectory, chosen.tasks, fewshot > 0, values.hub ? { hub: { onProgress } } : {});
  const coder = await tokenizerAt(place.path);
  const blocks = blocksOf(data.tasks, { limit, fewshot, seed, size: block });

  const { model, tokens, open } = await subjectOf(values, place, surroundings);
  const header: RunHeader = {
    mobilequant: toolVersion(),
    harness: HARNESS,
    model,
    tokens,
    fewshot,
    seed,
    ...(limit !== undefined && { limit }),
    block,
    data: data.hashes,
    tasks: data.tasks.map(({ task: { name, version, metrics }, items }) => ({
      name,
      version,
      metrics,
      items: Math.min(items.length, limit ?? items.length),
    })),
    groups: chosen.groups,
    ...(shard && { shard }),
  };
  const { scorer, release } = await open();
  const records = values.records === undefined ? undefined : pathFrom(surroundings, values.records);
  const start = performance.now();
  let begun: number | undefined; // items that were there already
  try {
    const found = await evaluateTasks(
      { header, blocks, scorer, coder },
      {
        records,
        onItems(task, done, total) {
          if (signal.aborted && done < total)
            throw new StoppedError(records ? `stopped; ${records} has ${done} of ${total} items.` : undefined);
          checkStopped(signal);
          begun ??= done;
          const each = (performance.now() - start) / 1000 / (done - begun);
          const left = done > begun && done < total ? `, ${duration(each * (total - done))} left` : '';
          status(`${task}: ${done} of ${total} items${left}`);
        },
      },
    );
    const result = resultOf(found);
    for (const [task, { cut, items }] of Object.entries(result.results))
      if (cut)
        report(`${task}: ${cut} of ${items} items are longer than ${tokens} tokens; their beginnings were cut off.`);
    print(json ? JSON.stringify(result) : describeResult(result));
  } finally {
    await release?.();
  }
}

/** A run's metrics, one a line. */
export function describeResult({ results, timing }: RunResult): string {
  const rows = Object.entries(results).flatMap(([task, { items, metrics }]) =>
    Object.entries(metrics).map(([metric, { value, standardError }], i) => ({
      name: i === 0 ? task : '',
      cells: [
        i === 0 ? items : '',
        metric,
        value,
        standardError === undefined ? '' : `± ${formatNumber(standardError)}`,
      ],
    })),
  );
  const seconds = Object.entries(timing).reduce((sum, [task, { secondsPerItem }]) => {
    return sum + secondsPerItem * (results[task]?.items ?? 0);
  }, 0);
  const table = alignedTable({ corner: 'task', columns: ['items', 'metric', 'value', 'error'], rows });
  return `${table}\n\n${duration(seconds)}`;
}

/** Tasks by name, and those of JSON files. */
async function tasksFrom(given: string, surroundings: Surroundings): Promise<ReturnType<typeof selectTasks>> {
  const own: Task[] = [];
  const names: string[] = [];
  for (const word of given.split(',')) {
    if (word.endsWith('.json')) {
      const task = parseTask(await jsonOf(pathFrom(surroundings, word), word), word);
      own.push(task);
      names.push(task.name);
    } else names.push(word);
  }
  return selectTasks(names, own);
}

async function jsonOf(path: string, name: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new TaskError(name, 'a file', cause.code === 'ENOENT' ? 'no such file' : String(cause), 'Check the path.', {
      cause,
    });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TaskError(name, 'JSON', text.slice(0, 40), 'Correct it.', { cause });
  }
}
