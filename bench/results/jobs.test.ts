import { expect, test } from 'vitest';
import { type Config, ConfigError, checkConfig, type ModelEntry, pathOf, type TasksEntry } from './config.ts';
import { jobsOf, quantizeArguments } from './jobs.ts';
import type { AskedMeasurement, AskedText } from './record.ts';
import { everyDocument } from './source-file.ts';
import { timeLeft } from './time-left.ts';

const entry: ModelEntry = {
  name: 'small',
  model: '$models/small',
  calibration: { data: 'text.txt', samples: 4, tokens: 64, options: { epochs: 3, seed: 5 } },
  texts: [
    { name: 'one', data: 'one.txt', tokens: 64 },
    { name: 'two', data: 'two.txt', tokens: 64, windows: 8 },
  ],
  integer: ['fast'],
};
const config: Config = { models: [entry] };

const textOf = (asked: AskedMeasurement) => (asked as AskedText).text;

test('rows that ask for the same share one quantization and its measurements', () => {
  const both = { models: [{ ...entry, integer: ['best'] }] };
  const [jobs] = jobsOf(both, { only: ['sum-rotation', 'sum-tuning', 'best', 'none'] });
  const forms = jobs?.quantizations.map(({ asked, measurements }) => [
    asked.recipe,
    Object.keys(asked.options).length,
    measurements.map((asked) => `${asked.form} ${textOf(asked).name}`).join(),
  ]);
  const [simulated, integer] = ['simulated one,simulated two', 'integer one,integer two'];
  expect(forms).toEqual([
    ['w8a8-strict', 5, simulated], // asked for in two groups
    ['w4a8-strict', 5, simulated],
    ['w8a8', expect.any(Number), simulated],
    ['w4a8', expect.any(Number), simulated],
    ['w8a8', 0, `${simulated},${integer}`], // `best` and the sum of all its steps
    ['w4a8', 0, `${simulated},${integer}`],
  ]);
  expect(jobs?.floats).toHaveLength(2);
});

test('a row with as many samples as all others does not say so', () => {
  const optionsOf = (samples: number) =>
    jobsOf({ models: [{ ...entry, calibration: { ...entry.calibration, samples } }] }, { only: ['fast'] })
      .flatMap(({ quantizations }) => quantizations)
      .map(({ asked }) => asked.options);
  expect(optionsOf(32)).toEqual([{ samples: 16 }, { samples: 16 }]);
  expect(optionsOf(16)).toEqual([{}, {}]);
});

test('windows can be limited, never widened', () => {
  const [jobs] = jobsOf(config, { only: ['fast'], windows: 20 });
  expect(jobs?.floats.map((asked) => textOf(asked).windows)).toEqual([20, 8]);
  expect(jobsOf(config)[0]?.floats.map((asked) => textOf(asked).windows)).toEqual([undefined, 8]);
});

test('rows that need not be known so well have fewer windows, and the float model is measured on those too', () => {
  const [jobs] = jobsOf({ models: [{ ...entry, fewer: { windows: 4, rows: ['none'] } }] }, { only: ['none', 'fast'] });
  const windowsOf = (recipe: string) =>
    jobs?.quantizations
      .find(({ asked }) => asked.recipe === recipe)
      ?.measurements.filter(({ form }) => form === 'simulated')
      .map((asked) => textOf(asked).windows);
  expect([windowsOf('w8a8-strict'), windowsOf('w8a8')]).toEqual([
    [4, 4],
    [undefined, 8],
  ]);
  expect(jobs?.floats.map((asked) => textOf(asked).windows)).toEqual([undefined, 8, 4, 4]);
});

test('the simulated form of what is measured in integers can have fewer windows too', () => {
  const [jobs] = jobsOf({ models: [{ ...entry, compared: 6 }] }, { only: ['sites', 'fast'] });
  const windows = jobs?.quantizations.map(({ measurements }) =>
    measurements.map((asked) => `${asked.form} ${textOf(asked).windows}`),
  );
  const both = ['integer undefined', 'integer 8', 'simulated 6', 'simulated 6'];
  const simulated = ['simulated undefined', 'simulated 8'];
  expect(windows).toEqual([simulated, simulated, both, both]);
  expect(jobs?.floats.map((asked) => textOf(asked).windows)).toEqual([undefined, 8]);
});

const tasks: TasksEntry = {
  data: '$data',
  limits: { wikitext: 3, mmlu: 20 },
  rows: ['paper-minmax', 'fast'],
  form: 'integer',
};
const onTasks: Config = {
  models: [
    { ...entry, rows: ['fast', 'best'], tasks },
    { ...entry, name: 'without' },
  ],
};
const kindsOf = (all: readonly AskedMeasurement[] = []) =>
  all.map((asked) => `${asked.form} ${'task' in asked ? `${asked.task.name} ${asked.task.limit}` : asked.text.name}`);

test('rows are measured on tasks in one form, behind the texts, and need not be rows of the texts', () => {
  const [jobs] = jobsOf(onTasks, { widths: ['W8A8'] });
  expect(kindsOf(jobs?.floats)).toEqual(['float one', 'float two', 'float wikitext 3', 'float mmlu 20']);
  const byMethod = jobs?.quantizations.map(({ asked, measurements }) => [asked.method, kindsOf(measurements).join()]);
  const both = ['integer wikitext 3', 'integer mmlu 20'];
  expect(byMethod).toEqual([
    ['fast', ['integer one', 'integer two', 'simulated one', 'simulated two', ...both].join()],
    ['best', 'simulated one,simulated two'],
    ['minmax', both.join()],
  ]);
});

