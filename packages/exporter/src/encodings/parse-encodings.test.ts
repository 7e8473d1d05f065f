import { describe, expect, test } from 'vitest';
import { encodingsJson } from './encodings-json.ts';
import { parseEncodings } from './parse-encodings.ts';
import type { EncodingsFile } from './tensor-encoding.ts';
import type { TensorFacts } from './tensor-facts.ts';

const messageOf = (source: unknown, facts?: TensorFacts): string => {
  try {
    parseEncodings(source, facts);
  } catch (error) {
    return (error as Error).message;
  }
  return 'fine';
};

/** As text, so that what JSON cannot hold is not tested. */
const version0 = (changes: object, second?: object, version = '0.6.1'): string => {
  const entry = { bitwidth: 8, dtype: 'int', is_symmetric: 'False', max: 14.1, min: -11.4, offset: -114, scale: 0.1 };
  const list = [{ ...entry, ...changes }, ...(second ? [{ ...entry, ...second }] : [])];
  return JSON.stringify({ version, activation_encodings: { x: list }, param_encodings: {}, quantizer_args: {} });
};

describe('0.x', () => {
  test('one encoding is the tensor’s, several are those of channels', () => {
    expect(parseEncodings(version0({})).activations.get('x')).toEqual({
      kind: 'integer',
      name: 'x',
      bits: 8,
      symmetric: false,
      granularity: { kind: 'tensor' },
      scale: Float64Array.of(0.1),
      zeroPoint: Float64Array.of(114),
    });
    const other = { scale: 0.2, min: -22.8, max: 28.2 };
    expect(parseEncodings(version0({}, other), { axisOf: () => 1 }).activations.get('x')).toMatchObject({
      granularity: { kind: 'channel', axis: 1 },
      scale: Float64Array.of(0.1, 0.2),
    });
    expect(parseEncodings(version0({}, other)).activations.get('x')).toMatchObject({ granularity: { axis: 0 } });
  });

  test('0.4.0 says no type, and often no version', () => {
    const { version, ...file } = JSON.parse(version0({ dtype: undefined }, undefined, '0.4.0'));
    expect(parseEncodings(file)).toEqual(parseEncodings({ ...file, version }));
    expect(parseEncodings(file).activations.get('x')).toMatchObject({ kind: 'integer', bits: 8 });
  });

  test('a float has bits only', () => {
    const file = { version: '0.5.0', activation_encodings: { x: [{ dtype: 'float', bitwidth: 16 }] } };
    expect(parseEncodings(file).activations.get('x')).toEqual({ kind: 'float', name: 'x', bits: 16 });
  });

  test('the range may be of strictly symmetric levels, or be left out', () => {
    const strict = { is_symmetric: 'True', offset: -127, min: -12.7, max: 12.7 };
    expect(parseEncodings(version0(strict)).activations.get('x')).toMatchObject({ symmetric: true });
    expect(messageOf(version0({ min: undefined, max: undefined }))).toBe('fine');
    expect(messageOf(version0({ is_symmetric: 'False', offset: -127, min: -12.7, max: 12.7 }))).toContain('x[0].max');
  });

  test('names that are numbers, or that objects have, are names', () => {
    const list = JSON.parse(version0({})).activation_encodings.x;
    const names = ['20', '__proto__', 'constructor', '3'];
    const entries = names.map((name) => `${JSON.stringify(name)}:${JSON.stringify(list)}`);
    const file = parseEncodings(`{"version":"0.6.1","activation_encodings":{${entries}},"param_encodings":{}}`);
    expect([...file.activations.keys()].sort()).toEqual([...names].sort());
    expect(parseEncodings(encodingsJson(file, { version: '0.6.1' })).activations).toEqual(file.activations);
  });

  test('a message is one line, whatever the name', () => {
    const list = [{ bitwidth: 1 }];
    expect(messageOf({ activation_encodings: { 'a\n\u001b[31m\u0085b': list } })).toContain(
      String.raw`activation_encodings.a\u000a\u001b[31m\u0085b`,
    );
  });

  test('mistakes', () => {
    expect(
      [
        version0({ bitwidth: 1 }),
        version0({ bitwidth: '8' }),
        version0({ bitwidth: 4 }),
        version0({ is_symmetric: 'no' }),
        version0({ is_symmetric: undefined }),
        version0({ dtype: 'bool' }),
        version0({ scale: 0 }),
        version0({ scale: -0.1 }),
        version0({ scale: null }),
        version0({ scale: 0.2 }),
        version0({ offset: 114 }),
        version0({ offset: -256 }),
        version0({ offset: -113.5 }),
        version0({ offset: -113 }),
        version0({ min: -12 }),
        version0({ max: 15 }),
        version0({ max: '14.1' }),
        version0({}, { bitwidth: 4 }),
        version0({}, { is_symmetric: 'True' }),
        version0({}, { scale: 0 }),
        { version: '0.6.1', activation_encodings: { x: [] } },
        { version: '0.6.1', activation_encodings: { x: [3] } },
        { version: '0.6.1', activation_encodings: [] },
        { version: '0.6.1', param_encodings: { x: [{ dtype: 'float', bitwidth: 12 }] } },
      ].map((source) => messageOf(source)),
    ).toMatchInlineSnapshot(`
      [
        "encodings: activation_encodings.x[0].bitwidth: expected an integer from 2 to 32, got 1. See the specification of this version.",
        "encodings: activation_encodings.x[0].bitwidth: expected an integer from 2 to 32, got "8". See the specification of this version.",
        "encodings: activation_encodings.x[0].offset: expected an integer from -15 to 0, got -114. An offset is the negative of a zero point on the unsigned grid.",
        "encodings: activation_encodings.x[0].is_symmetric: expected "True", "False", "true", "false", true, false, got "no". See the specification of this version.",
        "encodings: activation_encodings.x[0].is_symmetric: expected "True", "False", "true", "false", true, false, got nothing. See the specification of this version.",
        "encodings: activation_encodings.x[0].dtype: expected "int", "float", got "bool". See the specification of this version.",
        "encodings: activation_encodings.x.scale[0]: expected a positive float32, got 0. Calibrate the tensor on other data.",
        "encodings: activation_encodings.x.scale[0]: expected a positive float32, got -0.1. Calibrate the tensor on other data.",
        "encodings: activation_encodings.x[0].scale: expected a finite number, got null. Settings without a grid cannot be converted.",
        "encodings: activation_encodings.x[0].min: expected about -22.8, as scale and offset have it, got -11.4. They are of different grids: correct one, or leave min and max out.",
        "encodings: activation_encodings.x[0].offset: expected an integer from -255 to 0, got 114. An offset is the negative of a zero point on the unsigned grid.",
        "encodings: activation_encodings.x[0].offset: expected an integer from -255 to 0, got -256. An offset is the negative of a zero point on the unsigned grid.",
        "encodings: activation_encodings.x[0].offset: expected an integer from -255 to 0, got -113.5. An offset is the negative of a zero point on the unsigned grid.",
        "encodings: activation_encodings.x[0].min: expected about -11.3, as scale and offset have it, got -11.4. They are of different grids: correct one, or leave min and max out.",
        "encodings: activation_encodings.x[0].min: expected about -11.4, as scale and offset have it, got -12. They are of different grids: correct one, or leave min and max out.",
        "encodings: activation_encodings.x[0].max: expected about 14.100000000000001, as scale and offset have it, got 15. They are of different grids: correct one, or leave min and max out.",
        "encodings: activation_encodings.x[0].max: expected a finite number, got "14.1". See the specification of this version.",
        "encodings: activation_encodings.x[1].bitwidth: expected 8, got 4. All channels of a tensor share it.",
        "encodings: activation_encodings.x[1].is_symmetric: expected "False", got "True". All channels of a tensor share it.",
        "encodings: activation_encodings.x.scale[1]: expected a positive float32, got 0. Calibrate the tensor on other data.",
        "encodings: activation_encodings.x: expected at least one encoding, got an empty list. Leave the tensor out.",
        "encodings: activation_encodings.x[0]: expected an object, got 3. See the specification of this version.",
        "encodings: activation_encodings: expected an object, got []. Lists are those of 1.0.0: say the version.",
        "encodings: param_encodings.x[0].bitwidth: expected 8, 16, 32, got 12. See the specification of this version.",
      ]
    `);
  });
});

