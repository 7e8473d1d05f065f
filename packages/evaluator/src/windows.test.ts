import { expect, test } from 'vitest';
import { WindowError, windowsOf } from './windows.ts';

const text = Int32Array.from({ length: 11 }, (_, i) => i);

test('windows follow each other from the start, and a rest that fills none is left out', () => {
  expect(windowsOf(text, { tokens: 4 }).map((window) => [...window])).toEqual([
    [0, 1, 2, 3],
    [4, 5, 6, 7],
  ]);
});

test('no more windows than asked for, and no more than there are', () => {
  expect(windowsOf(text, { tokens: 4, windows: 1 })).toHaveLength(1);
  expect(windowsOf(text, { tokens: 4, windows: 9 })).toHaveLength(2);
});

test('a text shorter than one window is an error that says both lengths', () => {
  expect(() => windowsOf(text, { tokens: 12 })).toThrowErrorMatchingInlineSnapshot(
    `[WindowError: windows: expected a text of at least 12 tokens, got 11. Use shorter windows or a longer text.]`,
  );
});

test('windows of one token, and no windows, are errors', () => {
  expect(() => windowsOf(text, { tokens: 1 })).toThrow(WindowError);
  expect(() => windowsOf(text, { tokens: 4, windows: 0 })).toThrow(WindowError);
  expect(() => windowsOf(text, { tokens: Number.NaN })).toThrow(WindowError);
});
