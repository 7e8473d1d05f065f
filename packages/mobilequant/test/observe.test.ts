/** Observation in shards: what comes of them is what one machine finds. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Outcome, run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';
const CALIBRATION = ['--calibration', 'text.txt', '--samples', '5', '--tokens', '16', '--seed', '3'];
const mobilequant = async (...args: readonly string[]): Promise<Outcome> => run(directory, args);
const done = async (...args: readonly string[]): Promise<void> => {
  const { status, reports } = await mobilequant(...args);
  expect([status, reports]).toEqual([0, '']);
};
const contents = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');
const quantized = async (name: string): Promise<string[]> =>
  Promise.all(['model.safetensors', 'quantization.json'].map((file) => contents(join(name, file))));

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-observe-'));
  await writeTinyModel(join(directory, 'model'));
  await writeFile(join(directory, 'text.txt'), tinyText(400, 2));
  for (const shard of [0, 1])
    await done('observe', 'model', ...CALIBRATION, '--shard', `${shard}/2`, '--out', `part-${shard}.json`);
  await cp(join(directory, 'part-1.json'), join(directory, 'copy.json'));
});
afterAll(() => rm(directory, { recursive: true }));

describe('parts come to the model of the whole', () => {
  const both = ['part-1.json', 'part-0.json'];
  const observed = async (how: readonly string[]): Promise<string[]> => {
    const files = [2, 0, 1].map((shard) => `${how.length}-${shard}.json`);
    for (const [shard, file] of files.entries())
      await done('observe', 'model', ...CALIBRATION, ...how, '--shard', `${shard}/3`, '--out', file);
    return files;
  };
  const quantize = async (how: readonly string[], files: readonly string[]): Promise<string[]> => {
    const given = files.length > 0 ? ['--observed', ...files] : [];
    const status = await mobilequant('quantize', 'model', ...CALIBRATION, ...how, ...given, '--out', 'quantized');
    expect([status.status, status.reports]).toEqual([0, expect.not.stringContaining('expected')]);
    return quantized('quantized');
  };

  test('as they are and merged', async () => {
    const whole = await quantize([], []);
    expect(await quantize([], both)).toEqual(whole);
    await done('merge', ...both, '--out', 'all.json');
    expect(await quantize([], ['all.json'])).toEqual(whole);
  });

  test.each([
    ['by the loss', ['--ranges', 'loss']],
    ['by extremes, with a budget', ['--ranges', 'minmax', '--budget', '0.2', '--rounding', 'nearest']],
  ])('with ranges %s', async (_, how) => {
    expect(await quantize(how, await observed(how))).toEqual(await quantize(how, []));
  });
});

describe('mistakes', () => {
  const quantize = (...args: readonly string[]) => mobilequant('quantize', 'model', ...args, '--out', 'never');

  test.each([
    [
      'a part that is missing',
      [...CALIBRATION, '--observed', 'part-1.json'],
      'expected all of 2 parts, got none of 0.',
    ],
    [
      'a part twice',
      [...CALIBRATION, '--observed', 'part-1.json', 'copy.json'],
      'copy.json: expected each part once, got part 1',
    ],
    [
      'another text',
      ['--calibration', 'text.txt', '--samples', '4', '--tokens', '16', '--observed', 'part-0.json', 'part-1.json'],
      'expected one of this model, plan and text',
    ],
    [
      'a method of the paper',
      [...CALIBRATION, '--method', 'minmax', '--observed', 'part-0.json'],
      "--observed: expected a preset as --method, got 'minmax'.",
    ],
    ['another kind of file', [...CALIBRATION, '--observed', 'text.txt'], 'text.txt: expected JSON'],
  ])('%s', async (_, args, message) => {
    const { status, reports } = await quantize(...args);
    expect(status).not.toBe(0);
    expect(reports).toContain(message);
  });

  test('a damaged file is refused, whatever was changed', async () => {
    const whole = JSON.parse(await contents('part-0.json'));
    const [site] = Object.keys(whole.sites).filter((name) => whole.sites[name].histogram);
    const changes: ((json: typeof whole) => void)[] = [
      (json) => delete json.fingerprint,
      (json) => (json.parts = [2]),
      (json) => (json.prefix = [-1]),
      (json) => (json.count = 0),
      (json) => (json.sites = []),
      (json) => (json.sites[site as string].min = null),
      (json) => json.sites[site as string].histogram.bins.reverse(),
      (json) => (json.sites[site as string].histogram.bins[0] = 65536),
      (json) => (json.sites[site as string].histogram.counts[0] = 0.5),
      (json) => json.sites[site as string].histogram.counts.pop(),
      (json) => (json.sites[site as string].histogram.total += 1),
    ];
    for (const change of changes) {
      const json = structuredClone(whole);
      change(json);
      await writeFile(join(directory, 'damaged.json'), JSON.stringify(json));
      const { status, reports } = await quantize(...CALIBRATION, '--observed', 'damaged.json', 'part-1.json');
      expect([status, reports]).toEqual([1, expect.stringContaining('damaged.json: expected ')]);
    }
  });

  test('an observation and records of an evaluation are not merged', async () => {
    await writeFile(join(directory, 'records.jsonl'), '{"mobilequant":"0"}\n');
    const { status, reports } = await mobilequant('merge', 'part-0.json', 'records.jsonl', '--out', 'never.json');
    expect([status, reports]).toEqual([1, expect.stringContaining("records.jsonl: expected the kind 'observation'")]);
    expect((await mobilequant('merge', 'part-0.json')).reports).toContain('--out: expected FILE, got nothing.');
  });
});
