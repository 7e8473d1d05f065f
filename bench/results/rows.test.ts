import { recipes } from '@mobilequant/quantizer';
import { runCommandLine } from 'mobilequant';
import { expect, test } from 'vitest';
import { quantizeArguments } from './jobs.ts';
import { ROW_GROUPS, ROW_NAMES, WIDTHS, wayOf } from './rows.ts';

const rows = ROW_GROUPS.flatMap((group) => group.rows);
const rowOf = (name: string) => rows.find((row) => row.name === name) ?? expect.fail(`no row ${name}`);

test('rows of one name ask for the same, so a name says what is measured', () => {
  for (const name of ROW_NAMES) {
    const same = rows.filter((row) => row.name === name);
    for (const width of WIDTHS) expect(new Set(same.map((row) => JSON.stringify(wayOf(row, width)))).size).toBe(1);
  }
});

test('every row has recipes that there are', () => {
  for (const row of rows) for (const width of WIDTHS) expect(recipes).toHaveProperty(wayOf(row, width).recipe);
});

test('an addition alone differs from no addition in one step, and the last sums are the presets', () => {
  const nothing = wayOf(rowOf('none'), 'W8A8').options;
  expect(nothing).toEqual({ prefix: 'none', transform: 'none', ranges: 'minmax', rounding: 'nearest' });
  expect(wayOf(rowOf('rotation'), 'W8A8').options).toEqual({ ...nothing, transform: 'rotation' });
  expect(wayOf(rowOf('prefix'), 'W4A8').options).not.toHaveProperty('prefix');
  expect(wayOf(rowOf('sum-rotation'), 'W8A8')).toEqual(wayOf(rowOf('fast'), 'W8A8'));
  expect(wayOf(rowOf('sum-gptq'), 'W4A8')).toEqual(wayOf(rowOf('fast'), 'W4A8'));
});

test('the command line understands what every row tells it', async () => {
  const calibration = { data: 'text.txt', samples: 2, tokens: 8, options: { epochs: 1 } };
  for (const row of rows)
    for (const width of WIDTHS) {
      const args = quantizeArguments(
        { model: 'm', ...wayOf(row, width), calibration },
        { calibration: 'text.txt', learn: 'other.txt' },
      );
      const said: string[] = [];
      const nowhere = { print: () => {}, status: () => {}, directory: '/', signal: new AbortController().signal };
      const surroundings = { ...nowhere, report: (line: string) => said.push(line) };
      const status = await runCommandLine(['quantize', 'no-such-model', ...args, '--out', 'out'], surroundings);
      expect([status, said.join()]).toEqual([1, expect.stringContaining('no-such-model')]); // misuse would be 2
    }
});
