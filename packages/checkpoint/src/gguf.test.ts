import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { GGMLQuantizationType, gguf } from '@huggingface/gguf';
import { expect, test } from 'vitest';
import { bytesOf, f32, file, header, i32, tensor, u32, value } from '../test/gguf-bytes.ts';
import { FormatError } from './errors.ts';
import { type GgufHeader, MAX_GGUF_HEADER_BYTES, parseGgufHeader } from './gguf.ts';

const TINY = fileURLToPath(new URL('../test/fixtures/gguf/tiny.gguf', import.meta.url));

const parse = (bytes: Uint8Array, fileBytes = bytes.length): GgufHeader => {
  const result = parseGgufHeader(bytes, fileBytes, 'x.gguf');
  if (!result) throw new Error('more bytes are needed');
  return result;
};

/** The message of the `FormatError` that bytes give. */
function messageOf(bytes: Uint8Array, fileBytes?: number): string {
  try {
    parse(bytes, fileBytes);
  } catch (error) {
    if (error instanceof FormatError) return error.message.replace(/ The file is damaged .*$/, '');
    throw error;
  }
  return 'no error';
}

test('a header is read as @huggingface/gguf reads it', async () => {
  const ours = parse(new Uint8Array(await readFile(TINY)));
  const theirs = await gguf(TINY, { allowLocalFile: true });
  const { version, tensor_count, kv_count, ...metadata } = theirs.metadata;
  expect([ours.version, BigInt(ours.tensors.size), BigInt(ours.metadata.size)]).toEqual([
    version,
    tensor_count,
    kv_count,
  ]);
  const plain = [...ours.metadata].map(([key, entry]) => [
    key,
    typeof entry === 'object' ? Array.from<unknown>(entry) : entry,
  ]);
  expect(Object.fromEntries(plain)).toEqual(metadata);
  expect([...ours.tensors].map(([name, { type, shape, begin }]) => ({ name, type, shape, begin }))).toEqual(
    theirs.tensorInfos.map(({ name, dtype, shape, offset }) => ({
      name,
      type: GGMLQuantizationType[dtype],
      shape: shape.map(Number).reverse(),
      begin: Number(theirs.tensorDataOffset + offset),
    })),
  );
});

test('every kind of value is read', () => {
  const metadata = {
    u8: bytesOf(u32(0), Uint8Array.of(200)),
    i8: bytesOf(u32(1), Uint8Array.of(200)),
    u16: bytesOf(u32(2), Uint8Array.of(0, 128)),
    i16: bytesOf(u32(3), Uint8Array.of(0, 128)),
    u32: value.u32(4_000_000_000),
    i32: bytesOf(u32(5), i32(-7)),
    f32: value.f32(0.5),
    bool: value.bool(true),
    text: value.text('\uFEFFä'),
    u64: bytesOf(u32(10), 9_007_199_254_740_991n),
    large: bytesOf(u32(10), 9_007_199_254_740_993n),
    i64: bytesOf(u32(11), 0xffff_ffff_ffff_fffen),
    f64: bytesOf(u32(12), new Uint8Array(Float64Array.of(0.1).buffer)),
    texts: value.texts(['a', '', '\uFEFF']),
    bools: bytesOf(u32(9), u32(7), 2n, Uint8Array.of(1, 0)),
    i32s: value.i32s([-1, 2]),
    none: value.f32s([]),
  };
  expect(Object.fromEntries(parse(header(metadata)).metadata)).toEqual({
    u8: 200,
    i8: -56,
    u16: 32768,
    i16: -32768,
    u32: 4_000_000_000,
    i32: -7,
    f32: 0.5,
    bool: true,
    text: '\uFEFFä',
    u64: 9_007_199_254_740_991,
    large: 9_007_199_254_740_993n,
    i64: -2,
    f64: 0.1,
    texts: ['a', '', '\uFEFF'],
    bools: [true, false],
    i32s: Int32Array.of(-1, 2),
    none: new Float32Array(0),
  });
});

test('tensors lie on multiples of the alignment, behind the header', () => {
  const bytes = file({ 'general.alignment': value.u32(32) }, { a: [2, 3], b: [5], c: [1] });
  const { tensors } = parse(bytes);
  const begin = tensors.get('a')?.begin as number;
  expect(begin % 32).toBe(0);
  expect([...tensors]).toEqual([
    ['a', { type: 'F32', shape: [2, 3], begin, bytes: 24 }],
    ['b', { type: 'F32', shape: [5], begin: begin + 32, bytes: 20 }],
    ['c', { type: 'F32', shape: [1], begin: begin + 64, bytes: 4 }],
  ]);
  expect(begin + 96).toBe(bytes.length);
});

