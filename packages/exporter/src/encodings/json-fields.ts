/** Fields of unknown JSON, each checked as it is taken out; `where` leads to it from the top of the file. */
import { EncodingsError } from './encodings-error.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** A value as a message shows it. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

const FORMAT = 'See the specification of this version.';

export function objectAt(value: unknown, where: string, advice: string = FORMAT): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw new EncodingsError(where, 'an object', show(value), advice);
}

export function listAt(value: unknown, where: string, advice: string = FORMAT): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new EncodingsError(where, 'a list', show(value), advice);
}

export function integerAt(value: unknown, where: string, min: number, max: number, advice: string = FORMAT): number {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw new EncodingsError(where, `an integer from ${min} to ${max}`, show(value), advice);
}

export function numberAt(value: unknown, where: string, advice: string = FORMAT): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new EncodingsError(where, 'a finite number', show(value), advice);
}

export function oneOfAt<T>(value: unknown, where: string, choices: readonly T[], advice: string = FORMAT): T {
  if (choices.includes(value as T)) return value as T;
  throw new EncodingsError(where, choices.map(show).join(', '), show(value), advice);
}

export function nameAt(value: unknown, where: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new EncodingsError(where, 'the name of a tensor', show(value), 'Give every entry one.');
}

/** A list of finite numbers. */
export const numbersAt = (value: unknown, where: string): Float64Array =>
  Float64Array.from(listAt(value, where), (x, i) => numberAt(x, `${where}[${i}]`));

/** A number, or numbers in lists of lists of equal lengths, with the lengths from the outside in. */
export interface Nested {
  readonly shape: readonly number[];
  readonly values: Float64Array;
}

const MOST_AXES = 8;

export function nestedAt(value: unknown, where: string): Nested {
  const shape: number[] = [];
  let level: readonly unknown[] = [value];
  while (Array.isArray(level[0])) {
    const { length } = level[0] as readonly unknown[];
    const odd = level.find((part) => !Array.isArray(part) || part.length !== length);
    if (length === 0 || odd !== undefined || shape.length === MOST_AXES)
      throw new EncodingsError(
        where,
        `lists of equal lengths, at most ${MOST_AXES} deep, with something in them`,
        show(odd ?? value),
        'The lists have the shape of the scales.',
      );
    shape.push(length);
    level = (level as readonly (readonly unknown[])[]).flat();
  }
  return {
    shape,
    values: Float64Array.from(level, (x, i) => numberAt(x, shape.length > 0 ? `${where}[${i}]` : where)),
  };
}

/** Row-major values as lists of lists. */
export function toNested(values: ArrayLike<number>, shape: readonly number[]): unknown {
  if (shape.length === 0) return values[0];
  let level: readonly unknown[] = Array.from(values);
  for (let axis = shape.length - 1; axis > 0; axis--) {
    const length = shape[axis] as number;
    level = Array.from({ length: level.length / length }, (_, i) => level.slice(i * length, (i + 1) * length));
  }
  return level;
}
