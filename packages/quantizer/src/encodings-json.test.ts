import { expect, test } from 'vitest';
import { random } from '../test/random.ts';
import type { Encoding, Encodings } from './encoding.ts';
import { encodingsFromJson, encodingsToJson } from './encodings-json.ts';
import { FormatError } from './errors.ts';

test('encodings go through JSON bit for bit', () => {
  const next = random(5);
  const rows: Encoding = {
    spec: { bits: 4, symmetric: false, granularity: { kind: 'channel' } },
    scale: Float32Array.from({ length: 3000 }, () => 10 ** (12 * next() - 8)),
    zeroPoint: Int32Array.from({ length: 3000 }, () => Math.floor(16 * next())),
  };
  const encodings: Encodings = new Map([
    ['model.layers.0.mlp.w2.weight', rows],
    [
      'lm_head.weight',
      {
        spec: { bits: 8, symmetric: true, granularity: { kind: 'group', size: 4 } },
        scale: Float32Array.of(1e-5, 0.1),
        zeroPoint: Int32Array.of(128, 128),
      },
    ],
    [
      'model.layers.0.mlp.act_fn.input2',
      {
        spec: { bits: 8, symmetric: false, granularity: { kind: 'tensor' }, range: { min: 0, max: 1 } },
        scale: Float32Array.of(1 / 255),
        zeroPoint: Int32Array.of(0),
      },
    ],
  ]);
  expect(encodingsFromJson(JSON.parse(JSON.stringify(encodingsToJson(encodings))))).toEqual(encodings);
});

test('the file is short and can be read', () => {
  const encoding: Encoding = {
    spec: { bits: 8, symmetric: true, granularity: { kind: 'channel' } },
    scale: Float32Array.of(0.1, 1 / 3),
    zeroPoint: Int32Array.of(128, 128),
  };
  expect(JSON.stringify(encodingsToJson(new Map([['lm_head.weight', encoding]])))).toMatchInlineSnapshot(
    `"{"lm_head.weight":{"bits":8,"symmetric":true,"granularity":"channel","scale":[0.1,0.33333334],"zeroPoint":128}}"`,
  );
});

test('a number that no encoding has is refused with its place', () => {
  const good = { bits: 8, scale: [0.5], zeroPoint: 3 };
  const messageOf = (changes: object) => {
    try {
      encodingsFromJson({ 'mlp.w1.output': { ...good, ...changes } });
    } catch (error) {
      if (error instanceof FormatError) return error.message;
    }
    return expect.fail('expected a FormatError');
  };
  expect(encodingsFromJson({ 'mlp.w1.output': good }).size).toBe(1);
  expect(
    [
      { bits: 32 },
      { scale: [] },
      { scale: [0.5, 0.5] },
      { scale: [0] },
      { scale: [1e-60] },
      { scale: [1e60] },
      { scale: ['0.5'] },
      { scale: 'AAAA' },
      { zeroPoint: 256 },
      { zeroPoint: -1 },
      { zeroPoint: 0.5 },
      { zeroPoint: [1, 2] },
      { symmetric: true },
      { zeropoint: 3 },
    ].map(messageOf),
  ).toMatchInlineSnapshot(`
    [
      "mlp.w1.output.bits: expected an integer from 2 to 16, got 32.",
      "mlp.w1.output.scale: expected one number, got 0.",
      "mlp.w1.output.scale: expected one number, got 2.",
      "mlp.w1.output.scale[0]: expected a positive float32, got 0.",
      "mlp.w1.output.scale[0]: expected a positive float32, got 1e-60.",
      "mlp.w1.output.scale[0]: expected a positive float32, got 1e+60.",
      "mlp.w1.output.scale[0]: expected a finite number, got "0.5".",
      "mlp.w1.output.scale: expected an array, got "AAAA".",
      "mlp.w1.output.zeroPoint[0]: expected an integer from 0 to 255, got 256.",
      "mlp.w1.output.zeroPoint[0]: expected an integer from 0 to 255, got -1.",
      "mlp.w1.output.zeroPoint[0]: expected an integer from 0 to 255, got 0.5.",
      "mlp.w1.output.zeroPoint: expected 1 numbers, as many as scales, or one for all, got 2.",
      "mlp.w1.output.zeroPoint[0]: expected an integer from 128 to 128, got 3.",
      "mlp.w1.output: expected only the keys bits, symmetric, granularity, range, scale, zeroPoint, got "zeropoint". Remove or correct it.",
    ]
  `);
});
