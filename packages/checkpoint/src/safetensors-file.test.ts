import { appendFile, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { messageOf, temporaryDirectory } from '../test/temporary-directory.ts';
import { dtypeFromTag, dtypeInfo, dtypeTags } from './dtype.ts';
import { fromBfloat16, fromFloat16 } from './float16.ts';
import { openSafetensors, readSafetensors } from './safetensors-file.ts';
import { type TensorSource, writeSafetensors } from './write-safetensors.ts';

const float32 = (name: string, shape: number[], data: number[]): TensorSource => ({
  name,
  dtype: 'float32',
  shape,
  data: () => Float32Array.from(data),
});

test('every type comes back as it was written', async () => {
  const path = join(await temporaryDirectory(), 'all.safetensors');
  const tensors = dtypeTags.map((tag, i): TensorSource => {
    const { dtype, bytes, array } = dtypeFromTag(tag) as NonNullable<ReturnType<typeof dtypeFromTag>>;
    const buffer = Uint8Array.from({ length: 6 * bytes }, (_, j) => 37 * j + i).buffer;
    return { name: tag, dtype, shape: [2, 3], data: () => new array(buffer) };
  });
  await writeSafetensors(path, tensors, { note: 'all' });

  const file = await openSafetensors(path);
  expect(file.header.metadata).toEqual({ note: 'all' });
  for (const { name, dtype, shape, data } of tensors) {
    const entry = file.header.tensors.get(name);
    expect(entry).toMatchObject({ dtype, shape });
    expect((entry?.begin as number) % dtypeInfo(dtype).bytes, 'aligned').toBe(0);
    expect(await file.readStored(name)).toEqual(await data());
  }
});

test('16-bit floats are written from float32 and read as float32', async () => {
  const path = join(await temporaryDirectory(), 'x.safetensors');
  const values = Float32Array.of(1, -0.1, Math.PI, 1e-7, 0);
  await writeSafetensors(path, [
    { name: 'half', dtype: 'float16', shape: [5], data: () => values },
    { name: 'brain', dtype: 'bfloat16', shape: [5], data: async () => values },
    { name: 'double', dtype: 'float64', shape: [5], data: () => Float64Array.from(values) },
  ]);
  const file = await openSafetensors(path);
  expect(await file.readFloat32('half')).toEqual(fromFloat16((await file.readStored('half')) as Uint16Array));
  expect((await file.readFloat32('half'))[1]).toBe(-0.0999755859375);
  expect(await file.readFloat32('brain')).toEqual(fromBfloat16((await file.readStored('brain')) as Uint16Array));
  expect((await file.readFloat32('brain'))[2]).toBe(3.140625);
  expect(await file.readFloat32('double')).toEqual(values);
});

test('rows are read in the order asked for, repeated ones and none included', async () => {
  const path = join(await temporaryDirectory(), 'x.safetensors');
  const matrix = Float32Array.from({ length: 20 }, (_, i) => i);
  const tensor = { shape: [10, 2], data: () => matrix };
  await writeSafetensors(path, [
    { name: 'f32', dtype: 'float32', ...tensor },
    { name: 'f16', dtype: 'float16', ...tensor },
    { name: 'cube', dtype: 'float32', shape: [5, 2, 2], data: () => matrix },
  ]);
  const file = await openSafetensors(path);
  for (const name of ['f32', 'f16']) {
    const rows = [4, 5, 6, 0, 9, 9, 1];
    expect([...(await file.readRows(name, rows))]).toEqual(rows.flatMap((row) => [2 * row, 2 * row + 1]));
    expect(await file.readRows(name, [])).toHaveLength(0);
  }
  await expect(file.readRows('f32', [1, 10])).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: readRows: expected rows of 'f32' from 0 to 9, got 10.]`,
  );
  await expect(file.readRows('f32', [0.5])).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: readRows: expected rows of 'f32' from 0 to 9, got 0.5.]`,
  );
  await expect(file.readRows('cube', [0])).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: readRows: expected a matrix, got 'cube' of shape [5, 2, 2].]`,
  );
});

test('a whole file is read at once, with its metadata', async () => {
  const path = join(await temporaryDirectory(), 'x.safetensors');
  const half = { name: 'h', dtype: 'float16', shape: [], data: () => Float32Array.of(0.5) } as const;
  const step = { name: 'step', dtype: 'int64', shape: [1], data: () => BigInt64Array.of(12n) } as const;
  await writeSafetensors(path, [half, step], { seed: '1' });
  const { tensors, metadata } = await readSafetensors(path);
  expect(metadata).toEqual({ seed: '1' });
  expect(tensors.get('h')).toEqual({ dtype: 'float16', shape: [], data: Float32Array.of(0.5) });
  expect(tensors.get('step')?.data).toEqual(BigInt64Array.of(12n));
});

test('integers are not silently read as floats', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'x.safetensors');
  await writeSafetensors(path, [{ name: 'ids', dtype: 'int32', shape: [1], data: () => Int32Array.of(1) }]);
  const file = await openSafetensors(path);
  expect(await messageOf(file.readFloat32('ids'), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.safetensors: tensor 'ids': expected a floating-point tensor of 16 to 64 bits, got int32. Read it as it is stored."`,
  );
  expect(await messageOf(file.readFloat32('idx'), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.safetensors: tensor 'idx': expected a tensor of that name, got none. Check the name."`,
  );
});

