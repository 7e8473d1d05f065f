import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { canonical, type QuantizationRecord, recordName, recordStore, type TaskRecord } from './record.ts';

const record: QuantizationRecord = {
  kind: 'quantization',
  asked: {
    model: 'a model',
    recipe: 'w8a8',
    method: 'fast',
    meaning: 'f00',
    options: { prefix: 'none', ranges: 'minmax' },
    calibration: { data: 'text.txt', samples: 4, tokens: 64 },
  },
  subject: { model: 'abc', calibration: ['def'] },
  made: { date: '2025-01-01T00:00:00Z', commit: '1', node: '24', onnxruntime: '1', machine: 'm', threads: 2, load: 0 },
  result: { seconds: 1, peak: 2, prefix: [], size: 3 },
};

test('the order of fields does not matter, that of elements does', () => {
  expect(canonical({ a: 1, b: { c: [1, 2], d: 3 } })).toBe(canonical({ b: { d: 3, c: [1, 2] }, a: 1 }));
  expect(canonical([1, 2])).not.toBe(canonical([2, 1]));
});

test('a name can be read, is that of a file, and changes with whatever was asked', () => {
  const name = recordName(record);
  expect(name).toMatch(/^a_model\.w8a8\.fast\.prefix-none\.ranges-minmax\.[0-9a-f]{12}$/);
  const { asked, subject } = record;
  const others = [
    { ...record, asked: { ...asked, method: 'best' } },
    { ...record, asked: { ...asked, options: {} } },
    { ...record, asked: { ...asked, meaning: 'f01' } },
    { ...record, asked: { ...asked, calibration: { ...asked.calibration, samples: 5 } } },
    { ...record, subject: { ...subject, model: 'abd' } },
  ];
  expect(new Set([name, ...others.map(recordName)]).size).toBe(6);
  expect(recordName({ ...record, result: { ...record.result, seconds: 9 } } as typeof record)).toBe(name);
});

test('a record of a task says in its name which one, of how many items, in which form', () => {
  const wanted: Pick<TaskRecord, 'kind' | 'asked' | 'subject'> = {
    kind: 'task',
    asked: { model: 'm', task: { name: 'mmlu', data: '$data', limit: 5 }, meaning: 'f00', form: 'float' },
    subject: { data: { 'mmlu/test.jsonl': 'abc' } },
  };
  const { asked } = wanted;
  expect(recordName(wanted)).toMatch(/^m\.mmlu\.5\.float\.[0-9a-f]{12}$/);
  const quantized = { ...wanted, asked: { ...asked, quantization: record.asked, form: 'simulated' as const } };
  expect(recordName(quantized)).toMatch(/^m\.w8a8\.fast\..*\.mmlu\.5\.simulated\.[0-9a-f]{12}$/);
  const others = [
    quantized,
    { ...wanted, asked: { ...asked, task: { ...asked.task, limit: 6 } } },
    { ...wanted, asked: { ...asked, meaning: 'f01' } },
    { ...wanted, subject: { data: { 'mmlu/test.jsonl': 'abd' } } },
  ];
  expect(new Set([wanted, ...others].map(recordName)).size).toBe(5);
});

test('the repository’s records are found by what was asked, however long ago', async () => {
  const folder = new URL('./records/', import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  expect(names.length).toBeGreaterThan(0);
  for (const name of names)
    expect(`${recordName(JSON.parse(await readFile(new URL(name, folder), 'utf8')))}.json`).toBe(name);
});

test('what was saved is found again by what was asked, and not by what was not', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mobilequant-records-'));
  const store = recordStore(join(folder, 'inner'));
  expect(await store.all()).toEqual([]);
  await store.save(record);
  await store.save({ ...record, subject: {}, made: { ...record.made, date: '2024-01-01T00:00:00Z' } });
  expect(await store.find<QuantizationRecord>(record)).toEqual(record);
  expect(await store.find<QuantizationRecord>({ ...record, subject: { model: 'other' } })).toBeUndefined();
  expect((await store.all()).map(({ subject }) => subject)).toEqual([{}, record.subject]); // the oldest first
  expect((await readdir(join(folder, 'inner'))).every((name) => name.endsWith('.json'))).toBe(true);
});
