import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Graph, initializer } from '@mobilequant/graph';
import { writeModel } from '@mobilequant/graph/node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from './run.ts';

let directory = '';
const at = (name: string) => join(directory, name);
const encodings = (...args: string[]) => run(directory, ['encodings', ...args]);
const jsonOf = async (name: string) => JSON.parse(await readFile(at(name), 'utf8'));

const SCALES = [Math.fround(0.1), Math.fround(0.2), Math.fround(0.3)];

const graph: Graph = {
  name: 'g',
  inputs: [{ name: 'x', type: 'float32', shape: [1, 4] }],
  outputs: [{ name: 'y', type: 'float32', shape: [1, 3] }],
  nodes: [{ op: 'MatMul', domain: '', inputs: ['x', 'w'], outputs: ['y'], attributes: {} }],
  initializers: new Map([['w', initializer('w', 'float32', [4, 3], new Float32Array(12))]]),
  values: new Map(),
};

const old = {
  version: '0.6.1',
  activation_encodings: {
    x: [{ bitwidth: 8, dtype: 'int', is_symmetric: 'False', max: 127, min: -0.5, offset: -1, scale: 0.5 }],
    y: [{ bitwidth: 8, dtype: 'int', is_symmetric: 'True', max: 127, min: -128, offset: -128, scale: 1 }],
  },
  param_encodings: {
    w: SCALES.map((scale) => ({
      bitwidth: 4,
      dtype: 'int',
      is_symmetric: 'True',
      max: 7 * scale,
      min: -8 * scale,
      offset: -8,
      scale,
    })),
  },
  quantizer_args: { param_bitwidth: 4 },
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-encodings-'));
  await writeFile(at('old.encodings'), JSON.stringify(old));
  await writeModel(graph, at('model.onnx'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('from 0.6.1 through every version and back, with a model', async () => {
  const model = ['--model', 'model.onnx'];
  let from = 'old.encodings';
  for (const version of ['1.0.0', '2.0.0', '2.1.0', '0.6.1']) {
    const done = await encodings(from, '--to', version, '--out', version, ...model, '--json');
    expect(done).toMatchObject({ status: 0, reports: '' });
    expect(JSON.parse(done.out)).toEqual({ file: at(version), version, activations: 2, params: 1, omitted: 0 });
    from = version;
  }
  expect((await jsonOf('2.0.0')).encodings[0]).toEqual({ name: 'w', output_dtype: 'int4', y_scale: SCALES, axis: 1 });
  expect(await jsonOf('0.6.1')).toEqual({ ...old, quantizer_args: {} });
  expect(await readFile(at('1.0.0'), 'utf8')).toContain('"quantizer_args": {"param_bitwidth":4}');
});

test('without a model, what is guessed is said', async () => {
  expect(await encodings('old.encodings', '--out', 'new')).toMatchObject({
    status: 0,
    reports: '',
    out: `${at('new')}: 1.0.0, 2 activations, 1 parameters`,
  });
  const axes = await encodings('new', '--to', '2.0.0', '--out', 'newest');
  expect(axes.reports).toContain('axis 0');
  expect((await jsonOf('newest')).encodings[0]).toMatchObject({ name: 'w', axis: 0 });
  const params = await encodings('newest', '--out', 'back');
  expect(params.reports).toContain('a guess');
  expect((await jsonOf('back')).param_encodings.map(({ name }: { name: string }) => name)).toEqual(['w', 'y']);
});

test('floats stop the way to 2.0.0, or are left out, and that is said', async () => {
  const activation_encodings = { ...old.activation_encodings, z: [{ bitwidth: 16, dtype: 'float' }] };
  await writeFile(at('floats.json'), JSON.stringify({ ...old, activation_encodings }));
  const args = ['floats.json', '--to', '2.1.0', '--out', 'out.json', '--model', 'model.onnx'];
  const refused = await encodings(...args);
  expect(refused).toMatchObject({ status: 1, reports: expect.stringContaining('z: expected integers') });
  expect(await encodings(...args, '--omit-floats')).toMatchObject({
    status: 0,
    reports: expect.stringContaining('1 tensors'),
  });
  expect((await jsonOf('out.json')).encodings).toHaveLength(3);
});

test('what is not in order is refused, and what was there stays', async () => {
  await writeFile(at('out.json'), 'before');
  await writeFile(at('bad.json'), JSON.stringify({ ...old, version: '0.7.0' }));
  for (const [file, message] of [
    ['bad.json', 'version: expected'],
    ['nothing.json', 'no such file'],
    ['model.onnx', 'expected JSON'],
  ] as const) {
    const { status, reports, out } = await encodings(file, '--out', 'out.json');
    expect({ status, out }).toEqual({ status: 1, out: '' });
    expect(reports).toContain(message);
    expect(reports).not.toContain('\n');
  }
  expect(await readFile(at('out.json'), 'utf8')).toBe('before');
  expect((await readdir(directory)).sort()).toEqual(['bad.json', 'model.onnx', 'old.encodings', 'out.json']);
});

test('a version that is not written is a mistake in the call', async () => {
  const { status, reports } = await encodings('old.encodings', '--to', '0.5.0', '--out', 'x');
  expect({ status, reports }).toEqual({
    status: 2,
    reports: "mobilequant: --to: expected 0.6.1, 1.0.0, 2.0.0, 2.1.0, got '0.5.0'.",
  });
});
