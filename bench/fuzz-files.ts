/**
 * Model files, changed at random, opened and read: what comes of each. A case is its number: the same seed makes the same file.
 *
 * A file is a folder of files with one way to read it. One to four changes are made to one of them, mostly where numbers and
 * names stand; some are repaired so that what lies behind a length is reached too.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type CheckpointWeights,
  openGguf,
  openSafetensors,
  openTorchFile,
  openWeights,
  type TensorFile,
  type TensorSource,
  writeSafetensors,
} from '@mobilequant/checkpoint/node';
import { random } from './measure.ts';

/** What became of a file: read to the end, refused as it should be, or anything else. */
export type Outcome = 'read' | 'refused' | 'wrong';

/** A case that went wrong. */
export interface Wrong {
  readonly number: number;
  readonly kind: string;
  readonly error: Error;
}

/** What came of all cases. */
export interface FuzzResult {
  readonly outcomes: Readonly<Record<string, Readonly<Record<Outcome, number>>>>;
  readonly wrong: readonly Wrong[];
  /** Milliseconds of the slowest case, and which it was. */
  readonly slowest: { readonly milliseconds: number; readonly number: number; readonly kind: string };
  /** Bytes by which the process grew at most. */
  readonly growth: number;
}

export interface FuzzOptions {
  /** How many files. */
  readonly count: number;
  readonly seed?: number;
  /** The number of the first file. */
  readonly first?: number;
  /** Told before each file. */
  readonly onCase?: (number: number) => void;
}

/** A kind of file that is changed. */
interface Original {
  readonly kind: string;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly read: (directory: string) => Promise<void>;
  /** Makes lengths true again after a change. */
  readonly repair?: (bytes: Buffer, original: Buffer) => Buffer;
}

const REFUSALS = ['FormatError', 'CheckpointError'];

/** Reads changed files, and says what came of them. */
export async function fuzzFiles({ count, seed = 1, first = 0, onCase }: FuzzOptions): Promise<FuzzResult> {
  const root = await mkdtemp(join(tmpdir(), 'fuzz-'));
  try {
    const originals = await originalFiles(root);
    const outcomes: Record<string, Record<Outcome, number>> = {};
    const wrong: Wrong[] = [];
    let slowest = { milliseconds: 0, number: -1, kind: '' };
    for (const { kind, files, read } of originals) {
      for (const [name, bytes] of files) await writeFile(join(root, kind, name), bytes);
      await read(join(root, kind)); // it can be read before it is changed, and the process has its size after
    }
    const before = process.resourceUsage().maxRSS;
    for (let number = first; number < first + count; number++) {
      onCase?.(number);
      const next = random(seed * 1_000_003 + number);
      const original = originals[number % originals.length] as Original;
      const directory = join(root, original.kind);
      for (const [name, bytes] of changed(original, originals, next)) await writeFile(join(directory, name), bytes);

      const start = performance.now();
      const error = await original.read(directory).then(
        () => undefined,
        (reason: Error) => reason,
      );
      const milliseconds = performance.now() - start;

      const outcome = error === undefined ? 'read' : REFUSALS.includes(error.name) ? 'refused' : 'wrong';
      if (error && outcome === 'wrong') wrong.push({ number, kind: original.kind, error });
      if (milliseconds > slowest.milliseconds) slowest = { milliseconds, number, kind: original.kind };
      const counts = (outcomes[original.kind] ??= { read: 0, refused: 0, wrong: 0 });
      counts[outcome]++;
    }
    return { outcomes, wrong, slowest, growth: (process.resourceUsage().maxRSS - before) * 1024 };
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

const FIXTURES = fileURLToPath(new URL('../packages/checkpoint/test/fixtures/', import.meta.url));

/** One file of each format, and a folder of shards where the format has them. */
async function originalFiles(root: string): Promise<Original[]> {
  const safetensors = join(root, 'made');
  await mkdir(safetensors);
  const [single, shards] = [join(safetensors, 'model.safetensors'), join(safetensors, 'shards')];
  await mkdir(shards);
  await writeSafetensors(single, TENSORS, { format: 'pt' });
  await writeSafetensors(join(shards, 'model.safetensors'), TENSORS, { format: 'pt' }, { maxShardBytes: 64 });

  const torch = join(FIXTURES, 'torch');
  const originals: Original[] = [
    {
      kind: 'safetensors',
      files: new Map([['model.safetensors', await readFile(single)]]),
      read: async (directory) => readTensors(await openSafetensors(join(directory, 'model.safetensors'))),
      repair: withHeaderLength,
    },
    { kind: 'safetensors, sharded', files: await filesIn(shards), read: readFolder },
    ...(await Promise.all(
      ['zip.bin', 'zip32.bin', 'protocol4.bin', 'legacy.bin', 'nested-legacy.bin'].map(async (file) => ({
        kind: `PyTorch, ${file}`,
        files: new Map([[file, await readFile(join(torch, file))]]),
        read: async (directory: string) => readTensors(await openTorchFile(join(directory, file))),
      })),
    )),
    { kind: 'PyTorch, sharded', files: await filesIn(join(torch, 'sharded')), read: readFolder },
    {
      kind: 'GGUF',
      files: new Map([['tiny.gguf', await readFile(join(FIXTURES, 'gguf', 'tiny.gguf'))]]),
      read: async (directory) => {
        const { weights, tokenizer } = await openGguf(join(directory, 'tiny.gguf'));
        await readWeights(weights);
        tokenizer();
      },
    },
  ];
  for (const { kind } of originals) await mkdir(join(root, kind));
  return originals;
}

const TENSORS: readonly TensorSource[] = [
  ['embed_tokens.weight', 'float32', [6, 4]],
  ['layers.0.q_proj.weight', 'float16', [4, 4]],
  ['layers.0.k_proj.weight', 'bfloat16', [2, 4]],
  ['layers.0.scale', 'float64', []],
  ['norm.weight', 'float32', [4]],
  ['norm.bias', 'float32', [0]],
].map(([name, dtype, shape]) => {
  const size = (shape as number[]).reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: size }, (_, i) => i / 8 - 1);
  return {
    name: `model.${name}`,
    dtype: dtype as 'float32',
    shape: shape as number[],
    data: () => (dtype === 'float64' ? Float64Array.from(data) : data),
  };
});

