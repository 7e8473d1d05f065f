import { describe, expect, test } from 'vitest';
import { DARK, LIGHT } from './palette.ts';

/** WCAG 2.2's relative luminance of `#rrggbb`. */
function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const c = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

test('contrast is that of WCAG', () => {
  expect(contrast('#000000', '#ffffff')).toBeCloseTo(21, 5);
  expect(contrast('#767676', '#ffffff')).toBeCloseTo(4.54, 2);
});

describe.each([
  ['light', LIGHT],
  ['dark', DARK],
])('in %s surroundings', (_, palette) => {
  test.each(['ink', 'muted', 'first', 'second', 'third'] as const)('text in %s can be read', (name) => {
    expect(contrast(palette[name], palette.paper)).toBeGreaterThanOrEqual(4.5);
    expect(contrast(palette[name], palette.shade)).toBeGreaterThanOrEqual(4.5);
  });

  test('marks can be seen', () => {
    expect(contrast(palette.past, palette.paper)).toBeGreaterThanOrEqual(3);
    expect(contrast(palette.heat.at(-1) as string, palette.paper)).toBeGreaterThanOrEqual(3);
  });

  test('heat stands out the more, the more it costs', () => {
    const steps = palette.heat.map((colour) => contrast(colour, palette.paper));
    for (const [i, step] of steps.slice(1).entries()) expect(step).toBeGreaterThan(1.1 * (steps[i] as number));
  });
});
