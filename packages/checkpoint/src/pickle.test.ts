import { expect, test } from 'vitest';
import {
  bytesOf,
  global,
  long,
  type Part,
  PROTO,
  sizes,
  statePickle,
  storage,
  tensor,
  text,
  tuple,
  u32,
  u64,
  type View,
} from '../test/pickle-parts.ts';
import { describe, readPickle } from './pickle.ts';
import { readTorchPickle } from './torch-pickle.ts';

const PLAIN = { globals: new Map<string, never>(), persistent: () => null };
const read = (...parts: Part[]) => readPickle(bytesOf(PROTO, ...parts, '.'), 0, PLAIN, 'x').value;

/** What a hostile pickle is refused with: no other error, and in no time. */
function refused(bytes: Uint8Array): string {
  const start = performance.now();
  let message = 'nothing was thrown';
  try {
    readTorchPickle(bytes, 0, 'x');
  } catch (error) {
    message = `${(error as Error).name}: ${(error as Error).message}`;
  }
  expect(performance.now() - start).toBeLessThan(3000); // a tenth of that, on a machine that does nothing else
  return message
    .replace(/^FormatError: x: /, '')
    .replace(/ It is not a file of weights alone, or it is hostile; nothing in it was executed\..*$/, '');
}

const state = (value: string | Uint8Array) => statePickle({ x: value });
const refusedView = (view: View) => refused(state(tensor(view))).replace(/^pickle byte \d+: /, '');

/** A part, many times. */
const times = (count: number, part: string | Uint8Array): Uint8Array => {
  const piece = bytesOf(part);
  const out = new Uint8Array(count * piece.length);
  for (let i = 0; i < count; i++) out.set(piece, i * piece.length);
  return out;
};

test('plain data is what Python would have read', () => {
  expect(read('N')).toBe(null);
  expect(read('\x88')).toBe(true);
  expect(read('\x89')).toBe(false);
  expect(read('K\xff')).toBe(255);
  expect(read('M\x01\x02')).toBe(513);
  expect(read('J\xfe\xff\xff\xff')).toBe(-2);
  expect(read('\x8a\x00')).toBe(0);
  expect(read('\x8a\x02\x00\xff')).toBe(-256);
  expect(read('\x8a\x09\0\0\0\0\0\0\0\0\x01')).toBe(2n ** 64n);
  expect(read('\x8b\x01\0\0\0\x7f')).toBe(127);
  expect(read('G\x3f\xf8\0\0\0\0\0\0')).toBe(1.5);
  expect(read(text('abc'))).toBe('abc');
  expect(read('\x8c\x03\xe2\x82\xac')).toBe('€');
  expect(read('\x8d\x01\0\0\0\0\0\0\0a')).toBe('a');
  expect(read('U\x01a')).toBe('a');
  expect(read('T\x01\0\0\0a')).toBe('a');
  expect(read(')')).toEqual({ kind: 'tuple', items: [] });
  expect(read('K\x01K\x02K\x03\x87')).toEqual({ kind: 'tuple', items: [1, 2, 3] });
  expect(read('(K\x01(K\x02tt')).toEqual({ kind: 'tuple', items: [1, { kind: 'tuple', items: [2] }] });
  expect(read(']K\x01a(K\x02K\x03e')).toEqual({ kind: 'list', items: [1, 2, 3] });
  expect(read('}', text('a'), 'K\x01s(K\x02Nu')).toMatchObject({
    kind: 'dict',
    entries: [
      ['a', 1],
      [2, null],
    ],
  });
  expect(read('K\x07q\x05\x85h\x05\x86')).toEqual({ kind: 'tuple', items: [{ kind: 'tuple', items: [7] }, 7] });
  expect(read('\x95\x05\0\0\0\0\0\0\0K\x07\x94\x85h\0\x86')).toEqual(read('K\x07q\x05\x85h\x05\x86'));
});

test('a pickle may stand in the middle of bytes, and says where it ends', () => {
  expect(readPickle(bytesOf('xx', PROTO, 'K\x01.', 'K\x02.'), 2, PLAIN, 'x')).toEqual({ value: 1, end: 7 });
});

