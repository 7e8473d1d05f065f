/**
 * A file that PyTorch's `torch.save` wrote: a zip of a pickle and the tensors' bytes, or, before PyTorch 1.6, pickles and bytes
 * one after another. The pickle is read and checked when the file is opened, by a machine that executes nothing; tensors only when
 * they are asked for.
 */
import { dtypeInfo } from './dtype.ts';
import { FormatError } from './errors.ts';
import { describe, isKind, MAX_PICKLE_BYTES, type PickleValue, readPickle } from './pickle.ts';
import { elementsOf } from './safetensors.ts';
import { type PlaceReader, type StampedFile, stampedFile } from './stamped-file.ts';
import { type TensorFile, type TensorPlace, tensorFile } from './tensor-file.ts';
import { readTorchPickle, type TorchPickle, type TorchTensor } from './torch-pickle.ts';
import { parseZipDirectory, parseZipEnd, parseZipHeader, ZIP_END_BYTES, type ZipEntry, zipHeaderBytes } from './zip.ts';

/** Opens a file of tensors that PyTorch saved. Throws a `FormatError` if it has anything but tensors and plain data, or is not in order. */
export async function openTorchFile(path: string): Promise<TensorFile> {
  const source = await stampedFile(path);
  const places = await source.use(async (reader) => {
    const [first, second] = await reader.read(0, Math.min(2, source.bytes));
    if (first === 0x50 && second === 0x4b) return placesInZip(reader, source); // 'PK'
    if (first === 0x80) return placesInSequence(reader, source); // a pickle
    const expected = 'a file that torch.save wrote';
    throw new FormatError({ file: path, where: 'file', expected, received: 'another one' });
  });
  return tensorFile(source, places);
}

type Places = ReadonlyMap<string, TensorPlace>;

async function placesInZip(reader: PlaceReader, { path, bytes: fileBytes }: StampedFile): Promise<Places> {
  const tailBytes = Math.min(ZIP_END_BYTES, fileBytes);
  const directory = parseZipEnd(await reader.read(fileBytes - tailBytes, tailBytes), fileBytes, path);
  const entries = parseZipDirectory(await reader.read(directory.begin, directory.bytes), directory, path);
  const dataOf = async (entry: ZipEntry) =>
    parseZipHeader(
      await reader.read(entry.header, Math.min(zipHeaderBytes(entry), entry.limit - entry.header)),
      entry,
      path,
    );

  const pickles = [...entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  const pickle = pickles[0];
  if (!pickle || pickles.length > 1) {
    const received = pickle ? `${pickles.length}` : 'none';
    throw new FormatError({
      file: path,
      where: 'zip',
      expected: "one entry 'NAME/data.pkl', as torch.save writes",
      received,
    });
  }
  if (pickle.bytes > MAX_PICKLE_BYTES) {
    const expected = `at most ${MAX_PICKLE_BYTES} bytes`;
    throw new FormatError({ file: path, where: `zip entry '${pickle.name}'`, expected, received: `${pickle.bytes}` });
  }
  const folder = pickle.name.slice(0, -'data.pkl'.length);
  const order = entries.get(`${folder}byteorder`);
  if (order)
    requireLittleEndian(
      new TextDecoder().decode(await reader.read(await dataOf(order), Math.min(order.bytes, 8))) === 'little',
      path,
    );

  const { tensors, storages } = readTorchPickle(await reader.read(await dataOf(pickle), pickle.bytes), 0, path);
  const begins = new Map<string, number>();
  for (const { key, bytes } of storages.values()) {
    const entry = entries.get(`${folder}data/${key}`);
    if (entry?.bytes !== bytes) {
      const received = entry ? `${entry.bytes}` : 'none';
      throw new FormatError({
        file: path,
        where: `zip entry '${folder}data/${key}'`,
        expected: `${bytes} bytes`,
        received,
      });
    }
    begins.set(key, await dataOf(entry));
  }
  return placesOf(tensors, begins);
}

/** Five pickles (a number, a version, the machine, the tensors, the storages' keys), then each storage: 8 bytes of size, its data. */
async function placesInSequence(reader: PlaceReader, { path, bytes: fileBytes }: StampedFile): Promise<Places> {
  const bytes = await reader.read(0, Math.min(MAX_PICKLE_BYTES, fileBytes));
  const fail = (where: string, expected: string, received: string): never => {
    throw new FormatError({ file: path, where, expected, received });
  };
  let at = 0;
  const plain = (): PickleValue => {
    const { value, end } = readPickle(bytes, at, PLAIN, path);
    at = end;
    return value;
  };
  const magic = plain();
  if (magic !== MAGIC) fail('first pickle', 'the number that torch.save writes', describe(magic));
  const version = plain();
  if (version !== VERSION) fail('second pickle', `version ${VERSION}`, describe(version));
  const machine = plain();
  requireLittleEndian(
    isKind(machine, 'dict') && machine.entries.some(([key, value]) => key === 'little_endian' && value === true),
    path,
  );

  const { tensors, storages, end } = readTorchPickle(bytes, at, path);
  at = end;
  const keys = plain();
  if (!isKind(keys, 'list')) return fail('last pickle', "a list of the storages' keys", describe(keys));

  const begins = new Map<string, number>();
  for (const key of keys.items) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (!storage || begins.has(storage.key)) return fail('last pickle', 'the key of each storage', describe(key));
    const size = await reader.read(at, 8);
    const elements = Number(new DataView(size.buffer).getBigUint64(0, true));
    const begin = at + 8;
    if (elements * dtypeInfo(storage.dtype).bytes !== storage.bytes || begin + storage.bytes > fileBytes) {
      fail(
        `storage ${storage.key}`,
        `${storage.bytes} bytes at ${begin} in a file of ${fileBytes}`,
        `${elements} elements`,
      );
    }
    begins.set(storage.key, begin);
    at = begin + storage.bytes;
  }
  if (begins.size !== storages.size) fail('last pickle', `${storages.size} keys`, `${begins.size}`);
  if (at !== fileBytes) fail('file', `${at} bytes, all that the pickles name`, `${fileBytes} bytes`);
  return placesOf(tensors, begins);
}

const MAGIC = 0x1950a86a20f9469cfc6cn;
const VERSION = 1001;
const PLAIN = { globals: new Map<string, never>(), persistent: () => null };

function placesOf(tensors: TorchPickle['tensors'], begins: ReadonlyMap<string, number>): Places {
  return new Map(
    [...tensors].map(([name, tensor]) => [name, placeOf(tensor, begins.get(tensor.storage.key) as number)]),
  );
}

function placeOf({ dtype, offset, shape, strides }: TorchTensor, storageBegin: number): TensorPlace {
  const begin = storageBegin + offset * dtypeInfo(dtype).bytes;
  return isRowMajor(shape, strides) ? { dtype, shape, begin } : { dtype, shape, begin, strides };
}

/** Whether elements follow each other; the stride of an axis of size 1 does not matter, nor does any of no elements. */
function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  if (elementsOf(shape) === 0) return true;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] === 1) continue;
    if (strides[axis] !== expected) return false;
    expected *= shape[axis] as number;
  }
  return true;
}

function requireLittleEndian(isLittle: boolean, file: string): void {
  if (isLittle) return;
  throw new FormatError({
    file,
    where: 'byte order',
    expected: 'little endian',
    received: 'another',
    cure: 'Load it with PyTorch and save its weights as safetensors.',
  });
}
