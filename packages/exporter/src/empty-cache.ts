/** Keys or values of no tokens, for the first run of a graph that goes on behind a cache. */
import type { TensorData, Value } from '@mobilequant/tracer';
import { ExportError } from './errors.ts';

const ARRAYS: Readonly<Record<string, new (length: number) => TensorData>> = {
  float32: Float32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
};

/**
 * The value of an input `[batch, …, tokens, …]`: of its sizes that are not fixed the first is the batch, 1, if it stands in front, and
 * the others are 0.
 *
 * @throws ExportError for a type that caches do not have here, and for a cache of a fixed length.
 */
export function emptyCache(name: string, type: string, shape: readonly (number | string)[]): Value {
  const Elements = ARRAYS[type];
  if (!Elements)
    throw new ExportError(name, `a cache of ${Object.keys(ARRAYS).join(', ')}`, type, 'Export it with one.');
  const sizes = shape.map((size, i) => (typeof size === 'number' ? size : i === 0 ? 1 : 0));
  if (sizes.includes(0)) return { data: new Elements(0), shape: sizes };
  const advice = 'Export the model without a cache, or with one that can be empty.';
  throw new ExportError(name, 'a cache of any length', `[${shape.join(', ')}]`, advice);
}
