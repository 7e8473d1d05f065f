/** What holds for every tensor and every spec, tried on many. */
import { describe, expect, test } from 'vitest';
import {
  dequantize,
  type Encoding,
  encodingFromRanges,
  fakeQuantize,
  type Granularity,
  type QuantizerSpec,
  quantize,
  rangesFromEncoding,
  rangesOf,
} from '../src/index.ts';
import { random } from './random.ts';

const SHAPE = [6, 16];
const granularities: Granularity[] = [{ kind: 'tensor' }, { kind: 'channel' }, { kind: 'group', size: 4 }];
const specs: QuantizerSpec[] = granularities.flatMap((granularity) =>
  [2, 3, 4, 7, 8, 12, 16].flatMap((bits) => [true, false].map((symmetric) => ({ bits, symmetric, granularity }))),
);

interface Sample {
  readonly x: Float32Array;
  readonly spec: QuantizerSpec;
  readonly encoding: Encoding;
}

/** Tensors of every size, centred or not, with zeros and outliers among them, on every kind of grid. */
const samples: Sample[] = specs.flatMap((spec, n) =>
  Array.from({ length: 12 }, (_, k) => {
    const next = random(1000 * n + k);
    const size = 10 ** (6 * next() - 3);
    const centre = next() < 0.5 ? 0 : 2 * next() - 1;
    const x = Float32Array.from({ length: 96 }, () => {
      const outlier = next() < 0.05 ? 20 : 1;
      return next() < 0.1 ? 0 : size * (centre + outlier * (2 * next() - 1));
    });
    return { x, spec, encoding: encodingFromRanges(rangesOf(x, SHAPE, spec.granularity), spec).encoding };
  }),
);

/** Calls `check` for each element with its group's scale and zero point. */
function forEachElement(
  { x, encoding }: Sample,
  check: (x: number, i: number, scale: number, group: number) => void,
): void {
  const length = x.length / encoding.scale.length;
  x.forEach((value, i) => {
    const g = Math.floor(i / length);
    check(value, i, encoding.scale[g] as number, g);
  });
}

describe(`${samples.length} random tensors`, () => {
  test('fake quantization is idempotent', () => {
    for (const { x, encoding } of samples) {
      const once = fakeQuantize(x, encoding);
      expect(fakeQuantize(once, encoding)).toEqual(once);
    }
  });

  test('quantize ∘ dequantize is the identity on levels', () => {
    for (const { x, encoding } of samples) {
      const levels = quantize(x, encoding);
      expect(quantize(dequantize(levels, encoding), encoding)).toEqual(levels);
    }
  });

  test('dequantize ∘ quantize is fake quantization', () => {
    for (const { x, encoding } of samples)
      expect(dequantize(quantize(x, encoding), encoding)).toEqual(fakeQuantize(x, encoding));
  });

  test('inside the calibrated range the error is at most half a step', () => {
    let worst = 0;
    for (const sample of samples) {
      const y = fakeQuantize(sample.x, sample.encoding);
      forEachElement(sample, (x, i, scale) => {
        // Beyond the half step, float32 rounds x/scale (up to 2^16) and the product.
        worst = Math.max(worst, (Math.abs((y[i] as number) - x) - 2 ** -22 * Math.abs(x)) / scale);
      });
    }
    expect(worst).toBeLessThanOrEqual(0.5);
    expect(worst).toBeGreaterThan(0.49);
  });

  test('the grid covers the range, and zero, up to half a step', () => {
    let beyond = 0; // in steps
    for (const sample of samples) {
      const { min, max } = rangesFromEncoding(sample.encoding);
      forEachElement(sample, (x, _, scale, g) => {
        beyond = Math.max(beyond, ((min[g] as number) - x) / scale, (x - (max[g] as number)) / scale);
      });
      expect(min.every((low) => low <= 0) && max.every((high) => high >= 0)).toBe(true);
    }
    expect(beyond).toBeLessThanOrEqual(0.501);
  });

  test('zero is exactly zero', () => {
    for (const { encoding } of samples) {
      const zeros = new Float32Array(96);
      expect(fakeQuantize(zeros, encoding).every((y) => y === 0)).toBe(true);
    }
  });

  test('a symmetric quantizer negates exactly', () => {
    for (const { x, encoding } of samples.filter(({ spec }) => spec.symmetric)) {
      const y = fakeQuantize(x, encoding);
      expect(
        fakeQuantize(
          x.map((v) => -v),
          encoding,
        ),
      ).toEqual(y.map((v) => (v === 0 ? 0 : -v)));
    }
  });

  test('scaling by a power of two scales the result', () => {
    for (const { x, spec, encoding } of samples) {
      if (encoding.scale.some((s) => s < 1e-4)) continue; // there the smallest scale interferes
      const quadruple = x.map((v) => 4 * v);
      const other = encodingFromRanges(rangesOf(quadruple, SHAPE, spec.granularity), spec).encoding;
      expect(fakeQuantize(quadruple, other)).toEqual(fakeQuantize(x, encoding).map((v) => 4 * v));
    }
  });
});