test('a part of a header is not enough, and a file of that length is damaged, at every byte', async () => {
  const bytes = new Uint8Array(await readFile(TINY));
  const end = Math.min(...[...parse(bytes).tensors.values()].map(({ begin }) => begin));
  const padding = 31;
  for (let length = 0; length < end - padding; length++) {
    const part = bytes.subarray(0, length);
    expect(parseGgufHeader(part, bytes.length, 'x.gguf')).toBeUndefined();
    expect(() => parseGgufHeader(part, length, 'x.gguf')).toThrow(FormatError);
  }
  for (let length = end - padding; length < bytes.length; length += 97) {
    expect(() => parse(bytes.subarray(0, length), length)).toThrow(FormatError);
  }
  expect(parse(bytes.subarray(0, end), bytes.length).tensors.size).toBe(20);
});

const HUGE = 2n ** 63n;

test.each([
  ['another magic', bytesOf(u32(1), u32(3), 0n, 0n), "magic: expected 'GGUF', got 0x00000001."],
  [
    'version 1',
    header({}, [], { version: 1 }),
    'version: expected 2 or 3, little endian, got 1. Convert the model with a current llama.cpp.',
  ],
  [
    'a big-endian file',
    header({}, [], { version: 3 << 24 }),
    'version: expected 2 or 3, little endian, got a big-endian file. Convert the model with a current llama.cpp.',
  ],
  ['more tensors than can follow', header({}, [], { tensorCount: 1n }), 'tensor count: expected at most 0, got 1.'],
  [
    'a huge number of tensors',
    header({}, [], { tensorCount: HUGE }),
    'tensor count: expected a number below 2^53, got 9223372036854775808.',
  ],
  [
    'a huge number of entries',
    header({}, [], { entryCount: 2n ** 64n - 1n }),
    'metadata count: expected a number below 2^53, got 18446744073709551615.',
  ],
  [
    'a huge key',
    bytesOf(header({}, [], { entryCount: 1n }), HUGE, new Uint8Array(16)),
    'metadata key 0 length: expected a number below 2^53, got 9223372036854775808.',
  ],
  [
    'a key longer than the file',
    bytesOf(header({}, [], { entryCount: 1n }), 1000n, new Uint8Array(16)),
    'metadata key 0 length: expected at most 16, got 1000.',
  ],
  ['a key of nothing', header({ '': value.u32(1) }), 'metadata key 0: expected a name, got nothing.'],
  [
    'a key that is not UTF-8',
    bytesOf(header({}, [], { entryCount: 1n }), 1n, Uint8Array.of(0xff), value.u32(1)),
    'metadata key 0: expected a name, got bytes that are not UTF-8.',
  ],
  [
    'a key twice',
    bytesOf(header({ a: value.u32(1) }, [], { entryCount: 2n }), 'a', value.u32(2)),
    "metadata 'a': expected each key once, got it twice.",
  ],
  [
    'a huge text',
    header({ a: bytesOf(u32(8), HUGE) }),
    "metadata 'a' length: expected a number below 2^53, got 9223372036854775808.",
  ],
  [
    'a text longer than the file',
    header({ a: bytesOf(u32(8), 100n) }),
    "metadata 'a' length: expected at most 0, got 100.",
  ],
  [
    'a huge list',
    header({ a: bytesOf(u32(9), u32(0), HUGE) }),
    "metadata 'a' length: expected a number below 2^53, got 9223372036854775808.",
  ],
  [
    'a list longer than the file',
    header({ a: bytesOf(u32(9), u32(6), 3n, f32(1, 2)) }),
    "metadata 'a' length: expected at most 2, got 3.",
  ],
  [
    'a list of more texts than can follow',
    header({ a: bytesOf(u32(9), u32(8), 3n, 'x') }),
    "metadata 'a' length: expected at most 1, got 3.",
  ],
  [
    'a list of lists',
    header({ a: bytesOf(u32(9), u32(9), 1n, u32(9), 1n) }),
    "metadata 'a': expected a number, a text, true or false, or a list of them, got a list of lists.",
  ],
  [
    'an unknown type of value',
    header({ a: bytesOf(u32(13), 0n) }),
    "metadata 'a': expected a number, a text, true or false, or a list of them, got type 13.",
  ],
  [
    'an unknown type of elements',
    header({ a: bytesOf(u32(9), u32(99), 1n, 0n) }),
    "metadata 'a': expected a number, a text, true or false, or a list of them, got type 99.",
  ],
  [
    'a truth that is neither',
    header({ a: bytesOf(u32(7), Uint8Array.of(2)) }),
    "metadata 'a': expected true (1) or false (0), got 2.",
  ],
  [
    'an alignment of 0',
    header({ 'general.alignment': value.u32(0) }),
    "metadata 'general.alignment': expected a power of 2, got 0.",
  ],
  [
    'an alignment of 48',
    header({ 'general.alignment': value.u32(48) }),
    "metadata 'general.alignment': expected a power of 2, got 48.",
  ],
  [
    'an alignment in words',
    header({ 'general.alignment': value.text('32') }),
    "metadata 'general.alignment': expected a power of 2, got '32'.",
  ],
  [
    'a tensor twice',
    header({}, [tensor('a', [1n]), tensor('a', [1n])]),
    "tensor 'a': expected each name once, got it twice.",
  ],
  [
    'a tensor without axes',
    header({}, [bytesOf('a', u32(0), u32(0), 0n, 0n)]),
    "tensor 'a' axes: expected 1 to 4, got 0.",
  ],
  [
    'a tensor of many axes',
    header({}, [bytesOf('a', u32(0xffff_ffff), u32(0), 0n, 0n)]),
    "tensor 'a' axes: expected 1 to 4, got 4294967295.",
  ],
  ['a size of 0', header({}, [tensor('a', [0n])]), "tensor 'a' size: expected whole numbers from 1, got 0."],
  [
    'a size of 2^63',
    header({}, [tensor('a', [HUGE])]),
    "tensor 'a' size: expected a number below 2^53, got 9223372036854775808.",
  ],
  [
    'sizes whose product is beyond counting',
    header({}, [tensor('a', [2n ** 31n, 2n ** 31n])]),
    "tensor 'a' size: expected a size that can be counted, got 2147483648.",
  ],
  [
    'a product that wraps around to 0',
    header({}, [tensor('a', [2n ** 32n, 2n ** 32n, 1n])]),
    "tensor 'a' size: expected a size that can be counted, got 4294967296.",
  ],
  [
    'a type that is not covered',
    header({}, [tensor('a', [256n], 16)]),
    "tensor 'a' type: expected one of F32, F64, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, got IQ2_XXS. Get the model in one of these formats.",
  ],
  [
    'an unknown type',
    header({}, [tensor('a', [32n], 4)]),
    "tensor 'a' type: expected one of F32, F64, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, got 4. Get the model in one of these formats.",
  ],
  [
    'a row that is no whole number of blocks',
    header({}, [tensor('a', [33n], 8)]),
    "tensor 'a' size: expected rows of whole blocks of 32 (Q8_0), got 33 columns.",
  ],
  ['an end beyond the file', header({}, [tensor('a', [1n])]), "tensor 'a': expected its end within 57 bytes, got 68."],
  [
    'an offset beyond the file',
    header({}, [tensor('a', [1n], 0, 2n ** 40n)]),
    "tensor 'a' offset: expected 0, behind the tensor before, got 1099511627776.",
  ],
  [
    'an offset of 2^63',
    header({}, [tensor('a', [1n], 0, HUGE)]),
    "tensor 'a' offset: expected a number below 2^53, got 9223372036854775808.",
  ],
  [
    'an overlap',
    bytesOf(header({}, [tensor('a', [1n]), tensor('b', [1n], 0, 0n)]), new Uint8Array(99)),
    "tensor 'b' offset: expected 32, behind the tensor before, got 0.",
  ],
  [
    'a hole',
    bytesOf(header({}, [tensor('a', [1n]), tensor('b', [1n], 0, 64n)]), new Uint8Array(99)),
    "tensor 'b' offset: expected 32, behind the tensor before, got 64.",
  ],
])('%s is refused', (_, bytes, message) => {
  expect(messageOf(bytes)).toBe(`x.gguf: ${message}`);
});

test('a header longer than any real one is refused before it is read', () => {
  const bytes = header({ a: bytesOf(u32(8), BigInt(MAX_GGUF_HEADER_BYTES)) });
  expect(messageOf(bytes, 2 ** 45)).toMatchInlineSnapshot(
    `"x.gguf: metadata 'a' length: expected at most 67108819, got 67108864."`,
  );
  const list = header({ a: bytesOf(u32(9), u32(0), 2n ** 40n) });
  expect(messageOf(list, 2 ** 45)).toMatchInlineSnapshot(
    `"x.gguf: metadata 'a' length: expected at most 67108815, got 1099511627776."`,
  );
});

test('names from a hostile file do not reach the terminal as they are', () => {
  const bytes = header({}, [tensor('\u001b[2J', [0n])]);
  expect(messageOf(bytes)).toMatchInlineSnapshot(`"x.gguf: tensor '?[2J' size: expected whole numbers from 1, got 0."`);
});
