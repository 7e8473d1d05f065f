/**
 * Command-line options as data: how each is written, what it may be, what it means. `node:util` finds them, this gives them types,
 * defaults, and errors that say what is allowed.
 */
import { type ParseArgsConfig, parseArgs } from 'node:util';

/** A mistake in how a command was called. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** An option whose values are read as a `T`. */
export interface Option<T> {
  /** What stands for its value in the help; absent for a switch. */
  readonly value?: string;
  readonly help: string;
  /** May be given several times, or with several values. */
  readonly many?: boolean;
  /** From the texts after it, none if it was not given. Throws a UsageError that begins with `name`. */
  readonly read: (texts: readonly string[], name: string) => T;
}

export type Options = Readonly<Record<string, Option<unknown>>>;

/** What the options of a command came to. */
export type OptionValues<O extends Options> = { readonly [K in keyof O]: O[K] extends Option<infer T> ? T : never };

/** A switch. */
export const flag = (help: string): Option<boolean> => ({ help, read: (texts) => texts.length > 0 });

/** A text; without `otherwise` it must be given, with `undefined` it may be absent. */
export function text(value: string, help: string): Option<string>;
export function text<D>(value: string, help: string, otherwise: D): Option<string | D>;
export function text(value: string, help: string, ...otherwise: unknown[]): Option<unknown> {
  return single(value, help, otherwise, (given, name) => notEmpty(given, value, name));
}

/** One or more texts, or none. */
export const texts = (value: string, help: string): Option<readonly string[]> => ({
  value,
  help,
  many: true,
  read: (given, name) => given.map((text) => notEmpty(text, value, name)),
});

/** One or more texts. */
export const someTexts = (value: string, help: string): Option<readonly string[]> => {
  const { read, ...option } = texts(value, help);
  return { ...option, read: (given, name) => (given.length > 0 ? read(given, name) : fail(missing(value, name))) };
};

const missing = (value: string, name: string): string => `${name}: expected ${value}, got nothing. It must be given.`;

/** An empty path would be the folder one is in: most likely a variable that was not set. */
const notEmpty = (text: string, value: string, name: string): string =>
  text === '' ? fail(`${name}: expected ${value}, got an empty text.`) : text;

/** A whole number from `least` up; see `text` for `otherwise`. */
export function integer(value: string, help: string, least: number): Option<number>;
export function integer<D>(value: string, help: string, least: number, otherwise: D): Option<number | D>;
export function integer(value: string, help: string, least: number, ...otherwise: unknown[]): Option<unknown> {
  return single(value, help, otherwise, (given, name) => {
    const x = /^\d+$/.test(given) ? Number(given) : Number.NaN;
    return Number.isSafeInteger(x) && x >= least
      ? x
      : fail(`${name}: expected a whole number of at least ${least}, got '${given}'.`);
  });
}

/** A number between two others; see `text` for `otherwise`. */
export const number = <D>(
  value: string,
  help: string,
  [least, most]: readonly [number, number],
  otherwise: D,
): Option<number | D> =>
  single<number | D>(value, help, [otherwise], (given, name) => {
    const x = given.trim() === '' ? Number.NaN : Number(given);
    return x >= least && x <= most ? x : fail(`${name}: expected a number from ${least} to ${most}, got '${given}'.`);
  });

/** One of some words; see `text` for `otherwise`. */
export function choice<T extends string>(allowed: readonly T[], help: string): Option<T>;
export function choice<T extends string, D extends T | undefined>(
  allowed: readonly T[],
  help: string,
  otherwise: D,
): Option<T | D>;
export function choice(allowed: readonly string[], help: string, ...otherwise: unknown[]): Option<unknown> {
  return single(allowed.join('|'), help, otherwise, (given, name) => oneOf(allowed, given, name));
}

