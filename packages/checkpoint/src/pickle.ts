/**
 * A pickle is a program for a stack machine. This one builds plain data and executes nothing: a pickle may name only what a
 * table allows, and call only the builders in it, which are functions of ours from plain data to plain data.
 *
 * An instruction takes at least a byte and makes at most one value out of what lies on the stack, and no value is ever copied
 * or walked through here: what a pickle costs is bounded by its length, whatever it shares, nests, or claims to contain.
 *
 * Of the instructions, those that Python's pickler writes for plain data in protocols 2 to 5 are understood.
 */
import { FormatError } from './errors.ts';

/** Plain data out of a pickle; `Built` is what the builders make. */
export type PickleValue<Built = never> =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleTuple<Built>
  | PickleList<Built>
  | PickleDict<Built>
  | PickleBuilder<Built>
  | Built;

export interface PickleTuple<Built = never> {
  readonly kind: 'tuple';
  readonly items: readonly PickleValue<Built>[];
}

export interface PickleList<Built = never> {
  readonly kind: 'list';
  readonly items: PickleValue<Built>[];
}

/** A dictionary as it was written: keys may be anything, and stand there twice. */
export interface PickleDict<Built = never> {
  readonly kind: 'dict';
  readonly entries: (readonly [key: PickleValue<Built>, value: PickleValue<Built>])[];
}

/** What stands for a class or function of Python. */
export interface PickleBuilder<Built = never> {
  readonly kind: 'builder';
  readonly build: (args: readonly PickleValue<Built>[]) => PickleValue<Built>;
}

/** What a pickle may use. */
export interface PickleRules<Built> {
  /** What a pickle may name, by `module name`. */
  readonly globals: ReadonlyMap<string, PickleValue<Built>>;
  /** What a persistent id stands for. */
  readonly persistent: (id: PickleValue<Built>) => PickleValue<Built>;
}

/** What a builder throws when its arguments do not fit; the machine adds where. */
export class PickleArgumentError extends Error {
  override readonly name = 'PickleArgumentError';
  readonly expected: string;
  readonly received: string;

  constructor(expected: string, received: string) {
    super(`expected ${expected}, got ${received}.`);
    this.expected = expected;
    this.received = received;
  }
}

/** The longest pickle that is read. A tensor takes some 150 bytes and 30 instructions. */
export const MAX_PICKLE_BYTES: number = 1 << 24;
const MAX_INSTRUCTIONS = 1_000_000;
const MAX_MARKS = 1000;
const MAX_INTEGER_BYTES = 255;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const CURE =
  'It is not a file of weights alone, or it is hostile; nothing in it was executed. If you trust it, load it with PyTorch and save its weights as safetensors.';

/**
 * Runs the pickle that begins at a byte, and says where it ended. Throws a `FormatError` for anything but plain data and what
 * the rules allow.
 */
