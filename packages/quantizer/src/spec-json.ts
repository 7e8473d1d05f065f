/**
 * A spec in a file, in the short form that people write:
 *
 *     { "bits": 4, "symmetric": true, "granularity": { "group": 32 }, "range": [0, 1] }
 *
 * `symmetric` is false and `granularity` "tensor" when absent; "channel" is the third choice.
 */
import { checkArray, checkBoolean, checkInteger, checkNumber, checkObject, show } from './check-json.ts';
import type { FactsErrorClass } from './errors.ts';
import type { Granularity, QuantizerSpec, Range } from './spec.ts';

/** A spec as JSON; keys that hold their default are absent. */
export interface SpecJson {
  readonly bits: number;
  readonly symmetric?: boolean;
  readonly granularity?: 'tensor' | 'channel' | { readonly group: number };
  readonly range?: readonly [min: number, max: number];
}

export const specKeys = ['bits', 'symmetric', 'granularity', 'range'] as const;

/** The short form of a spec. */
export function specToJson({ bits, symmetric, granularity, range }: QuantizerSpec): SpecJson {
  return {
    bits,
    ...(symmetric && { symmetric }),
    ...(granularity.kind === 'channel' && { granularity: 'channel' as const }),
    ...(granularity.kind === 'group' && { granularity: { group: granularity.size } }),
    ...(range && { range: [range.min, range.max] as const }),
  };
}

/** The spec in a checked object (its keys are already known to be {@link specKeys}, or the caller's). Throws `Fault`. */
export function specFromJson(
  json: Readonly<Record<string, unknown>>,
  where: string,
  Fault: FactsErrorClass,
): QuantizerSpec {
  return {
    bits: checkInteger(json.bits, 2, 16, `${where}.bits`, Fault),
    symmetric: json.symmetric === undefined ? false : checkBoolean(json.symmetric, `${where}.symmetric`, Fault),
    granularity: granularityFromJson(json.granularity, `${where}.granularity`, Fault),
    ...(json.range !== undefined && { range: rangeFromJson(json.range, `${where}.range`, Fault) }),
  };
}

/** A range written as `[min, max]`. Throws `Fault`. */
export function rangeFromJson(json: unknown, where: string, Fault: FactsErrorClass): Range {
  const ends = checkArray(json, where, Fault);
  if (ends.length !== 2) throw new Fault({ where, expected: '[min, max]', received: show(json) });
  const min = checkNumber(ends[0], `${where}[0]`, Fault);
  const max = checkNumber(ends[1], `${where}[1]`, Fault);
  if (min > max) throw new Fault({ where, expected: 'min ≤ max', received: show(json), advice: 'Swap the two.' });
  return { min, max };
}

function granularityFromJson(json: unknown, where: string, Fault: FactsErrorClass): Granularity {
  if (json === undefined || json === 'tensor') return { kind: 'tensor' };
  if (json === 'channel') return { kind: 'channel' };
  if (typeof json !== 'object') {
    throw new Fault({ where, expected: '"tensor", "channel" or {"group": size}', received: show(json) });
  }
  const { group } = checkObject(json, where, Fault, ['group']);
  return { kind: 'group', size: checkInteger(group, 1, 2 ** 31 - 1, `${where}.group`, Fault) };
}
