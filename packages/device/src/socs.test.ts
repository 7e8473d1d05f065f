import { expect, test } from 'vitest';
import { findSoc, socs } from './socs.ts';

test('chips are found by part number and by the name on the box', () => {
  for (const soc of socs) {
    expect(findSoc(soc.name.toLowerCase())).toBe(soc);
    expect(findSoc(soc.chip)).toBe(soc);
  }
  expect(findSoc('8 Elite')).toMatchObject({ name: 'SM8750', socModel: 69, htpArch: 79 });
});

test('another chip is refused, with those that are known', () => {
  expect(() => findSoc('SM8350')).toThrowErrorMatchingInlineSnapshot(
    `[DeviceError: chip: expected one of SM8750 (Snapdragon 8 Elite), SM8650 (Snapdragon 8 Gen 3), SM8550 (Snapdragon 8 Gen 2), SM8450 (Snapdragon 8 Gen 1), got 'SM8350'. A phone says which it has by \`adb shell getprop ro.soc.model\`; for another, pass its numbers as a Soc.]`,
  );
  expect(() => findSoc('')).toThrow("got ''");
});
