import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dataOf, type Graph, type Initializer, initializer, valuesOf } from '@mobilequant/graph';
import { readModel } from '@mobilequant/graph/node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeExport } from './write-export.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'write-export-'));
});
afterEach(() => rm(folder, { recursive: true }));

const large = initializer(
  'w',
  'float32',
  [512],
  Float32Array.from({ length: 512 }, (_, i) => i),
);
const graph: Graph = {
  name: 'add',
  inputs: [{ name: 'x', type: 'float32', shape: [512] }],
  outputs: [{ name: 'y', type: 'float32', shape: [512] }],
  nodes: [{ op: 'Add', domain: '', inputs: ['x', 'w'], outputs: ['y'], attributes: {} }],
  initializers: new Map([['w', large]]),
  values: new Map(),
};

test('graphs, text and bytes are written, with folders and external data, and nothing else is left', async () => {
  const directory = join(folder, 'out');
  const written = await writeExport(
    directory,
    new Map<string, Graph | string | Uint8Array>([
      ['onnx/model.onnx', graph],
      ['notes.txt', 'é'],
      ['raw', Uint8Array.of(1)],
    ]),
  );
  expect((await readdir(directory, { recursive: true })).sort()).toEqual([
    'notes.txt',
    'onnx',
    'onnx/model.onnx',
    'onnx/model.onnx.data',
    'raw',
  ]);
  expect((await readModel(join(directory, 'onnx/model.onnx'))).initializers.get('w')?.shape).toEqual([512]);
  expect([written.get('notes.txt'), written.get('raw')]).toEqual([2, 1]);
  expect(written.get('onnx/model.onnx')).toBeGreaterThan(2048);
  expect(await readdir(folder)).toEqual(['out']);
});

test('weights that graphs of a folder share are written once', async () => {
  const directory = join(folder, 'out');
  const other = initializer('v', 'float32', [512], new Float32Array(512).fill(7));
  const own: Graph = {
    ...graph,
    nodes: [
      { op: 'Add', domain: '', inputs: ['x', 'v'], outputs: ['sum'], attributes: {} },
      { op: 'Add', domain: '', inputs: ['sum', 'again'], outputs: ['y'], attributes: {} },
    ],
    initializers: new Map([
      ['v', other],
      ['again', { ...large, name: 'again' }],
    ]),
  };
  const files = new Map([
    ['first.onnx', graph],
    ['second.onnx', own],
    ['third.onnx', graph],
    ['apart/fourth.onnx', graph],
  ]);
  const written = await writeExport(directory, files);
  expect((await readdir(directory, { recursive: true })).filter((name) => name.endsWith('.data')).sort()).toEqual([
    'apart/fourth.onnx.data',
    'first.onnx.data',
    'second.onnx.data',
  ]);
  expect(written.get('third.onnx')).toBeLessThan(1024);
  const valuesIn = async (file: string, name: string): Promise<number[]> => {
    const found = (await readModel(join(directory, file))).initializers.get(name) as Initializer;
    return valuesOf(found, await dataOf(found));
  };
  const wanted = valuesOf(large, await dataOf(large));
  for (const [file, name] of [
    ['first.onnx', 'w'],
    ['second.onnx', 'again'],
    ['third.onnx', 'w'],
    ['apart/fourth.onnx', 'w'],
  ] as const)
    expect(await valuesIn(file, name), file).toEqual(wanted);
  expect(new Set(await valuesIn('second.onnx', 'v'))).toEqual(new Set([7]));
});

test('an export that fails leaves what was there', async () => {
  const directory = join(folder, 'out');
  await writeExport(directory, new Map([['notes.txt', 'before']]));
  const broken = { ...large, data: () => Promise.reject(new Error('no such weight')) };
  const files = new Map<string, Graph | string>([
    ['notes.txt', 'after'],
    ['model.onnx', { ...graph, initializers: new Map([['w', broken]]) }],
  ]);
  await expect(writeExport(directory, files)).rejects.toThrow('no such weight');
  expect(await readFile(join(directory, 'notes.txt'), 'utf8')).toBe('before');
  expect(await readdir(folder)).toEqual(['out']);
});

test('an export that fails while it is moved leaves no model beside the weights of another', async () => {
  const other = initializer('w', 'float32', [512], new Float32Array(512).fill(3));
  await writeExport(folder, new Map([['a.onnx', graph]]));
  await mkdir(join(folder, 'z.onnx.data', 'in the way'), { recursive: true });
  const files = new Map([
    ['a.onnx', graph],
    ['z.onnx', { ...graph, initializers: new Map([['w', other]]) }],
  ]);
  await expect(writeExport(folder, files)).rejects.toThrow();
  expect((await readdir(folder)).filter((name) => name.endsWith('.onnx'))).toEqual([]);
});

test('weights and encodings of a graph that is replaced do not stay behind, but for those that another may read', async () => {
  const one = initializer('w', 'float32', [1], Float32Array.of(1));
  const small: Graph = { ...graph, initializers: new Map([['w', one]]) };
  const first = new Map<string, Graph | string>([
    ['a.onnx', graph],
    ['a.encodings', '{}'],
    ['b.onnx', { ...graph, name: 'other' }],
  ]);
  await writeExport(folder, first);
  await writeExport(folder, new Map([['a.onnx', small]]));
  expect((await readdir(folder)).sort()).toEqual(['a.onnx', 'a.onnx.data', 'b.onnx']);
  expect((await readModel(join(folder, 'b.onnx'))).initializers.get('w')?.shape).toEqual([512]);
  const second = new Map([...first.keys()].filter((path) => path.endsWith('.onnx')).map((path) => [path, small]));
  await writeExport(folder, second);
  expect((await readdir(folder)).sort()).toEqual(['a.onnx', 'b.onnx']);
});

test('files that the export does not name stay', async () => {
  await writeFile(join(folder, 'mine'), '');
  await writeExport(folder, new Map([['notes.txt', 'x']]));
  expect((await readdir(folder)).sort()).toEqual(['mine', 'notes.txt']);
});

test.each(['../out', '/etc/x', 'a//b', '', 'a\\b', './a'])(
  'a path that leads elsewhere is refused: %j',
  async (path) => {
    await expect(writeExport(join(folder, 'out'), new Map([[path, 'x']]))).rejects.toThrow(
      'a path inside the exported directory',
    );
  },
);
