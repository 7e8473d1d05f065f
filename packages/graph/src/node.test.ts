import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as ort from 'onnxruntime-node';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Graph, Initializer } from './graph.ts';
import { initializer, valuesOf } from './initializer.ts';
import { readModel, writeModel } from './node.ts';
import { dataOf, encodeModel } from './serde.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graph-'));
});
afterEach(() => rm(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

const graphOf = (...initializers: Initializer[]): Graph => ({
  name: 'g',
  opset: 21,
  inputs: [],
  outputs: [],
  nodes: [],
  initializers: new Map(initializers.map((item) => [item.name, item])),
  values: new Map(),
});

const bytes = (length: number, seed: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 255);

/** Two large weights, one of them made on demand, and a small one. */
function weights(): Graph {
  return graphOf(
    { name: 'lazy', type: 'float32', shape: [50, 30], data: async () => bytes(6000, 1) },
    initializer('scale', 'float32', [], [0.5]),
    { name: 'ready', type: 'int4', shape: [100, 41], data: bytes(2050, 2) },
  );
}

async function contents(graph: Graph): Promise<Record<string, Uint8Array>> {
  const read: Record<string, Uint8Array> = {};
  for (const item of graph.initializers.values()) read[item.name] = await dataOf(item); // in order, so that the first fault is always the same
  return read;
}

describe('writeModel and readModel', () => {
  test('keep large weights in a file beside the model, at page boundaries, and read them lazily', async () => {
    const written = await writeModel(weights(), at('m.onnx'), { externalData: true });
    expect(written).toEqual({
      path: at('m.onnx'),
      dataPath: at('m.onnx.data'),
      bytes: (await stat(at('m.onnx'))).size + 8192 + 2050,
    });
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.data']);
    expect((await readFile(at('m.onnx.data'))).subarray(8192)).toEqual(Buffer.from(bytes(2050, 2)));

    const graph = await readModel(at('m.onnx'));
    expect([...graph.initializers.values()].map(({ data }) => typeof data)).toEqual(['function', 'object', 'function']);
    expect(await contents(graph)).toEqual(await contents(weights()));
  });

  test('write what ONNX Runtime reads: 4-bit weights and their scales in a data file', async () => {
    const packed = bytes(32 * 64, 3);
    const scales = Float32Array.from({ length: 64 }, (_, i) => i / 8);
    const constants = [initializer('w', 'int4', [64, 64], packed), initializer('s', 'float32', [64], scales)];
    const graph: Graph = {
      ...graphOf(...constants),
      outputs: [{ name: 'y', type: 'float32', shape: [64, 64] }],
      nodes: [{ op: 'DequantizeLinear', domain: '', inputs: ['w', 's'], outputs: ['y'], attributes: { axis: 0 } }],
    };
    await writeModel(graph, at('m.onnx'), { externalData: true, threshold: 0 });
    const session = await ort.InferenceSession.create(at('m.onnx'), { intraOpNumThreads: 1 });
    const { y } = await session.run({});
    await session.release();
    const levels = valuesOf({ type: 'int4', shape: [64, 64] }, packed);
    expect(y?.data).toEqual(Float32Array.from(levels, (level, i) => level * (scales[i >> 6] as number)));
  });

  test('keep everything in the model when it is small, or when asked to', async () => {
    for (const externalData of ['auto', false] as const) {
      expect(await writeModel(weights(), at('m.onnx'), { externalData })).not.toHaveProperty('dataPath');
      expect(await contents(await readModel(at('m.onnx')))).toEqual(await contents(weights()));
    }
    expect(await readdir(folder)).toEqual(['m.onnx']);
  });

  test('choose external data by the size of the whole', async () => {
    const data = (): Uint8Array => {
      throw new Error('asked for data of the data file');
    };
    const huge = graphOf({ name: 'w', type: 'uint8', shape: [2 ** 27 + 1], data });
    await expect(writeModel(huge, at('m.onnx'))).rejects.toThrow('asked for data of the data file');
  });

  test('let go of each weight before the one after the next is made', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const made: WeakRef<Uint8Array>[] = [];
    const alive: number[] = [];
    const lazy = Array.from({ length: 6 }, (_, i): Initializer => {
      const data = async (): Promise<Uint8Array> => {
        await setImmediate(); // a weak reference holds what it was asked for until then
        collect();
        alive.push(made.filter((ref) => ref.deref()).length);
        const some = bytes(2 ** 16, i);
        made.push(new WeakRef(some));
        return some;
      };
      return { name: `w${i}`, type: 'uint8', shape: [2 ** 16], data };
    });
    await writeModel(graphOf(...lazy), at('m.onnx'), { externalData: true, shared: new Map() });
    expect(Math.max(...alive)).toBeLessThanOrEqual(1);
    expect(alive).toHaveLength(6);
  });

  test('can write a model over the one it was read from', async () => {
    await writeModel(weights(), at('m.onnx'), { externalData: true });
    const first = await readModel(at('m.onnx'));
    const { scale, ready, lazy } = Object.fromEntries(first.initializers) as Record<string, Initializer>;
    await writeModel(graphOf(ready as Initializer, scale as Initializer, lazy as Initializer), at('m.onnx'), {
      externalData: true,
    });
    expect(await contents(await readModel(at('m.onnx')))).toEqual(await contents(weights()));
    await expect(contents(first)).rejects.toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'lazy': expected 'm.onnx.data' as it was when the model was read, got a changed file. Read the model again.]`,
    );
  });

  test('leave what was there, and nothing else, when data cannot be made', async () => {
    await writeModel(weights(), at('m.onnx'), { externalData: true });
    const broken = graphOf(
      { name: 'a', type: 'uint8', shape: [2000], data: bytes(2000, 0) },
      { name: 'b', type: 'uint8', shape: [2000], data: () => bytes(1999, 0) },
    );
    await expect(writeModel(broken, at('m.onnx'), { externalData: true })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[GraphError: initializer 'b': expected 2000 bytes for uint8[2000], got 1999.]`,
    );
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.data']);
    expect(await contents(await readModel(at('m.onnx')))).toEqual(await contents(weights()));
  });
});

