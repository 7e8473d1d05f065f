/**
 * The directory of a zip file whose entries are stored as they are, as PyTorch writes them: enough to read an entry in place.
 *
 *     entry …                 local header (30 bytes, name, extra), data
 *     directory               46 bytes, name, extra, comment for each entry
 *     [zip64 end, locator]    56 + 20 bytes, if the numbers are large (PyTorch always writes them)
 *     end                     22 bytes: how many entries, where the directory is
 *
 * A zip says many things twice, and what readers make of contradictions differs. Here all must agree: the directory touches the
 * end, entries lie before it without overlap, names are different, a local header has the name of its entry.
 */
import { FormatError } from './errors.ts';

/** An entry, as the directory has it. */
export interface ZipEntry {
  readonly name: string;
  /** The byte of its local header. */
  readonly header: number;
  readonly bytes: number;
  /** The byte that it must end before: the next entry's header, or the directory. */
  readonly limit: number;
}

/** Where a directory is. */
export interface ZipDirectory {
  readonly begin: number;
  readonly bytes: number;
  readonly entries: number;
}

/** How many of a file's last bytes say where the directory is. */
export const ZIP_END_BYTES: number = 22 + 20 + 56;

const LOCAL_BYTES = 30;
const ENTRY_BYTES = 46;
const MAX_DIRECTORY_BYTES = 1 << 24;
const [LOCAL, ENTRY, END, END64, LOCATOR] = [0x04034b50, 0x02014b50, 0x06054b50, 0x06064b50, 0x07064b50];
const REPACK = 'Load it with PyTorch and save it again.';
const ENCRYPTED = 0x2041; // encrypted, strongly encrypted, masked names

/** Where the directory is, from a file's last bytes. Throws a `FormatError` if they do not say. */
export function parseZipEnd(tail: Uint8Array, fileBytes: number, file: string): ZipDirectory {
  const fail = failIn(file, 'zip end');
  const end = tail.length - 22;
  const view = viewOf(tail);
  if (end < 0 || view.getUint32(end, true) !== END) return fail('the end of a zip directory', 'other bytes');
  if (view.getUint16(end + 20, true) !== 0) fail('no comment', 'one');

  let entries = view.getUint16(end + 10, true);
  let bytes = view.getUint32(end + 12, true);
  let begin = view.getUint32(end + 16, true);
  let after = fileBytes - 22; // what follows the directory
  if (end >= 76 && view.getUint32(end - 20, true) === LOCATOR) {
    const record = end - 76;
    after = fileBytes - ZIP_END_BYTES;
    if (uint64(view, end - 12) !== after || view.getUint32(record, true) !== END64)
      fail('a zip64 end before the locator', 'none');
    const wide = {
      entries: uint64(view, record + 32),
      bytes: uint64(view, record + 40),
      begin: uint64(view, record + 48),
    };
    const agree = (narrow: number, saturated: number, value: number) => narrow === saturated || narrow === value;
    if (
      !agree(entries, 0xffff, wide.entries) ||
      !agree(bytes, 0xffffffff, wide.bytes) ||
      !agree(begin, 0xffffffff, wide.begin)
    ) {
      fail('a zip64 end that agrees with the end', 'other numbers');
    }
    ({ entries, bytes, begin } = wide);
  }
  if (begin + bytes !== after) fail(`a directory that ends at ${after}`, `one of ${bytes} bytes at ${begin}`);
  if (bytes > MAX_DIRECTORY_BYTES) fail(`a directory of at most ${MAX_DIRECTORY_BYTES} bytes`, `${bytes}`);
  return { begin, bytes, entries };
}

