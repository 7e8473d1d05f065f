import { expect, test } from 'vitest';
import { FormatError } from './errors.ts';
import { encodeHeader, PREFIX_BYTES, parseHeader, parseHeaderLength } from './safetensors.ts';

const parse = (header: unknown, dataBytes: number) =>
  parseHeader(
    new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header)),
    dataBytes,
    'a.safetensors',
  );

/** One f32 tensor of 3 elements, with some of its claims changed. */
const one = (claims: object) => ({ x: { dtype: 'F32', shape: [3], data_offsets: [0, 12], ...claims } });

test('what is encoded is parsed', () => {
  const specs = [
    { name: 'a', dtype: 'float32', shape: [2, 3] },
    { name: '__proto__', dtype: 'bfloat16', shape: [] },
    { name: '7', dtype: 'bool', shape: [0, 5] },
  ] as const;
  const { bytes, tensors } = encodeHeader(specs, { by: 'ä' });
  expect(bytes.length % 8).toBe(0);
  expect(parseHeaderLength(bytes, bytes.length + 26, 'a')).toBe(bytes.length - PREFIX_BYTES);
  const header = parseHeader(bytes.subarray(PREFIX_BYTES), 26, 'a');
  expect(new Map(header.tensors)).toEqual(tensors);
  expect(header.metadata).toEqual({ by: 'ä' });
});

test('tensors that are to be written need different names', () => {
  const spec = { name: 'a', dtype: 'int8', shape: [1] } as const;
  expect(() => encodeHeader([spec, spec])).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: safetensors: expected tensors with different names, got 'a' twice.]`,
  );
  expect(() => encodeHeader([{ ...spec, name: '__metadata__' }])).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: safetensors: expected tensors with different names, got '__metadata__' as one.]`,
  );
});

test('a header length must fit into the file and below 100 MB', () => {
  const prefix = (length: bigint) => new Uint8Array(new BigUint64Array([length]).buffer);
  expect(parseHeaderLength(prefix(92n), 100, 'a')).toBe(92);
  expect(() => parseHeaderLength(new Uint8Array(3), 3, 'a')).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a: header length: expected a safetensors file of at least 8 bytes, got 3 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parseHeaderLength(prefix(93n), 100, 'a')).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a: header length: expected at most 92 bytes, got 93 in a file of 100 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parseHeaderLength(prefix(2n ** 64n - 1n), 1e12, 'a')).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a: header length: expected at most 100000000 bytes, got 18446744073709551615 in a file of 1000000000000 bytes. The file is damaged or not what it seems: get it again.]`,
  );
});

test('an error carries its facts', () => {
  try {
    parse(one({ dtype: 'F99' }), 12);
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    expect(error).toMatchObject({ file: 'a.safetensors', where: "tensor 'x' dtype", received: '"F99"' });
  }
});

test('a header that is not a JSON object is refused', () => {
  expect(() => parse('', 0)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: header: expected a JSON object, got nothing. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse('{"a": ', 0)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: header: expected a JSON object, got invalid JSON: {"a": . The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse('[1, 2]', 0)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: header: expected a JSON object, got a list. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parseHeader(Uint8Array.of(0x7b, 0xff, 0x7d), 0, 'a')).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a: header: expected a JSON object, got bytes that are not UTF-8. The file is damaged or not what it seems: get it again.]`,
  );
});

test('a repeated key is refused, at any depth and however it is written', () => {
  const x = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}';
  expect(() => parse(`{"x":${x},"\\u0078":${x}}`, 1)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: header: expected a JSON object, got the key "x" twice in one object. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() =>
    parse('{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"shape":[2]}}', 1),
  ).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: header: expected a JSON object, got the key "shape" twice in one object. The file is damaged or not what it seems: get it again.]`,
  );
  expect(parse(`{"__metadata__":{"x":"{\\"a\\":1,\\"a\\":1}"},"x":${x}}`, 1).tensors.size).toBe(1);
});

test('a header of absurd depth or length is refused in few words', () => {
  const deep = (open: string, close: string) => `${open.repeat(1e5)}0${close.repeat(1e5)}`;
  for (const value of [deep('[', ']'), deep('{"a":', '}'), `"${'\\\\'.repeat(1e6)}"`]) {
    for (const header of [`{"x":${value}}`, `{"x":{"dtype":"F32","shape":${value},"data_offsets":[0,0]}}`]) {
      expect(() => parse(header, 0)).toThrow(FormatError);
      expect(() => parse(header, 0)).toThrow(/^.{0,400}$/);
    }
  }
  expect(() => parse(deep('{"a":', '}'), 0)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: header: expected a JSON object, got one of more than 200 levels. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ shape: [...Array(1e5).fill(1), -1] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a list of whole numbers from 0, got a list. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ shape: [[3]] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a list of whole numbers from 0, got [a list]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(`{"x":"${'\\"'.repeat(1e5)}`, 0)).toThrow('invalid JSON');
});

