import { expect, test } from 'vitest';
import type { ModelEntry } from './config.ts';
import { askedOf, taskRowsOf, tasksOf } from './jobs.ts';
import { resultsMarkdown } from './markdown.ts';
import type { QuantizationRecord, ResultRecord, TaskRecord } from './record.ts';
import type { Width } from './rows.ts';
import { plusMinus } from './tasks-markdown.ts';

const entry: ModelEntry = {
  name: 'small',
  model: '$models/small',
  calibration: { data: '$data/valid.txt', samples: 4, tokens: 64 },
  texts: [{ name: 'prose', data: '$data/prose.txt', tokens: 11 }],
  tasks: {
    data: '$data',
    limits: { wikitext: 3, arc_challenge: 20, lambada_openai: 20 },
    rows: ['paper-minmax', 'fast', 'best'],
  },
};
const made = { date: '2025-01-01', commit: 'abc', node: '24', onnxruntime: '1', machine: 'M', threads: 2, load: 0 };
const written = (records: readonly ResultRecord[], limit?: number, model = entry) =>
  resultsMarkdown({ models: [model] }, records, new Map(), { limit });

const asked = (name: string, width: Width) => {
  const row = taskRowsOf(entry).find((candidate) => candidate.name === name);
  return row ? askedOf(entry, row, width) : expect.fail(`no row ${name}`);
};

/** A measurement of the float model, or of a row's quantization. */
function measured(
  task: string,
  metrics: TaskRecord['result']['metrics'],
  { row, limit, cut }: { row?: readonly [string, Width]; limit?: number; cut?: number } = {},
): TaskRecord {
  const own = tasksOf(entry, limit === undefined ? {} : { limit }, row && asked(...row)).find(
    (one) => one.task.name === task,
  );
  if (!own) return expect.fail(`no task ${task}`);
  const result = { items: own.task.limit, metrics, tokens: 2048, harness: 'lm_eval 1', seconds: 90, peak: 1e9 };
  return { kind: 'task', asked: own, subject: {}, made, result: { ...result, ...(cut !== undefined && { cut }) } };
}

const quantized: QuantizationRecord = {
  kind: 'quantization',
  asked: asked('fast', 'W4A8'),
  subject: {},
  made,
  result: { seconds: 600, peak: 1e9, prefix: [], size: 5 },
};
const acc = (value: number, standardError: number) => ({
  acc: { value: 0.9, standardError: 0.1 },
  acc_norm: { value, standardError },
});
const records: ResultRecord[] = [
  measured('wikitext', { word_perplexity: { value: 33.98, standardError: 6.26 } }, { cut: 1 }),
  measured('arc_challenge', acc(0.3, 0.1051)),
  measured('lambada_openai', {
    perplexity: { value: 54.84, standardError: 12.4 },
    acc: { value: 0.31, standardError: 0.0465 },
  }),
  quantized,
  measured('arc_challenge', acc(0.25, 0.0993), { row: ['fast', 'W4A8'] }),
  measured('arc_challenge', acc(0.2, 0.0918), { row: ['paper-minmax', 'W8A8'] }),
];

test('one table: the float model, then the rows of each width, with items, standard errors and time', () => {
  const document = written(records);
  expect(document.slice(document.indexOf('### Tasks'))).toMatchInlineSnapshot(`
    "### Tasks

    The first items of each task, for MMLU of each subject, counted as lm_eval 1 counts them, texts of 2048 tokens at most. The quantized models are simulated.

    ± is a standard error. So few items tell only gross differences: one of less than two or three such errors tells nothing. Of a perplexity less is better, of acc (the share of right answers) more.

    **time** is that of measuring, each task in a process of its own. Measuring the table took 8 min, quantizing 10 min.

    |  | recipe | wikitext, word_perplexity | arc_challenge, acc_norm | lambada_openai, perplexity | lambada_openai, acc | time |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: |
    | items |  | 3 (1 cut) | 20 | 20 | 20 |  |
    | float |  | 34.0 ± 6.3 | 0.30 ± 0.11 | 55 ± 12 | 0.310 ± 0.046 | 5 min |
    | **W8A8** |  |  |  |  |  |  |
    | min-max | paper-w8a8 | – | 0.200 ± 0.092 | – | – | 2 min |
    | **W4A8** |  |  |  |  |  |  |
    | fast | w4a8 | – | 0.250 ± 0.099 | – | – | 2 min |
    "
  `);
});

test('the section follows what was measured with as many items', () => {
  expect(written([])).not.toContain('### Tasks');
  expect(written(records, 2)).not.toContain('### Tasks');
  const few = measured('arc_challenge', acc(0.5, 0.2), { limit: 10 });
  expect(written([...records, few], 10)).toContain('| float |  | 34.0 ± 6.3 | 0.50 ± 0.20 | – | – | 3 min |');
  const { tasks, ...without } = entry;
  expect(written(records, undefined, without)).not.toContain('### Tasks');
});

test('a record of a task that was defined otherwise does not answer', () => {
  const older = records.map((record) =>
    record.kind === 'task' ? { ...record, asked: { ...record.asked, meaning: 'older' } } : record,
  );
  expect(written(older)).not.toContain('### Tasks');
});

test('a value has as many digits as its error says it is worth', () => {
  expect(plusMinus({ value: 0.31, standardError: 0.04648 })).toBe('0.310 ± 0.046');
  expect(plusMinus({ value: 33.98, standardError: 6.26 })).toBe('34.0 ± 6.3');
  expect(plusMinus({ value: 15234.2, standardError: 3120.4 })).toBe('15234 ± 3120');
  expect(plusMinus({ value: 138940, standardError: 31527864.5 })).toBe('138940 ± 3.15e+7');
  expect(plusMinus({ value: 0, standardError: 0 })).toBe('0 ± 0');
  expect(plusMinus({ value: 1 / 3 })).toBe('0.3333'); // of one item
  expect(plusMinus(undefined)).toBeUndefined();
});