const version1 = (changes: object): unknown => ({
  version: '1.0.0',
  activation_encodings: [],
  param_encodings: [
    {
      name: 'w',
      enc_type: 'PER_CHANNEL',
      dtype: 'INT',
      bw: 4,
      is_sym: true,
      scale: [0.5, 0.25],
      offset: [-8, -8],
      ...changes,
    },
  ],
});
const LPBQ = { enc_type: 'LPBQ', bw: 8, compressed_bw: 4, block_size: 32, offset: [-128, -128] };

describe('1.0.0', () => {
  test('channels lie on axis 0, unless it is said', () => {
    expect(parseEncodings(version1({})).params.get('w')).toEqual({
      kind: 'integer',
      name: 'w',
      bits: 4,
      symmetric: true,
      granularity: { kind: 'channel', axis: 0 },
      scale: Float64Array.of(0.5, 0.25),
      zeroPoint: Float64Array.of(8, 8),
    });
    expect(parseEncodings(version1({}), { axisOf: () => 3 }).params.get('w')).toMatchObject({
      granularity: { axis: 3 },
    });
  });

  test('LPBQ has the scales of channels and the integers of blocks', () => {
    const lpbq = { ...LPBQ, per_block_int_scale: [3, 5, 11, 16] };
    expect(parseEncodings(version1(lpbq)).params.get('w')).toMatchObject({
      bits: 4,
      zeroPoint: Float64Array.of(8, 8),
      granularity: {
        kind: 'lpbq',
        ...{ axis: 1, channelAxis: 0, channels: 2, size: 32, rank: 2, decompressedBits: 8 },
        blockScale: Uint16Array.of(3, 5, 11, 16),
      },
    });
  });

  test('blocks need the shape of their tensor', () => {
    const blocks = { enc_type: 'PER_BLOCK', block_size: 16, scale: [1, 2, 3, 4, 5, 6], offset: Array(6).fill(-8) };
    const facts = (shape: readonly number[], axis: number): TensorFacts => ({
      shapeOf: () => shape,
      axisOf: () => axis,
    });
    expect(messageOf(version1(blocks))).toMatchInlineSnapshot(
      `"encodings: param_encodings.w: expected the shape of a tensor in blocks, got none. This version leaves it out: give the model that the encodings belong to."`,
    );
    // [48, 2], read by a MatMul: two channels of three blocks along axis 0.
    const file = parseEncodings(version1(blocks), facts([48, 2], 1));
    expect(file.params.get('w')).toMatchObject({ granularity: { axis: 0, channelAxis: 1, channels: 2 } });
    expect(JSON.parse(encodingsJson(file, { version: '2.0.0' })).encodings[0]).toMatchObject({
      y_scale: [
        [1, 4],
        [2, 5],
        [3, 6],
      ],
      axis: 0,
    });
    expect(messageOf(version1(blocks), facts([2, 48], -2))).toBe('fine');
    expect(messageOf(version1(blocks), facts([2, 64], 0))).toMatchInlineSnapshot(
      `"encodings: param_encodings.w: expected 2 channels of 4 blocks, by the shape [2, 64], got 2 of 3. Give the model that the encodings belong to."`,
    );
    expect(messageOf(version1(blocks), facts([1, 48, 2], 2))).toMatchInlineSnapshot(
      `"encodings: param_encodings.w: expected blocks of a matrix, or channels before blocks, for version 1.0.0, got channels on axis 2 of 3. Use 2.0.0 or later, whose lists have the axes."`,
    );
    expect(messageOf(version1(blocks), facts([6], 0))).toMatchInlineSnapshot(
      `"encodings: param_encodings.w: expected 6 channels of 0 blocks, by the shape [6], got 6 of 1. Give the model that the encodings belong to."`,
    );
  });

  test('the fraction of an int2 grid stands apart, or in the offset', () => {
    const int2 = { bw: 2, scale: [0.5] };
    const apart = parseEncodings(version1({ ...int2, offset: [-2], zero_point_shift: [0.5] }));
    expect(apart.params.get('w')).toMatchObject({ zeroPoint: Float64Array.of(1.5) });
    expect(parseEncodings(version1({ ...int2, offset: [-1.5] }))).toEqual(apart);
    expect(JSON.parse(encodingsJson(apart, { version: '2.0.0' })).encodings[0]).toMatchObject({
      output_dtype: 'int2',
      y_zero_point: [-0.5],
    });
  });

  test('what is called symmetric is signed in 2.x, where zero is the least level too', () => {
    const file = parseEncodings(version1({ offset: [0, 0] }));
    const text = encodingsJson(file, { version: '2.0.0' });
    expect(JSON.parse(text).encodings).toMatchObject([{ output_dtype: 'int4', y_zero_point: [-8, -8] }]);
    expect(parseEncodings(text).params).toEqual(file.params);
  });

  test('mistakes', () => {
    expect(
      [
        version1({ name: undefined }),
        version1({ name: 3 }),
        version1({ enc_type: 'VECTOR' }),
        version1({ dtype: 'int' }),
        version1({ bw: 64 }),
        version1({ is_sym: 'True' }),
        version1({ scale: 0.5 }),
        version1({ scale: [0.5] }),
        version1({ scale: [0.5, 0] }),
        version1({ scale: [0.5, '0.25'] }),
        version1({ scale: [0.5, 1e39] }),
        version1({ scale: [], offset: [] }),
        version1({ offset: [-8] }),
        version1({ offset: [-8, -16] }),
        version1({ offset: [-8, 8] }),
        version1({ offset: [-8, -7.5] }),
        version1({ enc_type: 'PER_TENSOR' }),
        version1({ enc_type: 'PER_BLOCK' }),
        version1({ zero_point_shift: [0.5, 0.5, 0.5] }),
        version1({ ...LPBQ, per_block_int_scale: [1, 2, 3] }),
        version1({ ...LPBQ, per_block_int_scale: [1, 17] }),
        version1({ ...LPBQ, per_block_int_scale: [1, 0] }),
        version1({ ...LPBQ, per_block_int_scale: [1, 2], offset: [-128, -8] }),
        version1({ ...LPBQ, per_block_int_scale: [1, 2], compressed_bw: 8 }),
        version1({ ...LPBQ, per_block_int_scale: [1, 2], is_sym: false }),
        { version: '1.0.0', param_encodings: {} },
        { version: '1.0.0', param_encodings: [{ name: 'w', enc_type: 'PER_TENSOR', dtype: 'FLOAT', bw: 12 }] },
      ].map((source) => messageOf(source)),
    ).toMatchInlineSnapshot(`
      [
        "encodings: param_encodings[0].name: expected the name of a tensor, got nothing. Give every entry one.",
        "encodings: param_encodings[0].name: expected the name of a tensor, got 3. Give every entry one.",
        "encodings: param_encodings.w.enc_type: expected "PER_TENSOR", "PER_CHANNEL", "PER_BLOCK", "LPBQ", got "VECTOR". Other types cannot be converted.",
        "encodings: param_encodings.w.dtype: expected "INT", "FLOAT", got "int". See the specification of this version.",
        "encodings: param_encodings.w.bw: expected an integer from 2 to 32, got 64. See the specification of this version.",
        "encodings: param_encodings.w.is_sym: expected true, false, got "True". See the specification of this version.",
        "encodings: param_encodings.w.scale: expected a list, got 0.5. See the specification of this version.",
        "encodings: param_encodings.w.offset: expected 1, as many as scales, got 2. Give each scale one.",
        "encodings: param_encodings.w.scale[1]: expected a positive float32, got 0. Calibrate the tensor on other data.",
        "encodings: param_encodings.w.scale[1]: expected a finite number, got "0.25". See the specification of this version.",
        "encodings: param_encodings.w.scale[1]: expected a positive float32, got 1e+39. Calibrate the tensor on other data.",
        "encodings: param_encodings.w.scale: expected 1 for the granularity 'channel', got 0. Give each its own.",
        "encodings: param_encodings.w.offset: expected 2, as many as scales, got 1. Give each scale one.",
        "encodings: param_encodings.w.offset[1]: expected an integer from -15 to 0, got -16. An offset is the negative of a zero point on the unsigned grid.",
        "encodings: param_encodings.w.offset[1]: expected an integer from -15 to 0, got 8. An offset is the negative of a zero point on the unsigned grid.",
        "encodings: param_encodings.w.offset[1]: expected an integer from -15 to 0, got -7.5. An offset is the negative of a zero point on the unsigned grid.",
        "encodings: param_encodings.w.scale: expected 1 for the granularity 'tensor', got 2. Give each its own.",
        "encodings: param_encodings.w.block_size: expected an integer from 1 to 2147483647, got nothing. See the specification of this version.",
        "encodings: param_encodings.w.zero_point_shift: expected 2, as many as scales, got 3. Give each one.",
        "encodings: param_encodings.w.per_block_int_scale: expected a multiple of 2 channels, got 3. Give each block one.",
        "encodings: param_encodings.w.per_block_int_scale[1]: expected an integer from 1 to 16, got 17. Scale its channel.",
        "encodings: param_encodings.w.per_block_int_scale[1]: expected an integer from 1 to 65535, got 0. See the specification of this version.",
        "encodings: param_encodings.w.offset: expected -128, since LPBQ is symmetric, got -8. Correct it.",
        "encodings: param_encodings.w.compressed_bw: expected an integer from 2 to 7, got 8. See the specification of this version.",
        "encodings: param_encodings.w.zeroPoint: expected a symmetric grid for LPBQ, got another. Use the granularity of blocks without LPBQ.",
        "encodings: param_encodings: expected a list, got {}. See the specification of this version.",
        "encodings: param_encodings.w.bw: expected 8, 16, 32, got 12. See the specification of this version.",
      ]
    `);
    expect(messageOf(version1({}), { shapeOf: () => [3, 8] })).toMatchInlineSnapshot(
      `"encodings: param_encodings.w: expected 3 scales, one for each channel on axis 0 of [3, 8], got 2. Give the model that the encodings belong to."`,
    );
  });
});