test('a truncated file is refused wherever it ends', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'x.safetensors');
  await writeSafetensors(path, [float32('a', [4], [1, 2, 3, 4])]);
  const { length } = await readFile(path);
  const messages = new Map<number, string>();
  for (let size = length - 1; size >= 0; size--) {
    await truncate(path, size);
    messages.set(size, await messageOf(openSafetensors(path), directory));
  }
  expect([...messages.values()].every((message) => message.startsWith('FormatError: DIR/x.safetensors:'))).toBe(true);
  expect(messages.get(length - 1)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.safetensors: tensor 'a' data_offsets: expected ranges within 15 bytes of data, got [0,16]. The file is damaged or not what it seems: get it again."`,
  );
  expect(messages.get(20)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.safetensors: header length: expected at most 12 bytes, got 56 in a file of 20 bytes. The file is damaged or not what it seems: get it again."`,
  );
  expect(messages.get(0)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.safetensors: header length: expected a safetensors file of at least 8 bytes, got 0 bytes. The file is damaged or not what it seems: get it again."`,
  );
});

test('a file with something behind its data is refused', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'x.safetensors');
  await writeSafetensors(path, [float32('a', [1], [1])]);
  await appendFile(path, 'more');
  expect(await messageOf(openSafetensors(path), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.safetensors: data: expected 4 bytes, all that the header names, got 8 bytes. The file is damaged or not what it seems: get it again."`,
  );
});

test('a file that changes after it was opened is refused', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'x.safetensors');
  await writeSafetensors(path, [float32('a', [1], [1])]);
  const file = await openSafetensors(path);
  await writeSafetensors(path, [float32('b', [1], [2])]);
  expect(await messageOf(file.readFloat32('a'), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.safetensors: file: expected the file that was opened, got a changed one. Open it again."`,
  );
});

test('files are divided into shards, none beyond the limit unless one tensor is', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'model.safetensors');
  await writeFile(path, 'an older single file');
  const tensors = [
    float32('a', [2], [1, 2]),
    float32('b', [1], [3]),
    float32('c', [5], [4, 5, 6, 7, 8]),
    float32('d', [1], [9]),
  ];
  const written = await writeSafetensors(path, tensors, {}, { maxShardBytes: 12 });
  expect(written).toMatchInlineSnapshot(`
    {
      "bytes": 36,
      "files": [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
      ],
    }
  `);
  expect((await readdir(directory)).sort()).toEqual([...written.files].sort());
  expect(JSON.parse(await readFile(`${path}.index.json`, 'utf8'))).toMatchInlineSnapshot(`
    {
      "metadata": {
        "total_size": 36,
      },
      "weight_map": {
        "a": "model-00001-of-00003.safetensors",
        "b": "model-00001-of-00003.safetensors",
        "c": "model-00002-of-00003.safetensors",
        "d": "model-00003-of-00003.safetensors",
      },
    }
  `);
  const { tensors: second } = await readSafetensors(join(directory, written.files[1] as string));
  expect([...second.keys()]).toEqual(['c']);
});

test('a failure leaves what was there, and nothing else', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'x.safetensors');
  await writeSafetensors(path, [float32('a', [1], [1])]);
  const before = await readFile(path);
  const good = float32('a', [1], [1]);
  const failing: TensorSource[] = [
    { ...good, name: 'b', data: () => Promise.reject(new Error('no data')) },
    float32('b', [2], [1]),
    { ...good, name: 'b', data: () => Int32Array.of(1) },
    { name: 'b', dtype: 'float16', shape: [3], data: () => Float32Array.of(1, -70000, 1e9) },
  ];
  const messages: string[] = [];
  for (const tensor of failing) {
    messages.push(await messageOf(writeSafetensors(path, [good, tensor], {}, { maxShardBytes: 4 }), directory));
    messages.push(await messageOf(writeSafetensors(path, [good, tensor]), directory));
  }
  expect(messages.filter((_, i) => i % 2)).toMatchInlineSnapshot(`
    [
      "Error: no data",
      "RangeError: tensor 'b': expected Float32Array of 2 elements for float32 [2], got Float32Array of 1.",
      "RangeError: tensor 'b': expected Float32Array of 1 elements for float32 [1], got Int32Array of 1.",
      "OverflowError: tensor 'b': expected values that float16 can hold, got -70000 and 1 more beyond it. Write it as float32 or bfloat16.",
    ]
  `);
  expect(messages.filter((_, i) => i % 2 === 0)).toEqual(messages.filter((_, i) => i % 2));
  expect(await readdir(directory)).toEqual(['x.safetensors']);
  expect(await readFile(path)).toEqual(before);
});

test('data is asked for tensor by tensor, and the file is there when all are written', async () => {
  const path = join(await temporaryDirectory(), 'x.safetensors');
  const order: string[] = [];
  const tensors = ['a', 'b'].map((name): TensorSource => {
    const data = async () => {
      order.push(name, String((await readdir(join(path, '..'))).filter((file) => file === 'x.safetensors').length));
      return Float32Array.of(1);
    };
    return { name, dtype: 'float32', shape: [1], data };
  });
  await writeSafetensors(path, tensors);
  expect(order).toEqual(['a', '0', 'b', '0']);
});