async function filesIn(directory: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(directory)).sort();
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name))] as const)));
}

const readFolder = async (directory: string): Promise<void> => readWeights(await openWeights(directory));

const isFloat = (dtype: string): boolean => /^b?float(16|32|64)$/.test(dtype);

/** Every tensor of a file in each way that there is. */
async function readTensors({ tensors, readStored, readFloat32, readRows }: TensorFile): Promise<void> {
  for (const [name, { dtype, shape }] of tensors) {
    await readStored(name);
    if (!isFloat(dtype)) continue;
    await readFloat32(name);
    if (shape.length === 2 && shape[0]) await readRows(name, [shape[0] - 1, 0]);
  }
}

async function readWeights(weights: CheckpointWeights): Promise<void> {
  for (const name of weights.names()) {
    if (!isFloat(weights.dtype(name))) continue;
    const [rows, columns] = weights.shape(name);
    await weights.read(name);
    if (rows && columns !== undefined && weights.shape(name).length === 2) await weights.readRows(name, [rows - 1, 0]);
  }
}

/** A safetensors file whose length of header fits data that is as long as before. */
function withHeaderLength(bytes: Buffer, original: Buffer): Buffer {
  if (original.length < 8 || bytes.length < 8) return bytes;
  const dataBytes = original.length - 8 - Number(original.readBigUInt64LE(0));
  const repaired = Buffer.from(bytes);
  repaired.writeBigUInt64LE(BigInt(Math.max(0, bytes.length - 8 - dataBytes)), 0);
  return repaired;
}

/** The files of an original, one of them changed. */
function changed(
  { files, repair }: Original,
  originals: readonly Original[],
  next: () => number,
): ReadonlyMap<string, Buffer> {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const [name, original] = pick([...files]);
  let bytes = original;
  for (let changes = 1 + Math.floor(next() ** 2 * 4); changes > 0; changes--) {
    const donor = pick([...pick(originals).files.values()]);
    bytes = pick(next() < 0.6 ? CHANGES_IN_PLACE : CHANGES_OF_LENGTH)(bytes, next, donor);
  }
  if (repair && next() < 0.5) bytes = repair(bytes, original);
  return new Map(files).set(name, bytes);
}

type Change = (bytes: Buffer, next: () => number, donor: Buffer) => Buffer;

