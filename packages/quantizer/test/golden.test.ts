/**
 * Every fake-quantizer vector of the reference implementation (PyTorch, float32).
 *
 * What is one rounded operation after another must be bit-equal. A sum may be taken in another order, so its tolerance is
 * float32's rounding of the terms that PyTorch adds: it sums `g·q` and `g·x/s` apart, which cancel.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fakeQuantizeDynamic, fakeQuantizeDynamicGradient } from '../src/dynamic.ts';
import { fakeQuantize, fakeQuantizeGradient } from '../src/fake-quantize.ts';
import type { Grid } from '../src/grid.ts';
import { clip, clippedRanges, fakeQuantizeClipped, fakeQuantizeClippedGradient } from '../src/learned-clipping.ts';
import { type Ranges, rangesOf, rangesOfGroups } from '../src/ranges.ts';
import { rangesFromReferenceGrid, referenceGrid } from '../src/reference-grid.ts';
import type { QuantizerSpec } from '../src/spec.ts';
import { readFloats } from './safetensors.ts';

interface Case {
  readonly name: string;
  readonly group: string;
  readonly bitwidth: number;
  readonly symmetric: boolean;
  readonly per_channel: boolean;
  readonly group_size: number;
  readonly qmin: number;
  readonly qmax: number;
  readonly note: string;
  readonly tensors: Record<string, readonly number[]>;
}

const EPSILON = 2 ** -24;
const root = process.env.MOBILEQUANT_GOLDEN;
const golden = root && existsSync(join(root, 'quantizer')) ? root : undefined;

describe.skipIf(!golden)('golden fake quantizers (set MOBILEQUANT_GOLDEN to the folder of reference data)', () => {
  const folder = join(golden ?? '', 'quantizer');
  const cases: Case[] = golden ? JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')).cases : [];
  const tensors = golden ? readFloats(join(folder, 'quantizer.safetensors')) : new Map<string, Float32Array>();

  test('there are cases', () => expect(cases.length).toBeGreaterThan(0));

  test.each(cases)('$name: $note', (c) => {
    const has = (what: string) => what in c.tensors;
    const get = (what: string) => tensors.get(`${c.name}/${what}`) as Float32Array;
    const shape = c.tensors.x as readonly number[];
    const spec: QuantizerSpec = {
      bits: c.bitwidth,
      symmetric: c.symmetric,
      granularity: !c.per_channel
        ? { kind: 'tensor' }
        : c.group_size > 0
          ? { kind: 'group', size: c.group_size }
          : { kind: 'channel' },
    };
    const x = get('x');
    const gradY = get('grad_y');
    const factors = { up: get('gamma_up'), low: get('beta_low') };
    const groups = get('scale').length;

    const ranges: Ranges = has('given_min')
      ? { min: get('given_min'), max: get('given_max') }
      : has('gamma_up')
        ? clippedRanges(rangesOfGroups(x, groups), factors)
        : rangesOf(x, shape, spec.granularity);
    const grid = referenceGrid(ranges, spec);

    expect(grid.qmin).toBe(c.qmin);
    expect(grid.qmax).toBe(c.qmax);
    expectEqual(grid.scale, get('scale'));
    expectEqual(grid.offset, get('offset'));
    const stood = rangesFromReferenceGrid(grid);
    expectEqual(stood.min, get('range_min'));
    expectEqual(stood.max, get('range_max'));

    const roundoff = sumRoundoff(x, gradY, grid);
    if (has('gamma_up')) {
      expectEqual(fakeQuantizeClipped(x, spec, factors), get('y'));
      expectEqual(clip(x, ranges), get('clipped'));
      const grad = fakeQuantizeClippedGradient(x, gradY, spec, factors);
      const extremes = rangesOfGroups(x, groups);
      const spread = roundoff.map((r) => (2 * r) / c.qmax);
      expectClose(grad.x, get('grad_x'), spread);
      expectClose(
        grad.up,
        get('grad_gamma_up'),
        spread.map((r, g) => r * Math.abs(extremes.max[g] as number)),
      );
      expectClose(
        grad.low,
        get('grad_beta_low'),
        spread.map((r, g) => r * Math.abs(extremes.min[g] as number)),
      );
    } else if (!has('given_min')) {
      expectEqual(fakeQuantizeDynamic(x, shape, spec), get('y'));
      expectClose(
        fakeQuantizeDynamicGradient(x, gradY, shape, spec),
        get('grad_x'),
        roundoff.map((r) => (2 * r) / c.qmax),
      );
    } else {
      expectEqual(fakeQuantize(x, grid), get('y'));
      const grad = fakeQuantizeGradient(x, gradY, grid);
      expectClose(grad.x, get('grad_x'), new Array(groups).fill(0));
      expectClose(grad.scale, get('grad_scale'), roundoff);
      expectClose(
        grad.offset,
        get('grad_offset'),
        grid.scale.map((s) => 16 * EPSILON * s * gradY.length),
      );
    }
  });
});

/** What float32 may lose, per group, in the sums over `g·(q - offset)` and `g·x/s`. */
function sumRoundoff(x: Float32Array, gradY: Float32Array, grid: Grid): number[] {
  const y = fakeQuantize(x, grid);
  const length = x.length / grid.scale.length;
  return Array.from(grid.scale, (s, g) => {
    let terms = 0;
    for (let i = g * length; i < (g + 1) * length; i++) {
      terms += (Math.abs(gradY[i] as number) * (Math.abs(y[i] as number) + Math.abs(x[i] as number))) / s;
    }
    return 4 * EPSILON * terms;
  });
}

/** Bit-equal, but for the sign of zero: the reference writes a symmetric offset now as 0, now as -0. */
function expectEqual(actual: Float32Array, expected: Float32Array): void {
  expect(actual.map((v) => v + 0)).toEqual(expected.map((v) => v + 0));
}

/** Elementwise within four roundings, plus what its group may have lost. */
function expectClose(actual: Float32Array, expected: Float32Array, lost: ArrayLike<number>): void {
  expect(actual.length).toBe(expected.length);
  const length = actual.length / lost.length;
  actual.forEach((value, i) => {
    const want = expected[i] as number;
    const tolerance = 4 * EPSILON * Math.abs(want) + (lost[Math.floor(i / length)] as number);
    if (!(Math.abs(value - want) <= tolerance))
      expect.fail(`element ${i}: ${value} is not within ${tolerance} of ${want}`);
  });
}
