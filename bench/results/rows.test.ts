import { presetPlan } from '@mobilequant/calibration';
import { recipeByName, recipes } from '@mobilequant/quantizer';
import { runCommandLine } from 'mobilequant';
import { expect, test } from 'vitest';
import { quantizeArguments } from './jobs.ts';
import { ROW_GROUPS, ROW_NAMES, WIDTHS, type Width, wayOf } from './rows.ts';

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

/** All steps of a row, those of its preset included. */
function stepsOf(name: string, width: Width): Record<string, string | number> {
  const { recipe, method, options } = wayOf(rowOf(name), width);
  if (method !== 'fast' && method !== 'best') return expect.fail(`${name} is no preset`);
  const { transform, ranges, rounding, tuning, learnedRounding } = presetPlan(method, recipeByName(recipe), {
    outputNorms: false,
  });
  const learned = tuning > 0 ? learnedRounding : 0; // rounding is learned while tuning
  const plan: Record<string, string | number> = {
    recipe,
    prefix: 'searched',
    transform,
    ranges,
    rounding,
    tuning,
    'learned-rounding': learned,
  };
  return { ...plan, ...options };
}

const changes = (a: Record<string, unknown>, b: Record<string, unknown>): string[] =>
  Object.keys(a).filter((step) => a[step] !== b[step]);

test('an addition alone changes one step, for ranges beside the prefix that they need', () => {
  for (const width of WIDTHS) {
    const changed = (name: string) => changes(stepsOf('none', width), stepsOf(name, width));
    expect(changed('prefix')).toEqual(['prefix']);
    expect(changed('percentile')).toEqual(['prefix', 'ranges']);
    for (const name of ['scales', 'rotation']) expect(changed(name)).toEqual(['transform']);
    expect(changed('gptq')).toEqual(['rounding']);
    expect(changed('tuning')).toEqual(['tuning']);
    expect(changed('sites')).toEqual(['recipe']);
  }
});

test('additions upon each other change one step each, and tuning how much is looked at', () => {
  const order = [
    'none',
    'prefix',
    'percentile',
    'sum-sites',
    'sum-rotation',
    'sum-pairs',
    'sum-gptq',
    'sum-loss',
    'sum-tuning',
  ];
  for (const width of WIDTHS) {
    const steps = [...order, 'sum-learned-rounding'].map((name) => stepsOf(name, width));
    const changed = steps.slice(1).map((step, i) => changes(steps[i] ?? {}, step).join());
    const wanted = [
      'prefix',
      'ranges',
      'recipe',
      'transform',
      'transform',
      'rounding',
      'ranges',
      'tuning,samples',
      'learned-rounding',
    ];
    expect(changed).toEqual(wanted);
  }
});

test('what a preset does by itself is not said, so a row that comes to a preset is that preset', () => {
  const { transform, rounding } = presetPlan('best', recipes.w4a8, { outputNorms: false });
  const row = { ...rowOf('best'), name: 'same', options: { transform, rounding } };
  expect(wayOf(row, 'W4A8')).toEqual(wayOf(rowOf('best'), 'W4A8'));
  expect(wayOf({ ...row, options: { transform: 'none', rounding } }, 'W4A8').options).toEqual({ transform: 'none' });
});

test('the command line understands what every row tells it', async () => {
  const calibration = { data: 'text.txt', samples: 2, tokens: 8, options: { epochs: 1 } };
  for (const row of rows)
    for (const width of WIDTHS) {
      const args = quantizeArguments(
        { model: 'm', ...wayOf(row, width), meaning: '', calibration },
        { calibration: 'text.txt', learn: 'other.txt' },
      );
      const said: string[] = [];
      const nowhere = { print: () => {}, status: () => {}, directory: '/', signal: new AbortController().signal };
      const surroundings = { ...nowhere, report: (line: string) => said.push(line) };
      const status = await runCommandLine(['quantize', 'no-such-model', ...args, '--out', 'out'], surroundings);
      expect([status, said.join()]).toEqual([1, expect.stringContaining('no-such-model')]); // misuse would be 2
    }
});
