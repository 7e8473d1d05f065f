import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReportData } from '@mobilequant/report';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';

const CALIBRATION = ['--calibration', 'calibration.txt', '--samples', '4', '--tokens', '16', '--threads', '1'];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-report-'));
  await writeTinyModel(join(directory, 'model'));
  await writeFile(join(directory, 'calibration.txt'), tinyText(400, 1));
  await writeFile(join(directory, 'test.txt'), tinyText(200, 2));
  for (const [recipe, out] of [
    ['w8a8', 'wide'],
    ['paper-w4a8', 'narrow'],
  ] as const) {
    const quantized = await mobilequant(
      ...['quantize', 'model', '--recipe', recipe, '--method', 'minmax', '--out', out],
      ...CALIBRATION,
    );
    expect(quantized.status).toBe(0);
  }
}, 300_000);

afterAll(() => rm(directory, { recursive: true, force: true }));

const mobilequant = (...args: string[]) => run(directory, args);
const page = (out: string): Promise<string> => readFile(join(directory, out, 'report.html'), 'utf8');
const headings = (html: string) => [...html.matchAll(/<h2 id="([^"]+)"/g)].map(([, id]) => id);

const MEASURE = ['--data', 'test.txt', '--tokens', '16', '--windows', '3', '--threads', '1', '--json'];

