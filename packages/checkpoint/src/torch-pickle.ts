/**
 * What PyTorch's `torch.save` writes about the tensors of a model: a pickle in which a tensor is
 *
 *     _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)
 *     storage = persistent id ('storage', type, key, device, elements)
 *
 * and the storages' bytes elsewhere, by their keys. Here the pickle becomes a list of tensors: where each lies in its storage,
 * checked to lie in it. Whether the storages are as long as they claim is for whoever knows the file.
 */
import { type DType, dtypeInfo } from './dtype.ts';
import { FormatError } from './errors.ts';
import { describe, isKind, PickleArgumentError, type PickleTuple, type PickleValue, readPickle } from './pickle.ts';

/** Bytes that tensors lie in. */
export interface TorchStorage {
  readonly kind: 'storage';
  readonly key: string;
  readonly dtype: DType;
  /** Whether the type is only that of bytes, and a tensor says what they are. */
  readonly untyped: boolean;
  readonly bytes: number;
}

/** A view of a storage; `offset` and `strides` count elements. */
export interface TorchTensor {
  readonly kind: 'tensor';
  readonly storage: TorchStorage;
  readonly dtype: DType;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

type Named =
  | { readonly kind: 'dtype'; readonly dtype: DType }
  | { readonly kind: 'storage type'; readonly dtype: DType | undefined };
type Made = TorchStorage | TorchTensor | Named;
type Value = PickleValue<Made>;
type Args = readonly Value[];

const MAX_AXES = 64; // as PyTorch
const MAX_KEY_LENGTH = 64;

const builder = (build: (args: Args) => Value) => ({ kind: 'builder', build }) as const;
const storageType = (dtype: DType | undefined): Named => ({ kind: 'storage type', dtype });
const dtype = (name: DType): Named => ({ kind: 'dtype', dtype: name });

// biome-ignore format: a table reads better aligned
const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['collections OrderedDict',         builder(emptyDict)],
  ['torch Size',                      builder(([items]) => tupleOf(items, 'a size'))],
  ['torch._utils _rebuild_tensor',    builder(([storage, offset, size, stride]) => tensor(storage, offset, size, stride))],
  ['torch._utils _rebuild_tensor_v2', builder(([storage, offset, size, stride, , , flags]) => tensor(storage, offset, size, stride, undefined, flags))],
  ['torch._utils _rebuild_tensor_v3', builder(([storage, offset, size, stride, , , type, flags]) => tensor(storage, offset, size, stride, type, flags))],
  ['torch._utils _rebuild_parameter', builder(([data]) => (isKind(data, 'tensor') ? data : mismatch('a tensor', data)))],

  ['torch FloatStorage',    storageType('float32')],
  ['torch HalfStorage',     storageType('float16')],
  ['torch BFloat16Storage', storageType('bfloat16')],
  ['torch DoubleStorage',   storageType('float64')],
  ['torch LongStorage',     storageType('int64')],
  ['torch IntStorage',      storageType('int32')],
  ['torch ShortStorage',    storageType('int16')],
  ['torch CharStorage',     storageType('int8')],
  ['torch ByteStorage',     storageType('uint8')],
  ['torch BoolStorage',     storageType('bool')],
  ['torch UntypedStorage',         storageType(undefined)],
  ['torch.storage UntypedStorage', storageType(undefined)],

  ['torch float32',  dtype('float32')],
  ['torch float16',  dtype('float16')],
  ['torch bfloat16', dtype('bfloat16')],
  ['torch float64',  dtype('float64')],
  ['torch int64',    dtype('int64')],
  ['torch int32',    dtype('int32')],
  ['torch int16',    dtype('int16')],
  ['torch int8',     dtype('int8')],
  ['torch uint64',   dtype('uint64')],
  ['torch uint32',   dtype('uint32')],
  ['torch uint16',   dtype('uint16')],
  ['torch uint8',    dtype('uint8')],
  ['torch bool',     dtype('bool')],
  ['torch float8_e4m3fn',   dtype('float8_e4m3')],
  ['torch float8_e5m2',     dtype('float8_e5m2')],
  ['torch float8_e8m0fnu',  dtype('float8_e8m0')],
]);

/** What a pickle says. */
export interface TorchPickle {
  /** The tensors of its dictionary, or of the one under `state_dict` or `model`. */
  readonly tensors: ReadonlyMap<string, TorchTensor>;
  /** All storages that it names, by their keys. */
  readonly storages: ReadonlyMap<string, TorchStorage>;
  /** The byte after it. */
  readonly end: number;
}

/** The tensors of the pickle that begins at a byte. Throws a `FormatError` for anything but tensors and plain data. */
export function readTorchPickle(bytes: Uint8Array, begin: number, file: string): TorchPickle {
  const storages = new Map<string, TorchStorage>();
  const persistent = (id: Value): TorchStorage => {
    const storage = storageOf(id);
    const known = storages.get(storage.key);
    if (known && known.bytes !== storage.bytes) refuse(`a storage of ${known.bytes} bytes`, `${storage.bytes}`);
    storages.set(storage.key, known ?? storage);
    return storage;
  };
  const { value, end } = readPickle(bytes, begin, { globals: GLOBALS, persistent }, file);
  return { tensors: tensorsOf(value, file), storages, end };
}

