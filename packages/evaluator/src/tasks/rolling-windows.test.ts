import { expect, test } from 'vitest';
import { rollingWindows } from './rolling-windows.ts';

const windows = (tokens: number, length: number) =>
  rollingWindows(
    Int32Array.from({ length: tokens }, (_, i) => i + 1),
    0,
    length,
  ).map(({ context, continuation }) => [Array.from(context), Array.from(continuation)]);

test('each token once, behind the one before; the last window reaches back', () => {
  expect(windows(10, 4)).toEqual([
    [[0], [1, 2, 3, 4]],
    [[4], [5, 6, 7, 8]],
    [
      [6, 7, 8],
      [9, 10],
    ],
  ]);
  expect(windows(3, 4)).toEqual([[[0], [1, 2, 3]]]);
  expect(windows(4, 4)).toEqual([[[0], [1, 2, 3, 4]]]);
  expect(windows(0, 4)).toEqual([]);
});