const version2 = (changes: object, version = '2.1.0'): unknown => ({
  version,
  encodings: [{ name: 'w', output_dtype: 'int8', y_scale: [0.5, 0.25], axis: 0, ...changes }],
});
const META = {
  x: [
    [3, 5],
    [11, 9],
    [7, 16],
  ],
  x_scale: [0.5, 0.25, 0.125],
  axis: 0,
};
const META_WEIGHT = { y_scale: META, axis: 1, block_size: 32, output_dtype: 'int4' };

describe('2.x', () => {
  const encodingOf = (changes: object) => {
    const { activations, params } = parseEncodings(version2(changes));
    return activations.get('w') ?? params.get('w');
  };

  test('a signed type has its zero point in the middle of the unsigned grid', () => {
    const zeroed = { y_zero_point: [0, 0] };
    expect(encodingOf({})).toMatchObject({ symmetric: true, zeroPoint: Float64Array.of(128, 128) });
    expect(encodingOf(zeroed)).toEqual(encodingOf({}));
    expect(encodingOf({ y_zero_point: 0 })).toEqual(encodingOf({}));
    expect(encodingOf({ y_zero_point: [1, -128] })).toMatchObject({
      symmetric: true,
      zeroPoint: Float64Array.of(129, 0),
    });
    expect(encodingOf({ output_dtype: 'uint8' })).toMatchObject({ symmetric: false, zeroPoint: Float64Array.of(0, 0) });
  });

  test('what it does not say, which are parameters, is guessed, or asked for', () => {
    const encodings = [
      { name: 'x', output_dtype: 'uint8', y_scale: 0.5, y_zero_point: 3 },
      { name: 'v', output_dtype: 'int16', y_scale: 0.5 },
      { name: 'w', output_dtype: 'uint8', y_scale: [0.5, 0.5], axis: 0 },
    ];
    const names = ({ activations, params }: EncodingsFile) => [[...activations.keys()], [...params.keys()]];
    expect(names(parseEncodings({ version: '2.0.0', encodings }))).toEqual([['x'], ['v', 'w']]);
    const facts = { isParam: ({ name }: { name: string }) => name === 'w' };
    expect(names(parseEncodings({ version: '2.0.0', encodings }, facts))).toEqual([['x', 'v'], ['w']]);
  });

  test('axes of blocks may count from the end, and the tensor may have more', () => {
    const scales = [
      [[[1]], [[2]]],
      [[[3]], [[4]]],
      [[[5]], [[6]]],
    ];
    const expected = { axis: 1, channelAxis: 0, channels: 3, rank: 4, size: 8 };
    for (const axis of [1, -3])
      expect(encodingOf({ y_scale: scales, axis, block_size: 8 })).toMatchObject({
        granularity: { kind: 'block', ...expected },
        scale: Float64Array.of(1, 2, 3, 4, 5, 6),
      });
  });

  test('both forms of LPBQ are the same', () => {
    const both = {
      y_scale: undefined,
      per_block_int_scale: META.x,
      per_channel_float_scale: META.x_scale.map((s) => [s]),
    };
    expect(encodingOf({ ...META_WEIGHT, ...both })).toEqual(encodingOf(META_WEIGHT));
    expect(encodingOf({ ...META_WEIGHT, y_zero_point: META.x.map(() => [0, 0]) })).toEqual(encodingOf(META_WEIGHT));
    expect(encodingOf(META_WEIGHT)).toMatchObject({
      granularity: { kind: 'lpbq', blockScale: Uint16Array.of(3, 5, 11, 9, 7, 16), decompressedBits: 8 },
      scale: Float64Array.of(0.5, 0.25, 0.125),
      zeroPoint: Float64Array.of(8, 8, 8),
    });
  });

  test('mistakes', () => {
    const deep = JSON.parse('[[[[[[[[[1]]]]]]]]]');
    const two = (meta: object): unknown => version2({ ...META_WEIGHT, y_scale: { ...META, ...meta } });
    expect(
      [
        version2({ output_dtype: 'int3' }),
        version2({ output_dtype: 'uint32' }),
        version2({ output_dtype: 'float8e4m3fn' }),
        version2({ output_dtype: undefined }),
        version2({ y_scale: [0.5, 0] }),
        version2({ y_scale: [0.5, [0.25]] }),
        version2({ y_scale: [[0.5], [0.25]] }),
        version2({ y_scale: [] }),
        version2({ y_scale: '0.5' }),
        version2({ y_scale: deep, block_size: 2 }),
        version2({ y_zero_point: [0] }),
        version2({ y_zero_point: [0, 128] }),
        version2({ y_zero_point: [0, 0.5] }),
        version2({ output_dtype: 'uint8', y_zero_point: [0, -1] }),
        version2({ axis: undefined }),
        version2({ axis: 'a' }),
        version2({ axis: undefined, y_scale: 0.5, y_zero_point: [0, 1] }),
        version2({ block_size: 32 }),
        version2({ y_scale: [[1, 2]], block_size: 0 }),
        version2({ y_scale: [[1, 2]], block_size: 2, axis: 2 }),
        version2({
          y_scale: [
            [
              [1, 2],
              [1, 2],
            ],
            [
              [1, 2],
              [1, 2],
            ],
          ],
          block_size: 2,
          axis: 0,
        }),
        version2(META_WEIGHT, '2.0.0'),
        two({ x_scale: 0.0009 }),
        two({ x_scale: [0.5, 0.25] }),
        two({
          x: [
            [3, 5],
            [11, 9],
            [7, 17],
          ],
        }),
        two({
          x: [
            [0.5, 1],
            [2, 1.5],
            [1, 0.5],
          ],
          input_dtype: 'float8e4m3fn',
        }),
        two({
          x: [
            [3, 5],
            [11, 9],
            [7, 1.5],
          ],
        }),
        two({ x_zero_point: 1 }),
        two({ axis: 1 }),
        two({ axis: undefined }),
        two({ block_size: 2 }),
        version2({
          ...META_WEIGHT,
          y_zero_point: [
            [0, 0],
            [0, 0],
            [0, 1],
          ],
        }),
        { version: '2.0.0', activation_encodings: [] },
        {
          version: '2.0.0',
          encodings: [
            { name: 'x', output_dtype: 'int8', y_scale: 1 },
            { name: 'x', output_dtype: 'int8', y_scale: 1 },
          ],
        },
      ].map((source) => messageOf(source)),
    ).toMatchInlineSnapshot(`
      [
        "encodings: encodings.w.output_dtype: expected "int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", got "int3". See the specification of this version.",
        "encodings: encodings.w.output_dtype: expected "int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", got "uint32". See the specification of this version.",
        "encodings: encodings.w.output_dtype: expected a type of integers, got "float8e4m3fn". Scaled floats cannot be converted.",
        "encodings: encodings.w.output_dtype: expected "int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", got nothing. See the specification of this version.",
        "encodings: encodings.w.y_scale[1]: expected a positive float32, got 0. Calibrate the tensor on other data.",
        "encodings: encodings.w.y_scale[1]: expected a finite number, got [0.25]. See the specification of this version.",
        "encodings: encodings.w.y_scale: expected a list of numbers, got lists 2 deep. Or say block_size.",
        "encodings: encodings.w.y_scale: expected lists of equal lengths, at most 8 deep, with something in them, got []. The lists have the shape of the scales.",
        "encodings: encodings.w.y_scale: expected a finite number, got "0.5". See the specification of this version.",
        "encodings: encodings.w.y_scale: expected lists of equal lengths, at most 8 deep, with something in them, got [[[[[[[[[1]]]]]]]]]. The lists have the shape of the scales.",
        "encodings: encodings.w.y_zero_point: expected numbers of the shape [2], as its scales, got [1]. Give every scale one.",
        "encodings: encodings.w.y_zero_point[1]: expected an integer from -128 to 127, which int8 has, got 128. A zero point is the negative of an offset.",
        "encodings: encodings.w.y_zero_point[1]: expected an integer from -128 to 127, which int8 has, got 0.5. A zero point is the negative of an offset.",
        "encodings: encodings.w.y_zero_point[1]: expected an integer from 0 to 255, which uint8 has, got -1. A zero point is the negative of an offset.",
        "encodings: encodings.w.axis: expected the axis of the scales, got none. More than one scale needs one.",
        "encodings: encodings.w.axis: expected an integer from -8 to 7, got "a". See the specification of this version.",
        "encodings: encodings.w.y_zero_point: expected 1, as many as scales, got 2. Give each scale one.",
        "encodings: encodings.w: expected scales of blocks in lists of lists, got [0.5,0.25]. They have the axes of the tensor.",
        "encodings: encodings.w.block_size: expected an integer from 1 to 2147483647, got 0. See the specification of this version.",
        "encodings: encodings.w.axis: expected an integer from -2 to 1, got 2. See the specification of this version.",
        "encodings: encodings.w: expected scales along two axes, that of channels and that of blocks, got the shape [2, 2, 2] with blocks along 0. Other layouts cannot be converted.",
        "encodings: encodings.w.y_scale: expected numbers in version 2.0.0, got an encoding. Say that it is 2.1.0.",
        "encodings: encodings.w.y_scale.x_scale: expected numbers of the shape [3], as its scales, got []. Give every scale one.",
        "encodings: encodings.w.y_scale.x_scale: expected numbers of the shape [3], as its scales, got [2]. Give every scale one.",
        "encodings: encodings.w.per_block_int_scale[5]: expected an integer from 1 to 16, got 17. Scale its channel.",
        "encodings: encodings.w.y_scale.input_dtype: expected a type of integers, got "float8e4m3fn". Scaled floats cannot be converted.",
        "encodings: encodings.w.y_scale.x: expected an integer from 1 to 65535, got 1.5. See the specification of this version.",
        "encodings: encodings.w.y_scale.x_zero_point: expected none, or 0, got 1. It cannot be converted.",
        "encodings: encodings.w: expected scales along two axes, that of channels and that of blocks, got the shape [3, 2] with blocks along 1. Other layouts cannot be converted.",
        "encodings: encodings.w.y_scale.axis: expected an integer from -2 to 1, got nothing. See the specification of this version.",
        "encodings: encodings.w.y_scale.block_size: expected none, a scale for each channel, got 2. It cannot be converted.",
        "encodings: encodings.w.y_zero_point: expected the same for all of LPBQ, got 0 and 1. LPBQ is symmetric.",
        "encodings: encodings: expected a list, got nothing. See the specification of this version.",
        "encodings: x: expected one encoding, got two. Remove the one that is wrong.",
      ]
    `);
  });
});

test('what is no encodings file is refused', () => {
  expect(
    ['{"version":', '[]', '3', {}, { version: '1.0' }, { version: 2 }, { version: '3.0.0' }, { weights: {} }].map(
      (source) => messageOf(source),
    ),
  ).toMatchInlineSnapshot(`
    [
      "encodings: the file: expected JSON, got Unexpected end of JSON input. Encodings files are JSON.",
      "encodings: the file: expected an object, got []. See the specification of this version.",
      "encodings: the file: expected an object, got 3. See the specification of this version.",
      "encodings: the file: expected activation_encodings and param_encodings, got nothing. Give an encodings file.",
      "encodings: version: expected "0.4.0", "0.5.0", "0.6.1", "1.0.0", "2.0.0", "2.1.0", got "1.0". Other versions are not known.",
      "encodings: version: expected "0.4.0", "0.5.0", "0.6.1", "1.0.0", "2.0.0", "2.1.0", got 2. Other versions are not known.",
      "encodings: version: expected "0.4.0", "0.5.0", "0.6.1", "1.0.0", "2.0.0", "2.1.0", got "3.0.0". Other versions are not known.",
      "encodings: the file: expected activation_encodings and param_encodings, got weights. Give an encodings file.",
    ]
  `);
});