test('metadata must be texts', () => {
  expect(() => parse({ __metadata__: { a: 1 } }, 0)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: __metadata__ 'a': expected a text, got 1. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse({ __metadata__: ['a'] }, 0)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: __metadata__: expected an object of texts, got a list. The file is damaged or not what it seems: get it again.]`,
  );
});

test('a tensor must be described completely', () => {
  expect(() => parse({ x: 3 }, 0)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x': expected an object with dtype, shape and data_offsets, got 3. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ dtype: undefined }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' dtype: expected one of F32, F16, BF16, F64, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, F8_E4M3, F8_E5M2, F8_E8M0, got nothing. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ shape: undefined }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a list of whole numbers from 0, got nothing. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ data_offsets: [0] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' data_offsets: expected two whole numbers from 0, got [0]. The file is damaged or not what it seems: get it again.]`,
  );
});

test('sizes must be whole numbers from 0 that can be counted', () => {
  expect(() => parse(one({ shape: [-3] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a list of whole numbers from 0, got [-3]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ shape: [1.5, 2] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a list of whole numbers from 0, got [1.5,2]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ shape: ['3'] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a list of whole numbers from 0, got ["3"]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ shape: [2 ** 32, 2 ** 32] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a size that can be counted, got [4294967296,4294967296]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() =>
    parse(one({ shape: [2 ** 40, 2 ** 40, 0], data_offsets: [0, 0] }), 0),
  ).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' shape: expected a size that can be counted, got [1099511627776,1099511627776,0]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ data_offsets: [-12, 0] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' data_offsets: expected two whole numbers from 0, got [-12,0]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() =>
    parse('{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,1e999]}}', 12),
  ).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' data_offsets: expected two whole numbers from 0, got [0,null]. The file is damaged or not what it seems: get it again.]`,
  );
});

test('a shape must agree with its range', () => {
  expect(() => parse(one({ shape: [4] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' data_offsets: expected 16 bytes for F32 [4], got 12 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse(one({ data_offsets: [12, 0] }), 12)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'x' data_offsets: expected begin ≤ end, got [12,0]. The file is damaged or not what it seems: get it again.]`,
  );
});

test('every byte belongs to one tensor', () => {
  const bytes = (begin: number, end: number) => ({ dtype: 'U8', shape: [end - begin], data_offsets: [begin, end] });
  expect(() => parse({ a: bytes(0, 8), b: bytes(6, 10) }, 10)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'b' data_offsets: expected a begin at 8, after tensor 'a', got an overlap with tensor 'a' of 2 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse({ a: bytes(0, 8), b: bytes(0, 8) }, 8)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'b' data_offsets: expected a begin at 8, after tensor 'a', got an overlap with tensor 'a' of 8 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse({ a: bytes(0, 4), b: bytes(6, 10) }, 10)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'b' data_offsets: expected a begin at 4, after tensor 'a', got a hole of 2 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse({ a: bytes(2, 4) }, 4)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'a' data_offsets: expected a begin at 0, after the start of the data, got a hole of 2 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse({ a: bytes(0, 4) }, 9)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: data: expected 4 bytes, all that the header names, got 9 bytes. The file is damaged or not what it seems: get it again.]`,
  );
  expect(() => parse({ a: bytes(0, 9) }, 4)).toThrowErrorMatchingInlineSnapshot(
    `[FormatError: a.safetensors: tensor 'a' data_offsets: expected ranges within 4 bytes of data, got [0,9]. The file is damaged or not what it seems: get it again.]`,
  );
  expect(parse({ b: bytes(4, 9), empty: bytes(4, 4), a: bytes(0, 4) }, 9).tensors.size).toBe(3);
});