const BYTES = [0, 1, 0x7f, 0x80, 0xff];
const LENGTHS = [
  0n,
  1n,
  2n ** 16n,
  2n ** 31n - 1n,
  2n ** 32n - 1n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
];
const NUMBERS = [
  '0',
  '-1',
  '1',
  '255',
  '4294967296',
  '9007199254740991',
  '9007199254740993',
  '1e308',
  '1.5',
  '[]',
  'null',
];
const MAX_BYTES = 1 << 18;
const BININT1 = 0x4b;
const INSTRUCTIONS = [
  ...[
    'N',
    '\x88',
    ')',
    '}',
    ']',
    '(',
    't',
    '0',
    'R',
    'Q',
    'b',
    's',
    'u',
    'a',
    'e',
    'h\x05',
    'q\x05',
    '\x85',
    '\x86',
    '\x93',
    '.',
  ],
  ...['K\x03', 'M\xff\xff', 'J\xff\xff\xff\x7f', 'J\xff\xff\xff\xff', 'j\xff\xff\xff\xff', 'r\xff\xff\xff\xff'],
  ...[
    '\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f',
    '\x8a\x07\xff\xff\xff\xff\xff\xff\x1f',
    '\x8b\xff\xff\xff\x7f',
    'X\xff\xff\xff\xff',
  ],
  ...['cos\nsystem\n', 'cbuiltins\neval\n', '(K\x02K\x02t', '(K\x00K\x00t', 'G\x7f\xf0\0\0\0\0\0\0'],
];

const below = (limit: number, next: () => number): number => Math.floor(next() * Math.max(1, limit));

/** Replaces `removed` bytes from a place by others. */
const replaced = (bytes: Buffer, at: number, removed: number, by: Uint8Array): Buffer =>
  Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + removed)]).subarray(0, MAX_BYTES);

const span = (bytes: Buffer, next: () => number, longest = 64): Buffer => {
  const at = below(bytes.length, next);
  return bytes.subarray(at, at + 1 + below(longest, next));
};

const CHANGES_IN_PLACE: readonly Change[] = [
  // a bit
  (bytes, next) => {
    const at = below(bytes.length, next);
    return replaced(bytes, at, 1, Uint8Array.of((bytes[at] ?? 0) ^ (1 << below(8, next))));
  },
  // a byte
  (bytes, next) => {
    const value = next() < 0.5 ? (BYTES[below(BYTES.length, next)] as number) : below(256, next);
    return replaced(bytes, below(bytes.length, next), 1, Uint8Array.of(value));
  },
  // an integer of 2, 4 or 8 bytes: an absurd one, or one near how much there is
  (bytes, next) => {
    const width = [2, 4, 8][below(3, next)] as number;
    const near = BigInt(Math.max(0, bytes.length + below(9, next) - 4));
    const value = next() < 0.3 ? near : (LENGTHS[below(LENGTHS.length, next)] as bigint);
    const integer = Buffer.alloc(8);
    integer.writeBigUInt64LE(value);
    return replaced(bytes, below(bytes.length, next), width, integer.subarray(0, width));
  },
  // a small integer of a pickle
  (bytes, next) => {
    const at = bytes.indexOf(BININT1, below(bytes.length, next));
    const value = next() < 0.5 ? below(8, next) : below(256, next);
    return at < 0 ? bytes : replaced(bytes, at + 1, 1, Uint8Array.of(value));
  },
  // a number in text by one of as many digits
  (bytes, next) => {
    const { at, end } = digitsIn(bytes, next);
    const digits = Buffer.from(bytes.subarray(at, end)).map(() => 0x30 + below(10, next));
    return replaced(bytes, at, end - at, digits);
  },
  // some bytes as elsewhere
  (bytes, next) => {
    const piece = span(bytes, next, 16);
    return replaced(bytes, below(bytes.length - piece.length, next), piece.length, piece);
  },
];

const CHANGES_OF_LENGTH: readonly Change[] = [
  // a number in text
  (bytes, next) => {
    const { at, end } = digitsIn(bytes, next);
    return replaced(bytes, at, end - at, Buffer.from(NUMBERS[below(NUMBERS.length, next)] as string));
  },
  // a small integer of a pickle by another instruction
  (bytes, next) => {
    const at = bytes.indexOf(BININT1, below(bytes.length, next));
    const instruction = Buffer.from(INSTRUCTIONS[below(INSTRUCTIONS.length, next)] as string, 'latin1');
    return at < 0 ? bytes : replaced(bytes, at, 2, instruction);
  },
  // an end before the end
  (bytes, next) => bytes.subarray(0, below(bytes.length, next)),
  // some bytes less, twice, or of another file
  (bytes, next) => replaced(bytes, below(bytes.length, next), 1 + below(16, next), new Uint8Array(0)),
  (bytes, next) => replaced(bytes, below(bytes.length, next), 0, span(bytes, next)),
  (bytes, next, donor) => {
    const piece = span(donor, next, 512);
    return replaced(bytes, below(bytes.length, next), next() < 0.5 ? piece.length : 0, piece);
  },
];

/** Where digits stand from a random place on. */
function digitsIn(bytes: Buffer, next: () => number): { readonly at: number; readonly end: number } {
  let at = below(bytes.length, next);
  while (at < bytes.length && !isDigit(bytes[at])) at++;
  let end = at;
  while (isDigit(bytes[end])) end++;
  return { at, end };
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;