test('code is refused by its name, whatever way it is called', () => {
  const system = global('os', 'system');
  const command = bytesOf(text('touch /tmp/hostile'), '\x85');
  expect(refused(state(bytesOf(system, command, 'R')))).toMatchInlineSnapshot(
    `"pickle byte 10: expected tensors and plain data only, got 'os system'."`,
  );
  expect(refused(state(bytesOf(text('posix'), text('system'), '\x93', command, 'R')))).toMatchInlineSnapshot(
    `"pickle byte 31: expected tensors and plain data only, got 'posix system'."`,
  );
  expect(refused(state(bytesOf(global('builtins', 'eval'), command, 'R')))).toMatchInlineSnapshot(
    `"pickle byte 10: expected tensors and plain data only, got 'builtins eval'."`,
  );
  expect(refused(state(bytesOf(global('torch.serialization', 'load'), command, 'R')))).toMatchInlineSnapshot(
    `"pickle byte 10: expected tensors and plain data only, got 'torch.serialization load'."`,
  );
  expect(refused(state(bytesOf(global('torch._utils', '_rebuild_tensor_v2.__globals__'), ')R')))).toMatchInlineSnapshot(
    `"pickle byte 10: expected tensors and plain data only, got 'torch._utils _rebuild_tensor_v2.__globals__'."`,
  );
  expect(
    refused(state(bytesOf(text('torch._utils'), text('_rebuild_tensor_v2\nos system'), '\x93'))),
  ).toMatchInlineSnapshot(
    `"pickle byte 60: expected tensors and plain data only, got 'torch._utils _rebuild_tensor_v2?os system'."`,
  );
  expect(refused(state(bytesOf('(', text('id'), 'ios\nsystem\n')))).toMatchInlineSnapshot(
    `"pickle byte 18: expected an instruction for plain data, got INST."`,
  );
  expect(refused(state(bytesOf('(', text('id'), 'o')))).toMatchInlineSnapshot(
    `"pickle byte 18: expected an instruction for plain data, got OBJ."`,
  );
  expect(refused(state(bytesOf(global('collections', 'OrderedDict'), ')\x81')))).toMatchInlineSnapshot(
    `"pickle byte 36: expected an instruction for plain data, got NEWOBJ."`,
  );
  expect(refused(state('\x82\x01'))).toMatchInlineSnapshot(
    `"pickle byte 10: expected an instruction for plain data, got EXT1."`,
  );
  expect(refused(state('Pos.system\n'))).toMatchInlineSnapshot(
    `"pickle byte 10: expected an instruction for plain data, got PERSID."`,
  );
  expect(refused(state('\x07'))).toMatchInlineSnapshot(
    `"pickle byte 10: expected an instruction for plain data, got byte 7."`,
  );
});

test('code within code is refused before anything around it is built', () => {
  const nested = bytesOf(
    global('torch._utils', '_rebuild_parameter'),
    '(',
    global('os', 'system'),
    text('id'),
    '\x85Rt',
    'R',
  );
  expect(refused(state(nested))).toMatchInlineSnapshot(
    `"pickle byte 44: expected tensors and plain data only, got 'os system'."`,
  );
  expect(
    refused(state(tensor({ from: bytesOf(tuple(text('storage'), global('os', 'system')), 'Q') }))),
  ).toMatchInlineSnapshot(`"pickle byte 57: expected tensors and plain data only, got 'os system'."`);
});

