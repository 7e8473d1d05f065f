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
  const setItems = (items: readonly Value[]) => {
    const { entries } = dict(top());
    if (items.length % 2) fail('keys and values', `${items.length} of them`);
    for (let i = 0; i < items.length; i += 2) entries.push([items[i] as Value, items[i + 1] as Value]);
  };

  // names, calls
  const named = (name: string): Value => {
    const value = rules.globals.get(name);
    return value === undefined ? fail('tensors and plain data only', `'${shorten(name)}'`) : value;
  };
  const checked = (build: () => Value): Value => {
    try {
      return build();
    } catch (error) {
      if (!(error instanceof PickleArgumentError)) throw error;
      return fail(error.expected, error.received, error);
    }
  };
  const call = (callee: Value, args: Value): Value => {
    if (!isKind(callee, 'builder')) return fail('something to call', describe(callee));
    if (!isKind(args, 'tuple')) return fail('a tuple of arguments', describe(args));
    return checked(() => (callee as PickleBuilder<Built>).build((args as PickleTuple<Built>).items));
  };
  const recall = (index: number) => {
    const value = memo.get(index);
    push(value === undefined ? fail(`a value remembered as ${index}`, 'none') : value);
  };

  // biome-ignore format: a table reads better in lines
  const step: Readonly<Record<number, () => unknown>> = {
    128: () => { if (uint8() > 5) fail('protocol 5 at most', `${bytes[at - 1]}`); },           // PROTO
    149: () => { if (uint64() > bytes.length - at) fail('a frame within the file', 'a longer one'); }, // FRAME

    78: () => push(null),                                                                     // NONE
    136: () => push(true),                                                                     // NEWTRUE
    137: () => push(false),                                                                    // NEWFALSE
    75: () => push(uint8()),                                                                  // BININT1
    77: () => push(uint16()),                                                                 // BININT2
    74: () => push(view.getInt32(skip(4), true)),                                             // BININT
    138: () => push(integer(uint8())),                                                         // LONG1
    139: () => push(integer(uint32())),                                                        // LONG4
    71: () => push(view.getFloat64(skip(8), false)),                                          // BINFLOAT
    85: () => push(text(take(uint8()))),                                                      // SHORT_BINSTRING
    84: () => push(text(take(uint32()))),                                                     // BINSTRING
    140: () => push(text(take(uint8()))),                                                      // SHORT_BINUNICODE
    88: () => push(text(take(uint32()))),                                                     // BINUNICODE
    141: () => push(text(take(uint64()))),                                                     // BINUNICODE8

    40: () => { if (marks.push(stack.length) > MAX_MARKS) fail(`at most ${MAX_MARKS} marks`, 'more'); }, // MARK
    41: () => push({ kind: 'tuple', items: [] }),                                             // EMPTY_TUPLE
    133: () => push({ kind: 'tuple', items: last(1) }),                                        // TUPLE1
    134: () => push({ kind: 'tuple', items: last(2) }),                                        // TUPLE2
    135: () => push({ kind: 'tuple', items: last(3) }),                                        // TUPLE3
    116: () => push({ kind: 'tuple', items: sinceMark() }),                                    // TUPLE
    93: () => push({ kind: 'list', items: [] }),                                              // EMPTY_LIST
    97: () => { const item = pop(); list(top()).items.push(item); },                          // APPEND
    101: () => { const items = sinceMark(), to = list(top()).items; for (const item of items) to.push(item); }, // APPENDS
    125: () => push({ kind: 'dict', entries: [] }),                                            // EMPTY_DICT
    115: () => setItems(last(2)),                                                              // SETITEM
    117: () => setItems(sinceMark()),                                                          // SETITEMS

    113: () => memo.set(uint8(), top()),                                                       // BINPUT
    114: () => memo.set(uint32(), top()),                                                      // LONG_BINPUT
    148: () => memo.set(memo.size, top()),                                                     // MEMOIZE
    104: () => recall(uint8()),                                                                // BINGET
    106: () => recall(uint32()),                                                               // LONG_BINGET

    99: () => push(named(`${line()} ${line()}`)),                                             // GLOBAL
    147: () => { const [module, name] = last(2); push(named(`${plain(module)} ${plain(name)}`)); }, // STACK_GLOBAL
    82: () => { const [callee, args] = last(2); push(call(callee as Value, args as Value)); }, // REDUCE
    81: () => { const id = pop(); push(checked(() => rules.persistent(id))); },               // BINPERSID
    98: () => { pop(); dict(top()); },                                                        // BUILD: attributes of a dictionary
  };
  const plain = (value: Value | undefined) => (typeof value === 'string' ? value : fail('a name', describe(value)));

  for (let count = 1; ; count++) {
    start = at;
    if (count > MAX_INSTRUCTIONS) fail(`at most ${MAX_INSTRUCTIONS} instructions`, 'more');
    const code = uint8();
    if (code === STOP) break;
    const run = step[code] ?? fail('an instruction for plain data', nameOf(code));
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

const STOP = 0x2e;

/** Instructions that plain data does not need, by the names that Python gives them. */
const OTHERS: Readonly<Record<number, string>> = {
  48: 'POP',
  49: 'POP_MARK',
  50: 'DUP',
  66: 'BINBYTES',
  67: 'SHORT_BINBYTES',
  70: 'FLOAT',
  73: 'INT',
  76: 'LONG',
  80: 'PERSID',
  83: 'STRING',
  86: 'UNICODE',
  100: 'DICT',
  103: 'GET',
  105: 'INST',
  108: 'LIST',
  111: 'OBJ',
  112: 'PUT',
  129: 'NEWOBJ',
  130: 'EXT1',
  131: 'EXT2',
  132: 'EXT4',
  142: 'BINBYTES8',
  143: 'EMPTY_SET',
  144: 'ADDITEMS',
  145: 'FROZENSET',
  146: 'NEWOBJ_EX',
  150: 'BYTEARRAY8',
  151: 'NEXT_BUFFER',
  152: 'READONLY_BUFFER',
};

const nameOf = (code: number): string => OTHERS[code] ?? `byte 0x${code.toString(16).padStart(2, '0')}`;