export function readPickle<Built extends { readonly kind: string }>(
  bytes: Uint8Array,
  begin: number,
  rules: PickleRules<Built>,
  file: string,
): { readonly value: PickleValue<Built>; readonly end: number } {
  type Value = PickleValue<Built>;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const memo = new Map<number, Value>();
  const marks: number[] = [];
  const stack: Value[] = [];
  let at = begin; // the next byte
  let start = begin; // the current instruction

  const fail = (expected: string, received: string, cause?: unknown): never => {
    throw new FormatError({ file, where: `pickle byte ${start}`, expected, received, cure: CURE }, { cause });
  };

  // what follows an instruction
  const skip = (length: number): number => {
    if (length > bytes.length - at) fail(`${length} more bytes`, `${bytes.length - at} before the end`);
    at += length;
    return at - length;
  };
  const uint8 = () => bytes[skip(1)] as number;
  const uint16 = () => view.getUint16(skip(2), true);
  const uint32 = () => view.getUint32(skip(4), true);
  const uint64 = () => Number(view.getBigUint64(skip(8), true)); // beyond 2^53 it is rounded, and still beyond the file
  const take = (length: number) => bytes.subarray(skip(length), at);
  const text = (part: Uint8Array): string => {
    try {
      return UTF8.decode(part);
    } catch (cause) {
      return fail('UTF-8 text', 'other bytes', cause);
    }
  };
  const line = (): string => {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) fail('a line', 'no end of it');
    const part = take(end - at);
    skip(1);
    return text(part);
  };
  const integer = (length: number): number | bigint => {
    if (length > MAX_INTEGER_BYTES) fail(`an integer of at most ${MAX_INTEGER_BYTES} bytes`, `${length} bytes`);
    const part = take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(part[i] as number);
    const signed = BigInt.asIntN(8 * length, value);
    const small = Number(signed);
    return Number.isSafeInteger(small) ? small : signed;
  };

  // the stack
  const push = (value: Value) => {
    stack.push(value);
  };
  const pop = (): Value => {
    if (stack.length <= (marks.at(-1) ?? 0)) fail('a value on the stack', 'none');
    return stack.pop() as Value;
  };
  const top = (): Value => {
    if (stack.length <= (marks.at(-1) ?? 0)) fail('a value on the stack', 'none');
    return stack.at(-1) as Value;
  };
  const sinceMark = (): Value[] => {
    const mark = marks.pop() ?? fail('a mark on the stack', 'none');
    return stack.splice(mark);
  };
  const last = (count: number): Value[] => Array.from({ length: count }, pop).reverse();

  const list = (value: Value): PickleList<Built> =>
    isKind(value, 'list') ? (value as PickleList<Built>) : fail('a list', describe(value));
  const dict = (value: Value): PickleDict<Built> =>
    isKind(value, 'dict') ? (value as PickleDict<Built>) : fail('a dictionary', describe(value));
  const append = (items: readonly Value[]) => {
    const to = list(top()).items;
    for (const item of items) to.push(item);
  };
  const setItems = (items: readonly Value[]) => {
    const { entries } = dict(top());
    if (items.length % 2) fail('keys and values', `${items.length} of them`);
    for (let i = 0; i < items.length; i += 2) entries.push([items[i] as Value, items[i + 1] as Value]);
  };

  // names, calls
  const named = (module: Value | undefined, name: Value | undefined): Value => {
    if (typeof module !== 'string' || typeof name !== 'string') return fail('a name', describe(name));
    const value = rules.globals.get(`${module} ${name}`);
    return value === undefined ? fail('tensors and plain data only', describe(`${module} ${name}`)) : value;
  };
  const checked = (build: () => Value): Value => {
    try {
      return build();
    } catch (error) {
      if (!(error instanceof PickleArgumentError)) throw error;
      return fail(error.expected, error.received, error);
    }
  };
  const call = (callee: Value | undefined, args: Value | undefined): Value => {
    if (!isKind(callee, 'builder')) return fail('something to call', describe(callee));
    if (!isKind(args, 'tuple')) return fail('a tuple of arguments', describe(args));
    return checked(() => (callee as PickleBuilder<Built>).build((args as PickleTuple<Built>).items));
  };
  const recall = (index: number): Value => {
    const value = memo.get(index);
    return value === undefined ? fail(`a value remembered as ${index}`, 'none') : value;
  };

  // biome-ignore format: a table reads better in lines
  const steps: Readonly<Record<string, () => unknown>> = {
    PROTO:            () => uint8() <= 5 || fail('protocol 5 at most', `${bytes[at - 1]}`),
    FRAME:            () => uint64() <= bytes.length - at || fail('a frame within the file', 'a longer one'),

    NONE:             () => push(null),
    NEWTRUE:          () => push(true),
    NEWFALSE:         () => push(false),
    BININT1:          () => push(uint8()),
    BININT2:          () => push(uint16()),
    BININT:           () => push(view.getInt32(skip(4), true)),
    LONG1:            () => push(integer(uint8())),
    LONG4:            () => push(integer(uint32())),
    BINFLOAT:         () => push(view.getFloat64(skip(8), false)),
    SHORT_BINSTRING:  () => push(text(take(uint8()))),
    BINSTRING:        () => push(text(take(uint32()))),
    SHORT_BINUNICODE: () => push(text(take(uint8()))),
    BINUNICODE:       () => push(text(take(uint32()))),
    BINUNICODE8:      () => push(text(take(uint64()))),

    MARK:             () => marks.push(stack.length) <= MAX_MARKS || fail(`at most ${MAX_MARKS} marks`, 'more'),
    EMPTY_TUPLE:      () => push({ kind: 'tuple', items: [] }),
    TUPLE1:           () => push({ kind: 'tuple', items: last(1) }),
    TUPLE2:           () => push({ kind: 'tuple', items: last(2) }),
    TUPLE3:           () => push({ kind: 'tuple', items: last(3) }),
    TUPLE:            () => push({ kind: 'tuple', items: sinceMark() }),
    EMPTY_LIST:       () => push({ kind: 'list', items: [] }),
    APPEND:           () => append(last(1)),
    APPENDS:          () => append(sinceMark()),
    EMPTY_DICT:       () => push({ kind: 'dict', entries: [] }),
    SETITEM:          () => setItems(last(2)),
    SETITEMS:         () => setItems(sinceMark()),

    BINPUT:           () => memo.set(uint8(), top()),
    LONG_BINPUT:      () => memo.set(uint32(), top()),
    MEMOIZE:          () => memo.set(memo.size, top()),
    BINGET:           () => push(recall(uint8())),
    LONG_BINGET:      () => push(recall(uint32())),

    GLOBAL:           () => push(named(line(), line())),
    STACK_GLOBAL:     () => { const [module, name] = last(2); push(named(module, name)); },
    REDUCE:           () => { const [callee, args] = last(2); push(call(callee, args)); },
    BINPERSID:        () => { const id = pop(); push(checked(() => rules.persistent(id))); },
    BUILD:            () => { pop(); dict(top()); }, // a dictionary's attributes are not of interest
  };

  for (let count = 1; ; count++) {
    start = at;
    if (count > MAX_INSTRUCTIONS) fail(`at most ${MAX_INSTRUCTIONS} instructions`, 'more');
    const code = uint8();
    const name = INSTRUCTIONS.get(code) ?? `byte ${code}`;
    if (name === 'STOP') break;
    const run = steps[name] ?? fail('an instruction for plain data', name);
    run();
  }
  const value = pop();
  if (stack.length || marks.length) fail('one value', `${stack.length + 1}`);
  return { value, end: at };
}