describe('readModel refuses', () => {
  /** A model in a folder of its own, that refers to `location`. */
  async function referTo(location: string, offset = 0): Promise<string> {
    await mkdir(at('model'), { recursive: true });
    const external = new Map([['w', { location, offset, length: 16 }]]);
    const graph = graphOf({ name: 'w', type: 'float32', shape: [4], data: new Uint8Array(16) });
    await writeFile(at('model/m.onnx'), await encodeModel(graph, { external }));
    return at('model/m.onnx');
  }
  const message = async (path: string): Promise<string> => {
    const error: unknown = await readModel(path).then(
      () => new Error('it was read'),
      (cause) => cause,
    );
    return String(error).replaceAll(folder, '');
  };

  test.each(['../secret', 'sub/../../secret', '/etc/passwd', '..', 'C:\\secret', '..\\secret', 'sub//w', 'w\0.data'])(
    'the location %j',
    async (location) => {
      await writeFile(at('secret'), new Uint8Array(16));
      const path = await referTo(location);
      expect(await message(path)).toContain('inside the folder');
    },
  );

  test('a link out of the folder, a folder, and a file that is not there', async () => {
    await writeFile(at('secret'), new Uint8Array(16));
    const path = await referTo('link');
    expect(await message(path)).toMatchInlineSnapshot(
      `"FormatError: /model/m.onnx: initializer 'w': expected the data file "link" beside the model, got none that can be read."`,
    );
    await symlink(at('secret'), at('model/link'));
    expect(await message(path)).toMatchInlineSnapshot(
      `"FormatError: /model/m.onnx: initializer 'w': expected an external data file inside the folder of the model, got "link", a link out of it."`,
    );
    await mkdir(at('model/folder'));
    expect(await message(await referTo('folder'))).toMatchInlineSnapshot(
      `"FormatError: /model/m.onnx: initializer 'w': expected an external data file inside the folder of the model, got "folder", which is no file."`,
    );
  });

  test('a file that is no model, and says which', async () => {
    await mkdir(at('model'));
    await writeFile(at('model/m.onnx'), '<html>');
    expect(await message(at('model/m.onnx'))).toMatchInlineSnapshot(
      `"FormatError: /model/m.onnx: decodeModel: expected an ONNX model, got 6 bytes that are none (invalid wire type 4 at offset 5)."`,
    );
  });

  test('a range past the end of the file', async () => {
    await mkdir(at('model'));
    await writeFile(at('model/w.data'), new Uint8Array(20));
    expect(await message(await referTo('w.data', 4))).toContain('it was read');
    expect(await message(await referTo('w.data', 5))).toMatchInlineSnapshot(
      `"FormatError: /model/m.onnx: initializer 'w': expected bytes 5 … 21 of 'w.data', got a file of 20 bytes. The data file is truncated, or belongs to another model."`,
    );
    expect(await message(await referTo('w.data', Number.MAX_SAFE_INTEGER))).toContain('expected bytes');
  });

  test('a data file that changed after the model was read', async () => {
    await writeModel(weights(), at('m.onnx'), { externalData: true });
    const graph = await readModel(at('m.onnx'));
    await truncate(at('m.onnx.data'), 100);
    await expect(contents(graph)).rejects.toThrow(/expected 'm.onnx.data' as it was when the model was read/);
    await rename(at('m.onnx.data'), at('other'));
    await expect(contents(graph)).rejects.toThrow(/ENOENT/);
  });
});
