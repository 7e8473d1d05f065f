/** Reads values out of a GGUF file's metadata: of the right kind, or an error that names the key. */
import { FormatError } from './errors.ts';
import { describe, type GgufArray, type GgufValue } from './gguf.ts';

/** Metadata by key. */
export interface GgufMetadata {
  /** The file, as the caller named it. */
  readonly file: string;
  readonly keys: readonly string[];
  has(key: string): boolean;
  /** A value as it is. */
  get(key: string): GgufValue | undefined;
  /** Any number. */
  number(key: string, otherwise?: number): number;
  /** A whole number from 1 to 2^31. */
  count(key: string, otherwise?: number): number;
  text(key: string, otherwise?: string): string;
  flag(key: string, otherwise: boolean): boolean;
  /** A list of texts. */
  texts(key: string): readonly string[];
  /** A list of numbers, if there is one. */
  numbers(key: string): ArrayLike<number> | undefined;
  /** Throws a `FormatError` about a key. */
  fail(key: string, expected: string, cure?: string): never;
}

/** A reader of metadata. Its methods throw a `FormatError` for values that are not there or of another kind. */
export function ggufMetadata(metadata: ReadonlyMap<string, GgufValue>, file: string): GgufMetadata {
  const fail = (key: string, expected: string, cure?: string): never => {
    const received = describe(metadata.get(key));
    throw new FormatError({ file, where: `metadata '${key}'`, expected, received, ...(cure && { cure }) });
  };
  const number = (key: string, otherwise?: number): number => {
    const value = metadata.get(key) ?? otherwise;
    return typeof value === 'number' && Number.isFinite(value) ? value : fail(key, 'a number');
  };
  return {
    file,
    keys: [...metadata.keys()],
    has: (key) => metadata.has(key),
    get: (key) => metadata.get(key),
    number,
    count: (key, otherwise) => {
      const value = number(key, otherwise);
      return Number.isInteger(value) && value >= 1 && value < 2 ** 31 ? value : fail(key, 'a whole number from 1');
    },
    text: (key, otherwise) => {
      const value = metadata.get(key) ?? otherwise;
      return typeof value === 'string' ? value : fail(key, 'a text');
    },
    flag: (key, otherwise) => {
      const value = metadata.get(key) ?? otherwise;
      return typeof value === 'boolean' ? value : fail(key, 'true or false');
    },
    texts: (key) => {
      const value = metadata.get(key);
      return isTexts(value) ? value : fail(key, 'a list of texts');
    },
    numbers: (key) => {
      const value = metadata.get(key);
      return value === undefined || isNumbers(value) ? value : fail(key, 'a list of numbers');
    },
    fail,
  };
}

const isTexts = (value: GgufValue | undefined): value is readonly string[] =>
  Array.isArray(value) && (value.length === 0 || typeof value[0] === 'string');

const isNumbers = (
  value: GgufValue,
): value is Exclude<GgufArray, readonly string[] | readonly boolean[] | BigUint64Array | BigInt64Array> =>
  ArrayBuffer.isView(value) && !(value instanceof BigUint64Array) && !(value instanceof BigInt64Array);
