/** `mobilequant lint` on what was exported, whole and broken. */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initializer } from '@mobilequant/graph';
import { readModel, writeModel } from '@mobilequant/graph/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';
const at = (...parts: string[]) => join(directory, ...parts);
const mobilequant = (...args: string[]) => run(directory, args);
const SIZE = ['--tokens', '12', '--context', '16'];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-lint-'));
  await writeTinyModel(at('model'));
  await writeFile(at('text.txt'), tinyText(600, 1));
  const calibration = ['--calibration', 'text.txt', '--samples', '3', '--tokens', '24', '--threads', '1'];
  for (const args of [
    ['quantize', 'model', '--recipe', 'w8a8', '--method', 'minmax', '--out', 'quantized', ...calibration],
    ['export', 'quantized', '--target', 'qnn-encodings', '--encodings-version', '2.0.0', '--out', 'encodings', ...SIZE],
    ['export', 'quantized', '--target', 'qnn-qdq', '--out', 'npu', ...SIZE],
    ['export', 'quantized', '--out', 'onnx', '--tokens', '12'],
  ])
    expect(await mobilequant(...args)).toMatchObject({ status: 0, reports: '' });
});
afterAll(() => rm(directory, { recursive: true, force: true }));

test('what is exported has no findings, for each target', async () => {
  const graphs = [
    'decode-inputs.onnx (processor)',
    'decode.onnx (npu)',
    'prefill-inputs.onnx (processor)',
    'prefill.onnx (npu)',
  ];
  const out = graphs.map((name) => `${name}: nothing found`).join('\n');
  expect(await mobilequant('lint', 'npu')).toMatchObject({ status: 0, out, reports: '' });
  expect(await mobilequant('lint', 'encodings')).toMatchObject({ status: 0, out, reports: '' });
  expect((await mobilequant('lint', 'onnx')).out).toBe('model.onnx (processor): nothing found');
});

test('encodings are of the version that was asked for, for their target only', async () => {
  const { version } = JSON.parse(await readFile(at('encodings', 'prefill.encodings'), 'utf8'));
  expect(version).toBe('2.0.0');
  const other = await mobilequant('export', 'quantized', '--out', 'never', '--encodings-version', '2.0.0');
  expect(other).toMatchObject({ status: 2, reports: expect.stringContaining('expected the target qnn-encodings') });
});

test('the processor’s graph is not one for an NPU, and errors are told by rule', async () => {
  const { status, out, reports } = await mobilequant('lint', 'onnx', '--device', 'npu');
  expect(status).toBe(1);
  expect(reports).toMatch(/expected no errors, got \d+\. A device will not run it/);
  expect(out).toMatch(/^model\.onnx \(npu\): \d+ errors, 1 warning\n {2}error /);
  expect(out).toContain('  error quantized-values: Every operator stands');
  expect(out).toContain('more (--all)');
  expect(out.indexOf('  warning integer-ends')).toBeGreaterThan(out.indexOf('  error '));
  expect((await mobilequant('lint', 'onnx', '--device', 'npu', '--all')).out).not.toContain('more (--all)');
});

test('a broken graph, and encodings of another, as JSON', async () => {
  await mkdir(at('broken'));
  const graph = await readModel(at('npu', 'prefill.onnx'));
  const scale = initializer('hidden_states_scale', 'float32', [], [0]);
  await writeModel(
    { ...graph, initializers: new Map([...graph.initializers, [scale.name, scale]]) },
    at('broken', 'prefill.onnx'),
  );
  await copyFile(at('encodings', 'decode.encodings'), at('broken', 'decode.encodings'));
  await copyFile(at('encodings', 'decode.encodings'), at('broken', 'other.encodings'));
  await writeFile(at('broken', 'decode.onnx'), 'no model');
  const inputs = await readModel(at('npu', 'decode-inputs.onnx'));
  await writeModel(inputs, at('broken', 'prefill-inputs.onnx'), { externalData: false });
  const { status, out } = await mobilequant('lint', 'broken', '--json');
  expect(status).toBe(1);
  const { graphs, errors } = JSON.parse(out);
  const found = graphs.map(({ file, findings }: { file: string; findings: { rule: string }[] }) => [
    file,
    ...new Set(findings.map(({ rule }) => rule)),
  ]);
  expect(found).toEqual([
    ['decode.onnx', 'readable'],
    ['prefill-inputs.onnx'],
    ['prefill.onnx', 'inputs-prepared', 'scales'],
  ]);
  expect(errors).toBe(graphs.flatMap(({ findings }: { findings: unknown[] }) => findings).length);
});

test('encodings that cannot be read are a finding, and so are those of a graph of integers', async () => {
  await mkdir(at('mixed'));
  for (const file of ['prefill.onnx', 'prefill.onnx.data']) await copyFile(at('npu', file), at('mixed', file));
  await writeFile(at('mixed', 'prefill.encodings'), '{"version":"3"}');
  const { out, status } = await mobilequant('lint', 'mixed');
  expect(status).toBe(1);
  expect(out).toContain('error readable');
  expect(out).toContain('version: "3" for "0.4.0"');

  await copyFile(at('encodings', 'prefill.encodings'), at('mixed', 'prefill.encodings'));
  expect(JSON.parse((await mobilequant('lint', 'mixed', '--json')).out).graphs[0].findings[0].rule).toBe(
    'encodings-known',
  );
});

test('a directory without graphs is refused', async () => {
  expect(await mobilequant('lint', 'model')).toMatchObject({ status: 1, reports: expect.stringContaining('got none') });
  expect(await mobilequant('lint', 'nowhere')).toMatchObject({ status: 1, reports: expect.stringContaining('ENOENT') });
});
