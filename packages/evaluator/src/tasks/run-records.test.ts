import { expect, test } from 'vitest';
import { parseRecords } from './run-records.ts';

const header = {
  harness: 'v0',
  groups: [],
  tasks: [
    { name: 'one', metrics: ['acc'], items: 1 },
    { name: 'two', metrics: ['word_perplexity'], items: 1 },
  ],
};
const record = (task: string, values: unknown) => ({ task, item: 0, values, logLikelihoods: [], seconds: 1 });
const parse = (...lines: readonly unknown[]) =>
  parseRecords(lines.map((line) => `${JSON.stringify(line)}\n`).join(''), 'run');

test('records hold the values of their task’s metrics', () => {
  expect(parse(header, record('one', { acc: 1 }), record('two', { word_perplexity: [-3, 2] })).records).toHaveLength(2);
});

test.each([
  record('one', {}),
  record('one', { acc: null }),
  record('one', { acc: '1' }),
  record('two', { word_perplexity: [-3] }),
  record('two', { word_perplexity: [-3, 'x'] }),
  record('three', { acc: 1 }),
])('a record without them is refused: %o', (wrong) => {
  expect(() => parse(header, wrong)).toThrow('run, line 2: expected an item');
});

test('a run with a metric that there is not is refused', () => {
  for (const name of ['f1', 'constructor'])
    expect(() => parse({ ...header, tasks: [{ name: 'one', metrics: [name], items: 1 }] })).toThrow(
      'run: expected what a run was',
    );
});