describe('report', { timeout: 300_000 }, () => {
  test('shows what directories say of themselves without running them', async () => {
    const done = await mobilequant('report', 'wide', '--compare', 'narrow', '--out', 'bare', '--json');
    expect(done).toMatchObject({ status: 0, reports: '' });
    const { file, models, ranges }: ReportData & { file: string } = JSON.parse(done.out);
    expect(file).toBe(join(directory, 'bare', 'report.html'));
    expect(models).toMatchObject([
      { name: 'wide', source: 'model', recipe: 'w8a8', method: 'minmax' },
      { name: 'narrow', recipe: 'paper-w4a8' },
    ]);
    for (const { weights, bytes } of models) expect(weights.reduce((sum, own) => sum + own.bytes, 0)).toBe(bytes);
    expect(models[1]?.weights.map(({ bits }) => bits)).toContain(4);
    expect(ranges?.find(({ site }) => site === 'mlp.w1.output')).toMatchObject({ before: [null, null] });
    const html = await page('bare');
    expect(headings(html)).toEqual(['summary', 'cost', 'ranges']);
    expect(html).toContain('wide is model quantized to w8a8 by minmax');
  });

  test('measures sites, and does not measure them again', async () => {
    const args = ['report', 'narrow', '--compare', 'wide', ...MEASURE, '--out', 'measured', '--reference', 'model'];
    const done = await mobilequant(...args, '--sensitivity', 'sites');
    expect(done).toMatchObject({ status: 0, reports: '' });
    const { models, noise, divergences, outliers, ranges, overrides }: ReportData = JSON.parse(done.out);

    const asked = ['evaluate', 'narrow', ...MEASURE, '--reference', 'model', '--divergence', 'kinds'];
    const alone = JSON.parse((await mobilequant(...asked)).out);
    expect(models[0].score).toMatchObject({
      perplexity: alone.tokenPerplexity,
      windows: 3,
      comparison: { with: 'reference', ratio: alone.comparison.ratio, agreement: alone.comparison.agreement },
    });
    expect(models[1]?.score?.comparison?.ratio).not.toBe(models[0].score?.comparison?.ratio);
    for (const { site, alone: found } of divergences?.kinds ?? [])
      expect(found).toBeCloseTo(alone.divergence.kinds[site], 9);
    expect(divergences?.kinds).toHaveLength(Object.keys(alone.divergence.kinds).length);

    // A single site costs less than its kind; left in float, the model is nearer to the float one.
    const { sites, whole } = divergences as NonNullable<typeof divergences>;
    const w1 = (rows: NonNullable<typeof sites>['alone'] = []) =>
      rows.find(({ site }) => site === 'mlp.w1.weight')?.layers;
    expect(w1(sites?.alone)).toHaveLength(2);
    expect(Math.min(...(w1(sites?.spared) as number[]))).toBeLessThan(sites?.whole as number);
    expect(whole).toBeGreaterThan(Math.max(...(w1(sites?.alone) as number[])));

    // What made no noise when it was rounded again is not measured: weights that lie on their grids.
    const rounded = await mobilequant(...['quantize', 'model', '--method', 'fast', '--out', 'rounded', ...CALIBRATION]);
    expect(rounded.status).toBe(0);
    const onGrids = ['report', 'rounded', ...MEASURE, '--out', 'on-grids', '--sensitivity', 'sites'];
    const { out, reports } = await mobilequant(...onGrids);
    expect(reports).toBe(
      'rounded: its float form has the weights of this directory, which were rounded; compare with --reference MODEL.',
    );
    const { divergences: few }: ReportData = JSON.parse(out);
    const singles = few?.sites?.alone.map(({ site }) => site);
    expect(singles).toContain('mlp.w1.output');
    expect(singles).not.toContain('mlp.w1.weight');

    expect(noise?.own.find(({ site }) => site === 'mlp.w1.output')?.layers.every((db) => (db as number) > 20)).toBe(
      true,
    );
    const [before] = ranges?.find(({ site }) => site === 'mlp.w1.output')?.before ?? [];
    expect(before?.max).toBeGreaterThan(before?.min as number);
    expect(outliers?.map(({ model }) => model)).toEqual(['the original model', 'the float form of narrow']);
    const [worst] = outliers?.[0]?.found ?? [];
    const text = await readFile(join(directory, 'test.txt'), 'utf8');
    expect(text).toContain(`${worst?.token.before}${worst?.token.text}${worst?.token.after}`);

    // What it suggests is a recipe that quantize takes, and that does what it says.
    const wider = overrides?.find(({ title }) => title.startsWith('8 bits for'));
    await writeFile(join(directory, 'wider.json'), JSON.stringify(wider?.recipe));
    const again = await mobilequant(
      ...['quantize', 'model', '--recipe', 'wider.json', '--method', 'minmax', '--out', 'wider'],
      ...CALIBRATION,
    );
    expect(again).toMatchObject({ status: 0, reports: '' });
    const bits = async (name: string): Promise<Record<string, { bits: number }>> =>
      JSON.parse(await readFile(join(directory, name, 'quantization.json'), 'utf8')).encodings;
    const [narrow, wide] = [await bits('narrow'), await bits('wider')];
    const changed = Object.keys(wide).filter((site) => wide[site]?.bits !== narrow[site]?.bits);
    expect(new Set(changed.map((site) => site.replace(/.*layers\.\d+\./, ''))).size).toBe(1);
    expect(changed.map((site) => wide[site]?.bits)).toEqual([8, 8]);

    expect(headings(await page('measured'))).toEqual([
      'summary',
      'cost',
      'sensitivity',
      'noise',
      'ranges',
      'outliers',
      'overrides',
    ]);
    const second = await mobilequant(...args, '--sensitivity', 'sites');
    expect(second.statuses).toEqual(['signal to noise']); // no progress: nothing was computed
    expect(second.out).toBe(done.out);
    const other = await mobilequant(...args, '--windows', '2', '--sensitivity', 'none');
    expect(other.status).toBe(2); // given twice
  });

  test('takes results of evaluate, and refuses what is none', async () => {
    const { out } = await mobilequant('evaluate', 'wide', ...MEASURE, '--form', 'integer', '--compare', 'float');
    await writeFile(join(directory, 'wide.json'), out);
    const done = await mobilequant('report', 'wide', '--results', 'wide.json', '--out', 'given', '--json');
    const { tokenPerplexity, comparison } = JSON.parse(out);
    expect(JSON.parse(done.out).models[0].score).toMatchObject({
      form: 'integer',
      perplexity: tokenPerplexity,
      comparison: { with: 'float', divergence: comparison.divergence },
    });

    await writeFile(join(directory, 'bad.json'), JSON.stringify({ form: 'float', tokenPerplexity: '<b>' }));
    const bad = await mobilequant('report', 'wide', '--results', 'bad.json', '--out', 'given');
    expect(bad).toMatchObject({
      status: 1,
      reports: expect.stringContaining(`expected a number 'tokenPerplexity', got "<b>"`),
    });
  });

  test('writes to a directory of its own, and wants a quantized model', async () => {
    const taken = await mobilequant('report', 'wide', '--out', 'model');
    expect(taken).toMatchObject({ status: 1, reports: expect.stringContaining('one with a report') });
    const float = await mobilequant('report', 'model', '--out', 'never');
    expect(float).toMatchObject({ status: 1, reports: expect.stringContaining('Run `mobilequant quantize` first') });
    const blind = await mobilequant('report', 'wide', '--reference', 'model', '--out', 'never');
    expect(blind).toMatchObject({ status: 2, reports: expect.stringContaining('--reference: expected --data') });
  });
});