test('only builders are called, with what they take', () => {
  expect(refused(state(bytesOf(text('os.system'), ')R')))).toMatchInlineSnapshot(
    `"pickle byte 25: expected something to call, got 'os.system'."`,
  );
  expect(refused(state(bytesOf(global('torch', 'FloatStorage'), ')R')))).toMatchInlineSnapshot(
    `"pickle byte 31: expected something to call, got a storage type."`,
  );
  expect(refused(state(bytesOf(global('collections', 'OrderedDict'), ']R')))).toMatchInlineSnapshot(
    `"pickle byte 36: expected a tuple of arguments, got a list."`,
  );
  expect(refused(state(bytesOf(global('collections', 'OrderedDict'), 'N\x85R')))).toMatchInlineSnapshot(
    `"pickle byte 37: expected no arguments, got nothing."`,
  );
  expect(refused(state(bytesOf(global('torch._utils', '_rebuild_tensor_v2'), ')R')))).toMatchInlineSnapshot(
    `"pickle byte 44: expected a storage, got nothing."`,
  );
  expect(refused(state(bytesOf(global('torch._utils', '_rebuild_parameter'), 'N\x85R')))).toMatchInlineSnapshot(
    `"pickle byte 45: expected a tensor, got nothing."`,
  );
  expect(refused(state(bytesOf(tensor(), '}b')))).toMatchInlineSnapshot(
    `"pickle byte 142: expected a dictionary, got a tensor."`,
  );
  expect(refused(state(bytesOf(text('storage'), 'Q')))).toMatchInlineSnapshot(
    `"pickle byte 22: expected a persistent id, got 'storage'."`,
  );
  expect(refused(state(bytesOf(tuple(text('module'), global('torch', 'FloatStorage')), 'Q')))).toMatchInlineSnapshot(
    `"pickle byte 43: expected a persistent id of a 'storage', got 'module'."`,
  );
  expect(refused(state(storage('k'.repeat(65))))).toMatchInlineSnapshot(
    `"pickle byte 132: expected a storage's key, got 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk'."`,
  );
  expect(refused(state(storage('0', -1)))).toMatchInlineSnapshot(
    `"pickle byte 68: expected a storage's size in whole numbers from 0, got -1."`,
  );
  expect(refused(state(storage('0', 2n ** 52n)))).toMatchInlineSnapshot(
    `"pickle byte 68: expected a size that can be counted, got 4503599627370496."`,
  );
  expect(refused(state(storage('0', 2n ** 62n)))).toMatchInlineSnapshot(
    `"pickle byte 68: expected a storage's size in whole numbers from 0, got 4611686018427387904."`,
  );
  expect(refused(state(storage('0', 4, 'ComplexFloatStorage')))).toMatchInlineSnapshot(
    `"pickle byte 23: expected tensors and plain data only, got 'torch ComplexFloatStorage'."`,
  );
});