function tensorsOf(value: Value, file: string): ReadonlyMap<string, TorchTensor> {
  const fail = (where: string, expected: string, received: string): never => {
    throw new FormatError({
      file,
      where,
      expected,
      received,
      cure: 'Save the state_dict of a model, and nothing else.',
    });
  };
  if (!isKind(value, 'dict')) return fail('pickle', 'a dictionary of tensors', describe(value));
  const inner = value.entries.find(([key]) => key === 'state_dict' || key === 'model')?.[1];
  const tensors = new Map<string, TorchTensor>();
  for (const [name, item] of isKind(inner, 'dict') ? inner.entries : value.entries) {
    if (typeof name !== 'string') return fail('pickle', "tensors' names", describe(name));
    const where = `tensor '${name.slice(0, 200)}'`;
    if (!isKind(item, 'tensor')) return fail(where, 'a tensor', describe(item));
    if (tensors.has(name)) return fail(where, 'one tensor of that name', 'two');
    tensors.set(name, item);
  }
  return tensors;
}

function emptyDict(args: Args): Value {
  return args.length === 0 ? { kind: 'dict', entries: [] } : mismatch('no arguments', args[0]);
}

/** A storage out of its persistent id; a sixth part, of files before PyTorch 1.6, would make it a view of another one. */
function storageOf(id: Value): TorchStorage {
  const [tag, type, key, , elements, view = null] = tupleOf(id, 'a persistent id').items;
  if (tag !== 'storage') mismatch("a persistent id of a 'storage'", tag);
  if (!isKind(type, 'storage type')) return mismatch('a type of storage', type);
  if (typeof key !== 'string' || key.length > MAX_KEY_LENGTH) return mismatch("a storage's key", key);
  if (view !== null) mismatch('a storage of its own', view);
  const { dtype } = type;
  const bytes = count(elements, "a storage's size") * dtypeInfo(dtype ?? 'uint8').bytes;
  if (!Number.isSafeInteger(bytes)) mismatch('a size that can be counted', elements);
  return { kind: 'storage', key, dtype: dtype ?? 'uint8', untyped: dtype === undefined, bytes };
}

function tensor(
  from: Value | undefined,
  offset: Value | undefined,
  size: Value | undefined,
  stride: Value | undefined,
  type?: Value,
  flags?: Value,
): Value {
  if (!isKind(from, 'storage')) return mismatch('a storage', from);
  if (type !== undefined && !isKind(type, 'dtype')) return mismatch('a dtype', type);
  if (type !== undefined && !from.untyped)
    refuse('a storage of bytes for a tensor with a dtype', `one of ${from.dtype}`);
  if (flags !== undefined && !(isKind(flags, 'dict') && flags.entries.length === 0)) {
    refuse('a tensor as it is', 'a negated or conjugated one');
  }
  const { dtype } = type ?? from;
  const view = {
    dtype,
    offset: count(offset, 'an offset'),
    shape: counts(size, 'a shape'),
    strides: counts(stride, 'strides'),
  };
  checkInside(view, Math.floor(from.bytes / dtypeInfo(dtype).bytes));
  return { kind: 'tensor', storage: from, ...view };
}

/**
 * A tensor is within its storage, and has no more elements than it: one that repeats elements (a stride of 0) is as large as it
 * likes in a file as small as it likes.
 */
function checkInside(
  { offset, shape, strides }: Pick<TorchTensor, 'offset' | 'shape' | 'strides'>,
  available: number,
): void {
  const fail = (expected: string) =>
    refuse(expected, `shape [${shape.join(', ')}], strides [${strides.join(', ')}], offset ${offset}`);
  if (strides.length !== shape.length) fail('a stride for each axis');
  let elements = 1;
  let last = offset;
  for (const [axis, size] of shape.entries()) {
    elements *= size; // the running product is checked: a zero size must not hide an overflow before it
    last += (size - 1) * (strides[axis] as number);
    if (!Number.isSafeInteger(elements * 8) || !Number.isSafeInteger(last)) fail('a size that can be counted');
  }
  if (elements === 0) last = offset - 1;
  if (last >= available || elements > available) fail(`a tensor within ${available} elements`);
}

const counts = (value: Value | undefined, what: string): number[] => {
  const { items } = tupleOf(value, what);
  if (items.length > MAX_AXES) refuse(`${what} of at most ${MAX_AXES} axes`, `${items.length}`);
  return items.map((item) => count(item, what));
};

const count = (value: Value | undefined, what: string): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    ? value
    : mismatch(`${what} in whole numbers from 0`, value);

const tupleOf = (value: Value | undefined, what: string): PickleTuple<Made> =>
  isKind(value, 'tuple') ? value : mismatch(what, value);

const mismatch = (expected: string, received: Value | undefined): never => refuse(expected, describe(received));

function refuse(expected: string, received: string): never {
  throw new PickleArgumentError(expected, received);
}
