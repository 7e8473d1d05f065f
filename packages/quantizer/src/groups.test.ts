import { expect, test } from 'vitest';
import { groupCount, runLength } from './groups.ts';

test('a tensor has one group, a channel is a row, a group is part of a row', () => {
  expect(groupCount([6, 16], { kind: 'tensor' })).toBe(1);
  expect(groupCount([6, 16], { kind: 'channel' })).toBe(6);
  expect(groupCount([6, 16], { kind: 'group', size: 8 })).toBe(12);
  expect(groupCount([4, 2, 3], { kind: 'channel' })).toBe(4);
});

test('a group must divide the row', () => {
  expect(() => groupCount([2, 10], { kind: 'group', size: 4 }, 'mlp.w2.weight')).toThrowErrorMatchingInlineSnapshot(
    `[ShapeError: mlp.w2.weight: expected rows that are a multiple of the group size 4, got rows of 10 (shape [2, 10]). Choose a group size that divides the row, or quantize per channel.]`,
  );
});

test('scales must share the elements equally', () => {
  expect(runLength(12, 4, 'here')).toBe(3);
  expect(() => runLength(10, 4, 'fakeQuantize')).toThrowErrorMatchingInlineSnapshot(
    `[ShapeError: fakeQuantize: expected a number of elements that 4 scales can share equally, got 10 elements. Pass the tensor whose granularity made the scales.]`,
  );
  expect(() => runLength(10, 0, 'fakeQuantize')).toThrow('fakeQuantize');
});
