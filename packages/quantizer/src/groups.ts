/**
 * Which elements share a scale.
 *
 * Data is row-major, so whatever the granularity, the elements of a group are consecutive: a tensor is one run, a row is a
 * run, a group is a run. All arithmetic of this package therefore needs only the number of groups; this file alone knows shapes.
 */
import { ShapeError } from './errors.ts';
import type { Granularity } from './spec.ts';

/**
 * How many groups (scales) a tensor of `shape` has; axis 0 is the output channel.
 *
 * @throws ShapeError when the group size does not divide the length of a row.
 * @example
 * groupCount([8, 16], { kind: 'group', size: 4 }); // => 32
 */
export function groupCount(shape: readonly number[], granularity: Granularity, site?: string): number {
  const size = shape.reduce((product, n) => product * n, 1);
  const rows = shape[0] ?? 1;
  switch (granularity.kind) {
    case 'tensor':
      return 1;
    case 'channel':
      return rows;
    case 'group': {
      const columns = size / rows;
      if (columns % granularity.size === 0) return size / granularity.size;
      throw new ShapeError({
        where: site ?? 'groupCount',
        expected: `rows that are a multiple of the group size ${granularity.size}`,
        received: `rows of ${columns} (shape [${shape.join(', ')}])`,
        advice: 'Choose a group size that divides the row, or quantize per channel.',
      });
    }
    default:
      throw new Error(`unknown granularity ${JSON.stringify(granularity satisfies never)}`);
  }
}

/**
 * How many consecutive elements form one of `groups` equal groups of `length` elements.
 *
 * @throws ShapeError when they cannot be equal.
 */
export function runLength(length: number, groups: number, where: string): number {
  if (groups > 0 && length % groups === 0) return length / groups;
  throw new ShapeError({
    where,
    expected: `a number of elements that ${groups} scales can share equally`,
    received: `${length} elements`,
    advice: 'Pass the tensor whose granularity made the scales.',
  });
}