/** A value of a pickle in a few words, for messages. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (typeof value === 'string') return `'${shorten(value)}'`;
  if (typeof value === 'bigint') return shorten(`${value}`);
  return typeof value === 'object' ? `a ${(value as { kind: string }).kind}` : `${value}`;
}

/** Whether a value of a pickle is of a kind. */
export const isKind = <V, K extends string>(value: V, kind: K): value is Extract<V, { readonly kind: K }> =>
  typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === kind;

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** All instructions, by the names that Python's `pickletools` gives them. */
// biome-ignore format: a table reads better packed
const INSTRUCTIONS: ReadonlyMap<number, string> = new Map([
  [0x28, 'MARK'], [0x29, 'EMPTY_TUPLE'], [0x2e, 'STOP'], [0x30, 'POP'], [0x31, 'POP_MARK'], [0x32, 'DUP'],
  [0x42, 'BINBYTES'], [0x43, 'SHORT_BINBYTES'], [0x46, 'FLOAT'], [0x47, 'BINFLOAT'], [0x49, 'INT'], [0x4a, 'BININT'],
  [0x4b, 'BININT1'], [0x4c, 'LONG'], [0x4d, 'BININT2'], [0x4e, 'NONE'], [0x50, 'PERSID'], [0x51, 'BINPERSID'],
  [0x52, 'REDUCE'], [0x53, 'STRING'], [0x54, 'BINSTRING'], [0x55, 'SHORT_BINSTRING'], [0x56, 'UNICODE'],
  [0x58, 'BINUNICODE'], [0x5d, 'EMPTY_LIST'], [0x61, 'APPEND'], [0x62, 'BUILD'], [0x63, 'GLOBAL'], [0x64, 'DICT'],
  [0x65, 'APPENDS'], [0x67, 'GET'], [0x68, 'BINGET'], [0x69, 'INST'], [0x6a, 'LONG_BINGET'], [0x6c, 'LIST'],
  [0x6f, 'OBJ'], [0x70, 'PUT'], [0x71, 'BINPUT'], [0x72, 'LONG_BINPUT'], [0x73, 'SETITEM'], [0x74, 'TUPLE'],
  [0x75, 'SETITEMS'], [0x7d, 'EMPTY_DICT'], [0x80, 'PROTO'], [0x81, 'NEWOBJ'], [0x82, 'EXT1'], [0x83, 'EXT2'],
  [0x84, 'EXT4'], [0x85, 'TUPLE1'], [0x86, 'TUPLE2'], [0x87, 'TUPLE3'], [0x88, 'NEWTRUE'], [0x89, 'NEWFALSE'],
  [0x8a, 'LONG1'], [0x8b, 'LONG4'], [0x8c, 'SHORT_BINUNICODE'], [0x8d, 'BINUNICODE8'], [0x8e, 'BINBYTES8'],
  [0x8f, 'EMPTY_SET'], [0x90, 'ADDITEMS'], [0x91, 'FROZENSET'], [0x92, 'NEWOBJ_EX'], [0x93, 'STACK_GLOBAL'],
  [0x94, 'MEMOIZE'], [0x95, 'FRAME'], [0x96, 'BYTEARRAY8'], [0x97, 'NEXT_BUFFER'], [0x98, 'READONLY_BUFFER'],
]);
