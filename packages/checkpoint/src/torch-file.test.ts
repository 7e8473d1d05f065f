import { appendFile, copyFile, cp, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { bytesOf, PROTO, statePickle, storage, tensor, text, torchZip, zip } from '../test/pickle-parts.ts';
import { messageOf, temporaryDirectory } from '../test/temporary-directory.ts';
import { openWeights } from './checkpoint-weights.ts';
import { type DType, dtypeInfo, type StoredArray } from './dtype.ts';
import { fromBfloat16, fromFloat16 } from './float16.ts';
import { elementsOf } from './safetensors.ts';
import type { TensorFile } from './tensor-file.ts';
import { openTorchFile } from './torch-file.ts';
import { writeSafetensors } from './write-safetensors.ts';

const FIXTURES = fileURLToPath(new URL('../test/fixtures/torch/', import.meta.url)); // made by make.py beside them

interface Expected {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: string;
}
const expected: Readonly<Record<string, Expected>> = JSON.parse(await readFile(`${FIXTURES}expected.json`, 'utf8'));

const storedOf = ({ dtype, bytes }: Expected): StoredArray =>
  new (dtypeInfo(dtype).array)(Uint8Array.from(Buffer.from(bytes, 'hex')).buffer);

const floatsOf = ({ dtype, bytes }: Expected): Float32Array => {
  const stored = storedOf({ dtype, shape: [], bytes });
  if (dtype === 'float16') return fromFloat16(stored as Uint16Array);
  return dtype === 'bfloat16' ? fromBfloat16(stored as Uint16Array) : Float32Array.from(stored as Float32Array);
};

async function opened(bytes: Uint8Array): Promise<TensorFile> {
  const path = join(await temporaryDirectory(), 'x.bin');
  await writeFile(path, bytes);
  return openTorchFile(path);
}

/** The message of the error that a file made of bytes gives. */
async function refused(bytes: Uint8Array): Promise<string> {
  const directory = await temporaryDirectory();
  const path = join(directory, 'x.bin');
  await writeFile(path, bytes);
  return messageOf(openTorchFile(path), directory);
}

test.each([
  ['zip.bin', 'as torch.save writes it'],
  ['zip32.bin', 'in a zip without 64-bit numbers'],
  ['protocol4.bin', 'in protocol 4'],
  ['protocol5.bin', 'in protocol 5'],
  ['legacy.bin', 'as before PyTorch 1.6'],
  ['nested.bin', "under 'state_dict', beside an optimizer's"],
  ['nested-legacy.bin', "under 'state_dict', beside an optimizer's, as before PyTorch 1.6"],
])('%s: every tensor is what PyTorch saved, %s', async (file) => {
  const { tensors, readStored, readFloat32 } = await openTorchFile(`${FIXTURES}${file}`);
  expect([...tensors.keys()]).toEqual(Object.keys(expected));
  for (const [name, facts] of Object.entries(expected)) {
    const { dtype, shape } = facts;
    expect(tensors.get(name), name).toMatchObject({ dtype, shape });
    expect(await readStored(name), name).toEqual(storedOf(facts));
    if (/^b?float(16|32|64)$/.test(dtype)) expect(await readFloat32(name), name).toEqual(floatsOf(facts));
  }
});

test('rows are read of matrices that lie row by row, column by column, or within larger ones', async () => {
  const { readRows } = await openTorchFile(`${FIXTURES}zip.bin`);
  const rows = [2, 0, 1, 2];
  for (const name of ['embed.weight', 'transposed', 'columns', 'bfloat16']) {
    const facts = expected[name] as Expected;
    const columns = facts.shape[1] as number;
    const wanted = rows.flatMap((row) => [...floatsOf(facts).subarray(row * columns, (row + 1) * columns)]);
    expect([...(await readRows(name, rows))], name).toEqual(wanted);
  }
  await expect(readRows('columns', [5])).rejects.toThrow("expected rows of 'columns' from 0 to 4, got 5");
});

test('shards with an index are one model; safetensors beside them are preferred', async () => {
  const directory = await temporaryDirectory();
  await cp(`${FIXTURES}sharded`, directory, { recursive: true });
  const weights = await openWeights(directory);
  expect([...weights.names()].sort()).toEqual(Object.keys(expected).sort());
  for (const [name, facts] of Object.entries(expected)) {
    expect(weights.shape(name)).toEqual(facts.shape);
    if (/^b?float(16|32|64)$/.test(facts.dtype)) expect(await weights.read(name), name).toEqual(floatsOf(facts));
  }

  const index = join(directory, 'pytorch_model.bin.index.json');
  await writeFile(index, JSON.stringify({ weight_map: { x: 'model.safetensors' } }));
  expect(await messageOf(openWeights(directory), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/pytorch_model.bin.index.json: weight_map 'x': expected a file name ending in '.bin', without a folder, got "model.safetensors". The file is damaged or not what it seems: get it again."`,
  );

  await copyFile(`${FIXTURES}zip.bin`, join(directory, 'pytorch_model.bin'));
  expect((await openWeights(directory)).names()).toEqual(Object.keys(expected));

  const data = () => Float32Array.of(1);
  await writeSafetensors(join(directory, 'model.safetensors'), [{ name: 'x', dtype: 'float32', shape: [1], data }]);
  expect((await openWeights(directory)).names()).toEqual(['x']);
});

test('what is not weights alone is refused by name', async () => {
  const open = async (file: string) => messageOf(openTorchFile(`${FIXTURES}${file}`), FIXTURES.slice(0, -1));
  expect(await open('module.bin')).toMatchInlineSnapshot(
    `"FormatError: DIR/module.bin: pickle byte 2: expected tensors and plain data only, got 'torch.nn.modules.linear Linear'. It is not a file of weights alone, or it is hostile; nothing in it was executed. If you trust it, load it with PyTorch and save its weights as safetensors."`,
  );
  expect(await open('sparse.bin')).toMatchInlineSnapshot(
    `"FormatError: DIR/sparse.bin: pickle byte 18: expected tensors and plain data only, got 'torch._utils _rebuild_sparse_tensor'. It is not a file of weights alone, or it is hostile; nothing in it was executed. If you trust it, load it with PyTorch and save its weights as safetensors."`,
  );
  expect(await open('expanded.bin')).toMatchInlineSnapshot(
    `"FormatError: DIR/expanded.bin: pickle byte 168: expected a tensor within 1 elements, got shape [1000, 1000], strides [0, 0], offset 0. It is not a file of weights alone, or it is hostile; nothing in it was executed. If you trust it, load it with PyTorch and save its weights as safetensors."`,
  );
  expect(await open('compressed.bin')).toMatchInlineSnapshot(
    `"FormatError: DIR/compressed.bin: zip directory: expected 'zip/data.pkl' stored as it is, got compressed. Load it with PyTorch and save it again."`,
  );
  expect(await open('make.py')).toMatchInlineSnapshot(
    `"FormatError: DIR/make.py: file: expected a file that torch.save wrote, got another one. The file is damaged or not what it seems: get it again."`,
  );
});

test('a truncated file is refused wherever it ends', async () => {
  for (const file of ['zip.bin', 'legacy.bin']) {
    const directory = await temporaryDirectory();
    const path = join(directory, file);
    await copyFile(`${FIXTURES}${file}`, path);
    const { length } = await readFile(path);
    for (let size = length - 1; size >= 0; size -= 13) {
      await truncate(path, size);
      expect(await messageOf(openTorchFile(path), directory)).toMatch(`FormatError: DIR/${file}:`);
    }
    await copyFile(`${FIXTURES}${file}`, path);
    await appendFile(path, 'more');
    expect(await messageOf(openTorchFile(path), directory)).toMatch(`FormatError: DIR/${file}:`);
  }
});

test('a file by hand is read; so is one of no tensors', async () => {
  const data = Float32Array.of(1, 2, 3, 4);
  const file = await opened(torchZip(statePickle({ x: tensor() }), { 0: new Uint8Array(data.buffer) }));
  expect(await file.readFloat32('x')).toEqual(data);
  expect((await opened(torchZip(bytesOf(PROTO, '}.'), {}))).tensors.size).toBe(0);
});

test('a storage is as long as its entry, for every tensor in it', async () => {
  const pickle = statePickle({ x: tensor() });
  expect(await refused(torchZip(pickle, { 0: new Uint8Array(12) }))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: zip entry 'archive/data/0': expected 16 bytes, got 12. The file is damaged or not what it seems: get it again."`,
  );
  expect(await refused(torchZip(pickle, { 1: new Uint8Array(16) }))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: zip entry 'archive/data/0': expected 16 bytes, got none. The file is damaged or not what it seems: get it again."`,
  );
  const twice = statePickle({ x: tensor(), y: tensor({ from: storage('0', 8) }) });
  expect(await refused(torchZip(twice))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: pickle byte 239: expected a storage of 16 bytes, got 32. It is not a file of weights alone, or it is hostile; nothing in it was executed. If you trust it, load it with PyTorch and save its weights as safetensors."`,
  );
  expect(await refused(torchZip(statePickle({ x: tensor({ from: storage('../data.pkl') }) })))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: zip entry 'archive/data/../data.pkl': expected 16 bytes, got none. The file is damaged or not what it seems: get it again."`,
  );
});

test('a zip has one pickle, and little-endian numbers', async () => {
  const pickle = statePickle({ x: tensor() });
  expect(await refused(zip([{ name: 'a/b/data.pkl', data: pickle }]))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: zip: expected one entry 'NAME/data.pkl', as torch.save writes, got none. The file is damaged or not what it seems: get it again."`,
  );
  expect(await refused(torchZip(pickle, undefined, [{ name: 'b/data.pkl', data: pickle }]))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: zip: expected one entry 'NAME/data.pkl', as torch.save writes, got 2. The file is damaged or not what it seems: get it again."`,
  );
  const order = { name: 'archive/byteorder', data: bytesOf('big') };
  expect(await refused(torchZip(pickle, undefined, [order]))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: byte order: expected little endian, got another. Load it with PyTorch and save its weights as safetensors."`,
  );
});

test('a file of pickles is refused if its parts do not fit', async () => {
  const file = await readFile(`${FIXTURES}legacy.bin`);
  expect(await refused(bytesOf(PROTO, 'K\x01.'))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: first pickle: expected the number that torch.save writes, got 1. The file is damaged or not what it seems: get it again."`,
  );
  expect(await refused(bytesOf(file.subarray(0, 15), PROTO, 'K\x01.'))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: second pickle: expected version 1001, got 1. The file is damaged or not what it seems: get it again."`,
  );
  expect(
    await refused(bytesOf(file.subarray(0, 21), PROTO, '}', text('little_endian'), '\x89s.')),
  ).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: byte order: expected little endian, got another. Load it with PyTorch and save its weights as safetensors."`,
  );
  const head = bytesOf(file.subarray(0, 21), PROTO, '}', text('little_endian'), '\x88s.', statePickle({ x: tensor() }));
  expect(await refused(bytesOf(head, PROTO, '].'))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: last pickle: expected 1 keys, got 0. The file is damaged or not what it seems: get it again."`,
  );
  expect(await refused(bytesOf(head, PROTO, ']', text('1'), 'a.'))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: last pickle: expected the key of each storage, got '1'. The file is damaged or not what it seems: get it again."`,
  );
  expect(await refused(bytesOf(head, PROTO, ']', text('0'), 'a.', '\x05\0\0\0\0\0\0\0'))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: storage 0: expected 16 bytes at 207 in a file of 207, got 5 elements. The file is damaged or not what it seems: get it again."`,
  );
  expect(await refused(bytesOf(head, PROTO, ']', text('0'), 'a.', '\x04\0\0\0\0\0\0\0'))).toMatchInlineSnapshot(
    `"FormatError: DIR/x.bin: storage 0: expected 16 bytes at 207 in a file of 207, got 4 elements. The file is damaged or not what it seems: get it again."`,
  );
});

test('elements of strided tensors are those that their indices say', async () => {
  const data = Float32Array.from({ length: 60 }, (_, i) => i);
  const shape = [2, 3, 4];
  const strides = [1, 20, 3];
  const view = tensor({ from: storage('0', 60), offset: 2, shape, strides });
  const file = await opened(torchZip(statePickle({ x: view }), { 0: new Uint8Array(data.buffer) }));
  const wanted = Float32Array.from({ length: elementsOf(shape) }, (_, i) => {
    const [a, b, c] = [Math.floor(i / 12), Math.floor(i / 4) % 3, i % 4];
    return data[2 + a * 1 + b * 20 + c * 3] as number;
  });
  expect(await file.readFloat32('x')).toEqual(wanted);
  expect(await file.readStored('x')).toEqual(wanted);
});