/** The entries of a directory by name. Throws a `FormatError` if any is compressed, encrypted, repeated, or out of place. */
export function parseZipDirectory(
  bytes: Uint8Array,
  { begin, entries: count }: ZipDirectory,
  file: string,
): ReadonlyMap<string, ZipEntry> {
  const fail = failIn(file, 'zip directory');
  const view = viewOf(bytes);
  const found: Omit<ZipEntry, 'limit'>[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < ENTRY_BYTES || view.getUint32(at, true) !== ENTRY) return fail('an entry', 'other bytes');
    const nameEnd = at + ENTRY_BYTES + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const next = extraEnd + view.getUint16(at + 32, true);
    if (next > bytes.length) return fail('an entry within the directory', 'a longer one');
    const name = nameOf(bytes.subarray(at + ENTRY_BYTES, nameEnd), fail);
    if (view.getUint16(at + 8, true) & ENCRYPTED) fail(`'${name}' in the open`, 'encrypted');
    if (view.getUint16(at + 10, true) !== 0) fail(`'${name}' stored as it is`, 'compressed', REPACK);

    const sizes = [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
    const [size, packed, header] = widened(sizes, bytes.subarray(nameEnd, extraEnd), fail) as [number, number, number];
    if (size !== packed) fail(`'${name}' stored as it is`, `${packed} bytes for ${size}`);
    found.push({ name, header, bytes: size });
    at = next;
  }
  if (found.length !== count) fail(`${count} entries`, `${found.length}`);
  return placed(found, begin, fail);
}

/** How many bytes at an entry's header say where its data is. */
export const zipHeaderBytes = (entry: ZipEntry): number => LOCAL_BYTES + new TextEncoder().encode(entry.name).length;

/** The byte where an entry's data begins, from the bytes at its header. Throws a `FormatError` if they contradict the directory. */
export function parseZipHeader(bytes: Uint8Array, entry: ZipEntry, file: string): number {
  const fail = failIn(file, `zip entry '${entry.name.slice(0, 200)}'`);
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== LOCAL) return fail('an entry', 'other bytes');
  const length = view.getUint16(26, true);
  if (length !== bytes.length - LOCAL_BYTES || nameOf(bytes.subarray(LOCAL_BYTES), fail) !== entry.name) {
    fail('the name that the directory has', 'another');
  }
  if (view.getUint16(6, true) & ENCRYPTED || view.getUint16(8, true) !== 0)
    fail('an entry stored as it is', 'a packed one');
  const begin = entry.header + LOCAL_BYTES + length + view.getUint16(28, true);
  if (begin + entry.bytes > entry.limit) fail(`${entry.bytes} bytes before ${entry.limit}`, `a begin at ${begin}`);
  return begin;
}

/** Entries in the order in which they lie, each with the byte that it must end before. */
function placed(found: readonly Omit<ZipEntry, 'limit'>[], end: number, fail: Fail): ReadonlyMap<string, ZipEntry> {
  const sorted = [...found].sort((a, b) => a.header - b.header);
  const entries = new Map<string, ZipEntry>();
  for (const [i, entry] of sorted.entries()) {
    const limit = sorted[i + 1]?.header ?? end;
    const { name, header, bytes } = entry;
    if (entries.has(name)) fail('entries with different names', `'${name}' twice`);
    if (header + LOCAL_BYTES + bytes > limit) fail(`'${name}' before ${limit}`, `${bytes} bytes at ${header}`);
    entries.set(name, { ...entry, limit });
  }
  return entries;
}

/** Sizes that do not fit their 32 bits stand, in the same order, in an extra field. */
function widened(sizes: readonly number[], extra: Uint8Array, fail: Fail): number[] {
  const view = viewOf(extra);
  let [at, end] = [0, 0];
  for (let field = 0; field + 4 <= extra.length; field += 4 + view.getUint16(field + 2, true)) {
    if (view.getUint16(field, true) !== 1) continue;
    at = field + 4;
    end = Math.min(extra.length, at + view.getUint16(field + 2, true));
    break;
  }
  return sizes.map((size) => {
    if (size !== 0xffffffff) return size;
    if (at + 8 > end) return fail('sizes of 64 bits', 'none');
    at += 8;
    return uint64(view, at - 8);
  });
}

type Fail = (expected: string, received: string, cure?: string) => never;

const failIn =
  (file: string, where: string): Fail =>
  (expected, received, cure) => {
    throw new FormatError({ file, where, expected, received, ...(cure && { cure }) });
  };

function nameOf(bytes: Uint8Array, fail: Fail): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail('names in UTF-8', 'other bytes');
  }
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Beyond 2^53 it is rounded, and still beyond any file. */
const uint64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));
