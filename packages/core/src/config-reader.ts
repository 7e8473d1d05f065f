/**
 * Reads values out of a `config.json`: of the right kind, or an error that names the key.
 */
import { ConfigError } from './config.ts';

export type ConfigJson = Readonly<Record<string, unknown>>;

/** A config's values by key. Absent and null are the same, unless a default for each is given. */
export interface ConfigReader {
  readonly json: ConfigJson;
  has(key: string): boolean;
  /** A positive integer. */
  count(key: string, otherwise?: number): number;
  /** A positive number. */
  positive(key: string, otherwise?: number): number;
  /** A positive number, or none where null is said. */
  optional(key: string, otherwise?: number): number | undefined;
  flag(key: string, otherwise: boolean): boolean;
  oneOf<T extends string>(key: string, names: Readonly<Record<string, T>>, otherwise: string): T;
  /** What lies in an object, if there is one; its keys are named with the object's. */
  inside(key: string): ConfigReader | undefined;
}

export function configReader(json: ConfigJson, prefix = ''): ConfigReader {
  const fail = (key: string, expected: string, received: unknown): never => {
    throw new ConfigError(prefix + key, expected, received);
  };
  const numberOf = (key: string, otherwise: number | undefined, expected: string, test: (n: number) => boolean) => {
    const value = json[key] ?? otherwise;
    return typeof value === 'number' && Number.isFinite(value) && test(value) ? value : fail(key, expected, json[key]);
  };
  const positive = (key: string, otherwise?: number) => numberOf(key, otherwise, 'a positive number', (n) => n > 0);
  return {
    json,
    has: (key) => json[key] != null,
    count: (key, otherwise) =>
      numberOf(key, otherwise, 'a positive integer', (n) => n > 0 && Number.isSafeInteger(n) && n < 2 ** 31),
    positive,
    optional(key, otherwise) {
      const value = json[key] === undefined ? otherwise : json[key];
      return value == null ? undefined : positive(key, otherwise);
    },
    flag(key, otherwise) {
      const value = json[key] ?? otherwise;
      return typeof value === 'boolean' ? value : fail(key, 'true or false', value);
    },
    oneOf(key, names, otherwise) {
      const value = json[key] ?? otherwise;
      const known = typeof value === 'string' && Object.hasOwn(names, value) ? names[value] : undefined;
      return (
        known ??
        fail(
          key,
          Object.keys(names)
            .map((name) => `'${name}'`)
            .join(' or '),
          value,
        )
      );
    },
    inside(key) {
      const value = json[key];
      if (value == null) return undefined;
      if (typeof value !== 'object' || Array.isArray(value)) return fail(key, 'an object', value);
      return configReader(value as ConfigJson, `${prefix}${key}.`);
    },
  };
}
