import { type Encoding, encodingFromRange, fakeQuantize } from '@mobilequant/quantizer';
import { expect, test } from 'vitest';
import { encodingsJson } from './encodings-json.ts';
import { parseEncodings } from './parse-encodings.ts';
import { encodingOf, type IntegerEncoding } from './tensor-encoding.ts';

const rows = (granularity: Encoding['spec']['granularity'], scales: number): Encoding => ({
  spec: { bits: 4, symmetric: true, granularity },
  scale: Float32Array.from({ length: scales }, (_, i) => 0.1 + i),
  zeroPoint: new Int32Array(scales).fill(8),
});

test('channels are those of axis 0, groups are blocks of axis 1', () => {
  expect(encodingOf('w', rows({ kind: 'channel' }, 3))).toMatchObject({ bits: 4, granularity: { axis: 0 } });
  expect(encodingOf('w', rows({ kind: 'group', size: 2 }, 6), [3, 4])).toMatchObject({
    granularity: { kind: 'block', axis: 1, channelAxis: 0, channels: 3, size: 2, rank: 2 },
    scale: Float64Array.from([0.1, 1.1, 2.1, 3.1, 4.1, 5.1], Math.fround),
  });
});

test('groups need their shape, and the right one', () => {
  const groups = rows({ kind: 'group', size: 2 }, 6);
  expect(() => encodingOf('w', groups)).toThrowErrorMatchingInlineSnapshot(
    `[EncodingsError: encodings: w: expected the shape [out, in] of a weight in groups, got none. Give it as the third argument.]`,
  );
  expect(() => encodingOf('w', groups, [2, 4])).toThrowErrorMatchingInlineSnapshot(
    `[EncodingsError: encodings: w: expected 4 scales for the shape [2, 4], got 6. Give the shape of its own tensor.]`,
  );
  expect(() => encodingOf('w', groups, [4, 3])).toThrow('w: expected rows that are a multiple of the group size 2');
});

test('through any version, values are rounded as before', () => {
  const { encoding } = encodingFromRange(
    { min: -1.3, max: 2.9 },
    { bits: 8, symmetric: false, granularity: { kind: 'tensor' } },
  );
  const values = Float32Array.from({ length: 50 }, (_, i) => Math.sin(7 * i) * 3);
  for (const version of ['0.6.1', '1.0.0', '2.0.0', '2.1.0'] as const) {
    const activations = new Map([['x', encodingOf('x', encoding)]]);
    const back = parseEncodings(encodingsJson({ activations, params: new Map() }, { version })).activations.get('x');
    const { scale, zeroPoint } = back as IntegerEncoding;
    const again: Encoding = { ...encoding, scale: Float32Array.from(scale), zeroPoint: Int32Array.from(zeroPoint) };
    expect(fakeQuantize(values, again)).toEqual(fakeQuantize(values, encoding));
  }
});