test('the table of tasks can be had alone, of fewer rows and items, and so can all that is without it', () => {
  const alone = jobsOf(onTasks, { on: 'tasks', only: ['fast'], widths: ['W4A8'], limit: 10 });
  expect(alone.map(({ entry }) => entry.name)).toEqual(['small']);
  expect(kindsOf(alone[0]?.floats)).toEqual(['float wikitext 3', 'float mmlu 10']);
  expect(
    alone[0]?.quantizations.map(({ asked, measurements }) => [asked.recipe, kindsOf(measurements).join()]),
  ).toEqual([['w4a8', 'integer wikitext 3,integer mmlu 10']]);
  const { tasks, ...plain } = onTasks.models[0] as ModelEntry;
  expect(jobsOf(onTasks, { on: 'texts' })[0]).toEqual({ ...jobsOf({ models: [plain] })[0], entry: onTasks.models[0] });
});

test('models and rows are chosen by the config, the command line, or both', () => {
  expect(jobsOf(config, { models: ['other'] })).toEqual([]);
  const few = { models: [{ ...entry, rows: ['fast', 'best'] }] };
  expect(jobsOf(few)[0]?.quantizations).toHaveLength(4);
  expect(jobsOf(few, { only: ['best', 'minmax'] })[0]?.quantizations).toHaveLength(2);
  const half = jobsOf(few, { only: ['best'], widths: ['W4A8'] })[0]?.quantizations;
  expect(half?.map(({ asked }) => asked.recipe)).toEqual(['w4a8']);
});

test('a row says more than the calibration does: each option is given once', () => {
  const asked = {
    model: 'm',
    recipe: 'r',
    method: 'fast',
    meaning: '',
    options: { epochs: 7 },
    calibration: entry.calibration,
  };
  expect(quantizeArguments(asked, { calibration: 'c.txt' }).join(' ')).toBe(
    '--recipe r --method fast --calibration c.txt --samples 4 --tokens 64 --epochs 7 --seed 5',
  );
});

test('folders have names in a config, and must be given', () => {
  expect(pathOf('$data/a/b.txt', { data: '/here' })).toBe('/here/a/b.txt');
  expect(pathOf('a/b.txt', {})).toBe('a/b.txt');
  expect(() => pathOf('$data/a', {})).toThrow('expected --path data=DIR');
});

test('a config without texts, with an unknown row or one name twice is refused', () => {
  for (const models of [[], [{ ...entry, texts: [] }], [{ ...entry, rows: ['fats'] }], [entry, entry]])
    expect(() => checkConfig({ models }, 'config')).toThrow(ConfigError);
  expect(checkConfig(config, 'config')).toBe(config);
});

test('tasks without items, with half an item or an unknown row are refused, and so is an unknown task', () => {
  const withTasks = (changed: Partial<TasksEntry>) => ({ models: [{ ...entry, tasks: { ...tasks, ...changed } }] });
  for (const changed of [{ limits: {} }, { limits: { mmlu: 0.5 } }, { limits: { mmlu: 0 } }, { rows: ['fats'] }])
    expect(() => checkConfig(withTasks(changed), 'config')).toThrow(ConfigError);
  expect(() => checkConfig(withTasks({ limits: { mmlu: 0.5 } }), 'config')).toThrow('got mmlu 0.5. Give "limits"');
  expect(() => checkConfig(withTasks({ limits: { mmul: 5 } }), 'config')).toThrow('mmul');
  expect(checkConfig(onTasks, 'config')).toBe(onTasks);
});

test('every third document is the first, the fourth, the seventh', () => {
  expect(everyDocument('a\nb\n\nc\nd\ne\n', 3)).toBe('a\nd');
});

test('what is left takes as long as what was of the same kind took', async () => {
  let clock = 0;
  const jobs = jobsOf({ models: [{ ...entry, rows: ['fast', 'strict-fast'], integer: [] }] });
  const left = timeLeft(jobs, () => clock);
  const take = (seconds: number) => async () => void (clock += seconds);
  expect(left.state()).toBe('0 of 14, more than 0.0 s left');
  for (const asked of jobs[0]?.floats ?? []) left.skip(asked);
  for (const { asked, measurements } of jobs[0]?.quantizations.slice(0, 2) ?? []) {
    await left.run(asked, take(100));
    for (const measurement of measurements) await left.run(measurement, take(20));
  }
  expect(left.state()).toBe('8 of 14, more than 80 s left'); // two kinds of recipes were not made yet
  const third = jobs[0]?.quantizations[2];
  if (third) await left.run(third.asked, take(50));
  expect(left.state()).toBe('9 of 14, more than 80 s left');
});

test('each task is a kind of its own, in each form', async () => {
  let clock = 0;
  const [jobs] = jobsOf(onTasks, { on: 'tasks', only: ['fast'] });
  const left = timeLeft(jobs ? [jobs] : [], () => clock);
  const take = (seconds: number) => async () => void (clock += seconds);
  const [wikitext, mmlu] = jobs?.floats ?? [];
  const [first] = jobs?.quantizations ?? [];
  if (!wikitext || !mmlu || !first) return expect.fail('too few jobs');
  await left.run(wikitext, take(1000));
  left.skip(mmlu);
  await left.run(first.asked, take(5));
  for (const [i, measurement] of first.measurements.entries()) await left.run(measurement, take(10 + 30 * i));
  expect(left.state()).toBe('5 of 8, more than 50 s left'); // 10 s and 40 s, and another recipe
});
