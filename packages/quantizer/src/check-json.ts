/**
 * Reading unknown JSON: each function gives back what it checked, or throws the caller's error class with the path of the fault.
 */
import type { FactsErrorClass } from './errors.ts';

/** A plain object, as its entries are checked one by one. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A plain object, with no other keys than `keys` when these are given. */
export function checkObject(
  value: unknown,
  where: string,
  Fault: FactsErrorClass,
  keys?: readonly string[],
): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Fault({ where, expected: 'an object', received: show(value) });
  }
  const unknown = keys && Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    throw new Fault({
      where,
      expected: `only the keys ${keys?.join(', ')}`,
      received: `"${unknown}"`,
      advice: 'Remove or correct it.',
    });
  }
  return value as JsonObject;
}

export function checkArray(value: unknown, where: string, Fault: FactsErrorClass): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Fault({ where, expected: 'an array', received: show(value) });
}

export function checkString(value: unknown, where: string, Fault: FactsErrorClass): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new Fault({ where, expected: 'a text that is not empty', received: show(value) });
}

export function checkBoolean(value: unknown, where: string, Fault: FactsErrorClass): boolean {
  if (typeof value === 'boolean') return value;
  throw new Fault({ where, expected: 'true or false', received: show(value) });
}

export function checkNumber(value: unknown, where: string, Fault: FactsErrorClass): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new Fault({ where, expected: 'a finite number', received: show(value) });
}

export function checkInteger(value: unknown, min: number, max: number, where: string, Fault: FactsErrorClass): number {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw new Fault({ where, expected: `an integer from ${min} to ${max}`, received: show(value) });
}

export function checkOneOf<T extends string>(
  value: unknown,
  choices: readonly T[],
  where: string,
  Fault: FactsErrorClass,
): T {
  if (choices.includes(value as T)) return value as T;
  throw new Fault({
    where,
    expected: `one of ${choices.map((choice) => `"${choice}"`).join(', ')}`,
    received: show(value),
  });
}

/** A value as a message shows it: JSON, cut where it gets long. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