test('lengths of texts and numbers are those of the file, not those that it claims', () => {
  expect(refused(bytesOf(PROTO, '\x8d', u64(2n ** 63n), 'abc.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected 9223372036854776000 more bytes, got 4 before the end."`,
  );
  expect(refused(bytesOf(PROTO, '\x8e', u64(2n ** 63n), 'abc.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected an instruction for plain data, got BINBYTES8."`,
  );
  expect(refused(bytesOf(PROTO, 'X', u32(0xffffffff), 'abc.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected 4294967295 more bytes, got 4 before the end."`,
  );
  expect(refused(bytesOf(PROTO, '\x8b', u32(0x7fffffff), 'abc.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected an integer of at most 255 bytes, got 2147483647 bytes."`,
  );
  expect(refused(bytesOf(PROTO, '\x95', u64(2n ** 40n), 'N.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected a frame within the file, got a longer one."`,
  );
  expect(refused(bytesOf(PROTO, 'ctorch'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected a line, got no end of it."`,
  );
  expect(refused(bytesOf(PROTO, 'X\x02\0\0\0\xc0\x80.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected UTF-8 text, got other bytes."`,
  );
});

test('a memo costs what is remembered, whatever its index', () => {
  expect(read('Nr', u32(0xffffffff), 'j', u32(0xffffffff), '\x86')).toEqual({ kind: 'tuple', items: [null, null] });
  expect(refused(bytesOf(PROTO, 'j', u32(0xffffffff), '.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected a value remembered as 4294967295, got none."`,
  );
  expect(refused(bytesOf(PROTO, 'h\x00.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected a value remembered as 0, got none."`,
  );
});

test('what is short and stands for much stays short', () => {
  const doubled = bytesOf(PROTO, ')', times(100_000, 'q\0h\0\x86'), '.');
  expect(describe(readPickle(doubled, 0, PLAIN, 'x').value)).toBe('a tuple');
  expect(refused(doubled)).toMatchInlineSnapshot(
    `"pickle: expected a dictionary of tensors, got a tuple. Save the state_dict of a model, and nothing else."`,
  );
  const itself = bytesOf(PROTO, ']q\0', times(1000, 'h\0a'), '.');
  expect(refused(itself)).toMatchInlineSnapshot(
    `"pickle: expected a dictionary of tensors, got a list. Save the state_dict of a model, and nothing else."`,
  );
  expect(refused(state('}q\x07h\x07N\x86h\x07s'))).toMatchInlineSnapshot(
    `"tensor 'x': expected a tensor, got a dict. Save the state_dict of a model, and nothing else."`,
  );
  const rank = bytesOf('(', times(200_000, 'K\x01'), 'tq\x09');
  const wide = bytesOf(global('torch._utils', '_rebuild_tensor_v2'), '(', storage(), 'K\0', rank, 'h\x09tR');
  expect(refused(state(wide))).toMatchInlineSnapshot(
    `"pickle byte 400112: expected a shape of at most 64 axes, got 200000."`,
  );
});

test('depth, and how many instructions there are, have a limit', () => {
  expect(refused(bytesOf(PROTO, times(100_000, '('), '.'))).toMatchInlineSnapshot(
    `"pickle byte 1002: expected at most 1000 marks, got more."`,
  );
  expect(refused(bytesOf(PROTO, ')', times(100_000, '\x85'), '.'))).toMatchInlineSnapshot(
    `"pickle: expected a dictionary of tensors, got a tuple. Save the state_dict of a model, and nothing else."`,
  );
  expect(refused(bytesOf(PROTO, times(100_000, ']'), times(99_999, 'a'), '.'))).toMatchInlineSnapshot(
    `"pickle: expected a dictionary of tensors, got a list. Save the state_dict of a model, and nothing else."`,
  );
  expect(refused(bytesOf(PROTO, times(1_100_000, '}'), '.'))).toMatchInlineSnapshot(
    `"pickle byte 1000001: expected at most 1000000 instructions, got more."`,
  );
});

test('a stack that does not add up is refused', () => {
  expect(refused(bytesOf(PROTO, '.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected a value on the stack, got none."`,
  );
  expect(refused(bytesOf(PROTO, 'NN.'))).toMatchInlineSnapshot(`"pickle byte 4: expected one value, got 2."`);
  expect(refused(bytesOf(PROTO, 't.'))).toMatchInlineSnapshot(
    `"pickle byte 2: expected a mark on the stack, got none."`,
  );
  expect(refused(bytesOf(PROTO, 'N(\x85.'))).toMatchInlineSnapshot(
    `"pickle byte 4: expected a value on the stack, got none."`,
  );
  expect(refused(bytesOf(PROTO, 'N(q\0.'))).toMatchInlineSnapshot(
    `"pickle byte 4: expected a value on the stack, got none."`,
  );
  expect(refused(bytesOf(PROTO, '}(Nu.'))).toMatchInlineSnapshot(
    `"pickle byte 5: expected keys and values, got 1 of them."`,
  );
  expect(refused(bytesOf(PROTO, ')Na.'))).toMatchInlineSnapshot(`"pickle byte 4: expected a list, got a tuple."`);
  expect(refused(bytesOf(PROTO, ']NNs.'))).toMatchInlineSnapshot(`"pickle byte 5: expected a dictionary, got a list."`);
  expect(refused(bytesOf('\x80\x06N.'))).toMatchInlineSnapshot(`"pickle byte 0: expected protocol 5 at most, got 6."`);
  expect(refused(bytesOf(PROTO, 'N'))).toMatchInlineSnapshot(
    `"pickle byte 3: expected 1 more bytes, got 0 before the end."`,
  );
});

test('a tensor is within its storage', () => {
  expect(refusedView({ shape: [5] })).toMatchInlineSnapshot(
    `"expected a tensor within 4 elements, got shape [5], strides [1], offset 0."`,
  );
  expect(refusedView({ offset: 1 })).toMatchInlineSnapshot(
    `"expected a tensor within 4 elements, got shape [4], strides [1], offset 1."`,
  );
  expect(refusedView({ shape: [2], strides: [4] })).toMatchInlineSnapshot(
    `"expected a tensor within 4 elements, got shape [2], strides [4], offset 0."`,
  );
  expect(refusedView({ shape: [2, 2], strides: [3, 1] })).toMatchInlineSnapshot(
    `"expected a tensor within 4 elements, got shape [2, 2], strides [3, 1], offset 0."`,
  );
  expect(refusedView({ shape: [1000, 1000], strides: [0, 0] })).toMatchInlineSnapshot(
    `"expected a tensor within 4 elements, got shape [1000, 1000], strides [0, 0], offset 0."`,
  );
  expect(refusedView({ shape: [-4] })).toMatchInlineSnapshot(`"expected a shape in whole numbers from 0, got -4."`);
  expect(refusedView({ offset: -1 })).toMatchInlineSnapshot(`"expected an offset in whole numbers from 0, got -1."`);
  expect(refusedView({ strides: [-1] })).toMatchInlineSnapshot(`"expected strides in whole numbers from 0, got -1."`);
  expect(refusedView({ shape: [2, 2] })).toMatchInlineSnapshot(
    `"expected a stride for each axis, got shape [2, 2], strides [1], offset 0."`,
  );
  expect(refusedView({ shape: [2n ** 32n, 2n ** 32n], strides: [0, 0] })).toMatchInlineSnapshot(
    `"expected a size that can be counted, got shape [4294967296, 4294967296], strides [0, 0], offset 0."`,
  );
  expect(refusedView({ shape: [2n ** 32n, 2n ** 32n, 0], strides: [0, 0, 0] })).toMatchInlineSnapshot(
    `"expected a size that can be counted, got shape [4294967296, 4294967296, 0], strides [0, 0, 0], offset 0."`,
  );
  expect(refusedView({ shape: [2, 2], strides: [2n ** 53n - 1n, 1] })).toMatchInlineSnapshot(
    `"expected a size that can be counted, got shape [2, 2], strides [9007199254740991, 1], offset 0."`,
  );
  expect(refusedView({ shape: [2n ** 63n - 1n] })).toMatchInlineSnapshot(
    `"expected a shape in whole numbers from 0, got 9223372036854775807."`,
  );
  expect(refusedView({ shape: [0], strides: [1], offset: 5 })).toMatchInlineSnapshot(
    `"expected a tensor within 4 elements, got shape [0], strides [1], offset 5."`,
  );
  expect(refusedView({ from: storage('0', 3, 'UntypedStorage'), shape: [4] })).toMatchInlineSnapshot(
    `"expected a tensor within 3 elements, got shape [4], strides [1], offset 0."`,
  );
  expect(refusedView({ shape: Array(65).fill(1), strides: Array(65).fill(1) })).toMatchInlineSnapshot(
    `"expected a shape of at most 64 axes, got 65."`,
  );
});

test('a tensor with a type of its own lies in bytes, whole elements of them', () => {
  const view = (from: Uint8Array, elements: number) =>
    state(
      bytesOf(
        global('torch._utils', '_rebuild_tensor_v3'),
        tuple(from, long(0n), sizes(elements), sizes(1), '\x89', '}', global('torch', 'uint16')),
        'R',
      ),
    );
  const { tensors } = readTorchPickle(view(storage('0', 5, 'UntypedStorage'), 2), 0, 'x');
  expect(tensors.get('x')).toMatchObject({ dtype: 'uint16', shape: [2] });
  expect(refused(view(storage('0', 5, 'UntypedStorage'), 3))).toMatchInlineSnapshot(
    `"pickle byte 156: expected a tensor within 2 elements, got shape [3], strides [1], offset 0."`,
  );
  expect(refused(view(storage('0', 8), 2))).toMatchInlineSnapshot(
    `"pickle byte 154: expected a storage of bytes for a tensor with a dtype, got one of float32."`,
  );
});

test('a model is a dictionary of tensors with different names', () => {
  expect(refused(bytesOf(PROTO, tensor(), '.'))).toMatchInlineSnapshot(
    `"pickle: expected a dictionary of tensors, got a tensor. Save the state_dict of a model, and nothing else."`,
  );
  expect(refused(state('N'))).toMatchInlineSnapshot(
    `"tensor 'x': expected a tensor, got nothing. Save the state_dict of a model, and nothing else."`,
  );
  expect(refused(bytesOf(PROTO, '}K\x01', tensor(), 's.'))).toMatchInlineSnapshot(
    `"pickle: expected tensors' names, got 1. Save the state_dict of a model, and nothing else."`,
  );
  expect(refused(bytesOf(PROTO, '}', text('x'), tensor(), 's', text('x'), tensor(), 's.'))).toMatchInlineSnapshot(
    `"tensor 'x': expected one tensor of that name, got two. Save the state_dict of a model, and nothing else."`,
  );
  const flagged = bytesOf(
    global('torch._utils', '_rebuild_tensor_v2'),
    tuple(storage(), long(0n), sizes(4), sizes(1), '\x89', '}', bytesOf('}', text('neg'), '\x88s')),
    'R',
  );
  expect(refused(state(flagged))).toMatchInlineSnapshot(
    `"pickle byte 151: expected a tensor as it is, got a negated or conjugated one."`,
  );
  const model = (key: string) =>
    bytesOf(PROTO, '}(', text(key), '}', text('x'), tensor(), 's', text('step'), 'K\x01u.');
  expect([...readTorchPickle(model('model'), 0, 'x').tensors.keys()]).toEqual(['x']);
  expect(refused(model('other'))).toMatchInlineSnapshot(
    `"tensor 'other': expected a tensor, got a dict. Save the state_dict of a model, and nothing else."`,
  );
});