/** Some of some words, separated by commas. */
export const choices = <T extends string>(
  value: string,
  allowed: readonly T[],
  help: string,
  otherwise: readonly T[],
): Option<readonly T[]> =>
  single(value, help, [otherwise], (given, name) => given.split(',').map((word) => oneOf(allowed, word, name)));

function oneOf<T extends string>(allowed: readonly T[], given: string, name: string): T {
  return allowed.find((word) => word === given) ?? fail(`${name}: expected ${allowed.join(', ')}, got '${given}'.`);
}

function single<T>(
  value: string,
  help: string,
  otherwise: readonly T[],
  read: (given: string, name: string) => T,
): Option<T> {
  const shown = ['string', 'number'].includes(typeof otherwise[0]) ? ` (default ${otherwise[0]})` : '';
  return {
    value,
    help: help + shown,
    read(given, name) {
      if (given.length > 1) fail(`${name}: expected one value, got ${given.length}.`);
      if (given[0] !== undefined) return read(given[0], name);
      return otherwise.length > 0 ? (otherwise[0] as T) : fail(missing(value, name));
    },
  };
}

function fail(message: string): never {
  throw new UsageError(message);
}

/**
 * Reads a command's arguments. Values that follow each other after a `many` option are all its own.
 *
 * @throws UsageError
 */
export function readArguments<O extends Options>(
  args: readonly string[],
  options: O,
  positionals: readonly string[],
): { values: OptionValues<O>; positionals: string[] } {
  const given = new Map<string, string[]>();
  const others: string[] = [];
  let last: string | undefined;
  for (const token of tokensOf(args, options)) {
    if (token.kind === 'option') {
      given.set(token.name, [...(given.get(token.name) ?? []), token.value ?? '']);
      last = token.name;
    } else if (token.kind === 'positional') {
      if (last !== undefined && options[last]?.many) given.get(last)?.push(token.value);
      else others.push(token.value);
    } else last = undefined;
  }
  const more = positionals.at(-1)?.endsWith('…') === true; // as many as there are
  if (others.length > positionals.length && !more)
    fail(`expected ${positionals.join(' ') || 'options only'}, got '${others[positionals.length]}' too.`);
  if (others.length < positionals.length)
    fail(`expected ${positionals[others.length]} before the options, got nothing.`);
  others.forEach((text, i) => {
    notEmpty(text, positionals[i] ?? 'FILE', 'before the options');
  });
  const values = Object.entries(options).map(([name, option]) => [
    name,
    option.read(given.get(name) ?? [], `--${name}`),
  ]);
  return { values: Object.fromEntries(values) as OptionValues<O>, positionals: others };
}

function tokensOf(args: readonly string[], options: Options) {
  const config: ParseArgsConfig['options'] = Object.fromEntries(
    Object.entries(options).map(([name, { value }]) => [
      name,
      { type: value === undefined ? ('boolean' as const) : ('string' as const), multiple: true },
    ]),
  );
  try {
    return parseArgs({ args: [...args], options: config, allowPositionals: true, tokens: true }).tokens;
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (!code.startsWith('ERR_PARSE_ARGS')) throw error;
    const unknown = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION';
    if (!unknown) return fail(message.replaceAll('\n', ' ').replace(/\.?$/, '.'));
    const [sentence = message] = message.split(/\.(?:\s|$)|\n/);
    const names = Object.keys(options).map((name) => `--${name}`);
    return fail(`${sentence}. Options: ${names.join(', ')}.`);
  }
}

/** Options, one a line. */
export function describeOptions(options: Options): string {
  const left = Object.entries(options).map(
    ([name, { value }]) => `  --${name}${value === undefined ? '' : ` ${value}`}`,
  );
  const width = Math.min(34, Math.max(...left.map((line) => line.length)));
  return Object.values(options)
    .map(({ help }, i) => {
      const head = left[i] as string;
      return head.length > width ? `${head}\n${' '.repeat(width)}  ${help}` : `${head.padEnd(width)}  ${help}`;
    })
    .join('\n');
}
