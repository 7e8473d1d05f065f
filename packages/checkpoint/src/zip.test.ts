import { expect, test } from 'vitest';
import { bytesOf, u16, u32, u64, type ZipPart, zip } from '../test/pickle-parts.ts';
import { parseZipDirectory, parseZipEnd, parseZipHeader, ZIP_END_BYTES, zipHeaderBytes } from './zip.ts';

/** The data of all entries of a zip, as a reader of files would read it. */
function contents(file: Uint8Array): Record<string, string> {
  const end = parseZipEnd(file.subarray(-ZIP_END_BYTES), file.length, 'x');
  const entries = parseZipDirectory(file.subarray(end.begin, end.begin + end.bytes), end, 'x');
  return Object.fromEntries(
    [...entries.values()].map((entry) => {
      const begin = parseZipHeader(file.subarray(entry.header, entry.header + zipHeaderBytes(entry)), entry, 'x');
      return [entry.name, String.fromCharCode(...file.subarray(begin, begin + entry.bytes))];
    }),
  );
}

function refused(file: Uint8Array): string {
  try {
    contents(file);
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`
      .replace(/^FormatError: x: /, '')
      .replace(' The file is damaged or not what it seems: get it again.', '');
  }
  return 'nothing was thrown';
}

const part = (name: string, data: string, lies: Partial<ZipPart> = {}): ZipPart => ({
  name,
  data: bytesOf(data),
  ...lies,
});

/** The zip64 end and its locator, of a directory. */
const end64 = (count: number, bytes: number, begin: number, after = begin + bytes) =>
  bytesOf(
    'PK\x06\x06',
    u64(44n),
    [...u16(0), ...u16(0), ...u32(0), ...u32(0)],
    [...u64(BigInt(count)), ...u64(BigInt(count)), ...u64(BigInt(bytes)), ...u64(BigInt(begin))],
    'PK\x06\x07',
    [...u32(0), ...u64(BigInt(after)), ...u32(1)],
  );

test('entries are read where they lie', () => {
  expect(contents(zip([part('a', 'one'), part('b/c', ''), part('d', 'three')]))).toEqual({
    a: 'one',
    'b/c': '',
    d: 'three',
  });
  expect(contents(zip([]))).toEqual({});
  expect(contents(zip([part('a', 'one', { wide: true }), part('b', 'two')]))).toEqual({ a: 'one', b: 'two' });
});

test('numbers of 64 bits are read, and must agree with those of 32', () => {
  const small = zip([part('a', 'one')]);
  const body = small.subarray(0, -22);
  const bytes = 47;
  const begin = body.length - bytes;
  const saturated = bytesOf('PK\x05\x06\0\0\0\0', u16(0xffff), u16(0xffff), u32(0xffffffff), u32(0xffffffff), u16(0));
  expect(contents(bytesOf(body, end64(1, bytes, begin), saturated))).toEqual({ a: 'one' });
  expect(contents(bytesOf(body, end64(1, bytes, begin), small.subarray(-22)))).toEqual({ a: 'one' });
  expect(refused(bytesOf(body, end64(2, bytes, begin), small.subarray(-22)))).toMatchInlineSnapshot(
    `"zip end: expected a zip64 end that agrees with the end, got other numbers."`,
  );
  expect(refused(bytesOf(body, end64(1, bytes, begin, 7), small.subarray(-22)))).toMatchInlineSnapshot(
    `"zip end: expected a zip64 end before the locator, got none."`,
  );
  expect(refused(bytesOf(body, end64(1, bytes, 2 ** 52, body.length), saturated))).toMatchInlineSnapshot(
    `"zip end: expected a directory that ends at 81, got one of 47 bytes at 4503599627370496."`,
  );
  expect(refused(bytesOf(body, saturated))).toMatchInlineSnapshot(
    `"zip end: expected a directory that ends at 81, got one of 4294967295 bytes at 4294967295."`,
  );
});

test('what the directory says must be possible', () => {
  const two = [part('a', 'one'), part('b', 'two')];
  expect(refused(bytesOf('no zip'))).toMatchInlineSnapshot(
    `"zip end: expected the end of a zip directory, got other bytes."`,
  );
  expect(refused(zip(two, { comment: 'x' }))).toMatchInlineSnapshot(
    `"zip end: expected the end of a zip directory, got other bytes."`,
  );
  expect(refused(zip(two, { count: 3 }))).toMatchInlineSnapshot(`"zip directory: expected 3 entries, got 2."`);
  expect(refused(zip(two, { begin: 3 }))).toMatchInlineSnapshot(
    `"zip end: expected a directory that ends at 162, got one of 94 bytes at 3."`,
  );
  expect(refused(zip(two, { bytes: 20 }))).toMatchInlineSnapshot(
    `"zip end: expected a directory that ends at 162, got one of 20 bytes at 68."`,
  );
  expect(refused(zip([part('a', 'one', { bytes: 1000 })]))).toMatchInlineSnapshot(
    `"zip directory: expected 'a' before 34, got 1000 bytes at 0."`,
  );
  expect(refused(zip([part('a', 'one', { bytes: 0xffffffff })]))).toMatchInlineSnapshot(
    `"zip directory: expected sizes of 64 bits, got none."`,
  );
  expect(refused(zip([part('a', 'one', { header: 5000 })]))).toMatchInlineSnapshot(
    `"zip directory: expected 'a' before 34, got 3 bytes at 5000."`,
  );
  expect(refused(zip([part('a', 'one', { wide: true, bytes: 2 ** 53 })]))).toMatchInlineSnapshot(
    `"zip directory: expected 'a' before 34, got 9007199254740992 bytes at 0."`,
  );
  expect(refused(zip([part('a', 'one', { header: 1 })]))).toMatchInlineSnapshot(
    `"zip entry 'a': expected an entry, got other bytes."`,
  );
});

test('entries are stored, in the open, apart, and of different names', () => {
  expect(refused(zip([part('a', 'one', { method: 8 })]))).toMatchInlineSnapshot(
    `"zip directory: expected 'a' stored as it is, got compressed. Load it with PyTorch and save it again."`,
  );
  expect(refused(zip([part('a', 'one', { flags: 1 })]))).toMatchInlineSnapshot(
    `"zip directory: expected 'a' in the open, got encrypted."`,
  );
  expect(refused(zip([part('a', 'one'), part('a', 'two')]))).toMatchInlineSnapshot(
    `"zip directory: expected entries with different names, got 'a' twice."`,
  );
  expect(refused(zip([part('a', 'one'), part('b', 'two', { header: 0 })]))).toMatchInlineSnapshot(
    `"zip directory: expected 'a' before 0, got 3 bytes at 0."`,
  );
  expect(refused(zip([part('a', 'one'), part('b', 'two', { header: 10 })]))).toMatchInlineSnapshot(
    `"zip directory: expected 'a' before 10, got 3 bytes at 0."`,
  );
  expect(refused(zip([part('a', 'one', { localName: 'b' })]))).toMatchInlineSnapshot(
    `"zip entry 'a': expected the name that the directory has, got another."`,
  );
  expect(refused(zip([part('a', 'one', { localName: 'aa' })]))).toMatchInlineSnapshot(
    `"zip entry 'a': expected the name that the directory has, got another."`,
  );
  expect(refused(zip([part('\xff', 'one')]))).toMatchInlineSnapshot(
    `"zip directory: expected names in UTF-8, got other bytes."`,
  );
});
