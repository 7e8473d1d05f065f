import { mulberry32 } from '@mobilequant/core';
import { expect, test } from 'vitest';
import { ENCODINGS_VERSIONS, type EncodingsVersion, encodingsJson } from './encodings-json.ts';
import { parseEncodings } from './parse-encodings.ts';
import type { EncodingsFile, IntegerEncoding, TensorEncoding, TensorGranularity } from './tensor-encoding.ts';
import type { TensorFacts } from './tensor-facts.ts';

const from = <T>(next: () => number, choices: readonly T[]): T => choices[Math.floor(next() * choices.length)] as T;

/** Whether a version has words for an encoding; written from the specification, not from the code. */
function canSay(version: EncodingsVersion, encoding: TensorEncoding): boolean {
  if (encoding.kind === 'float') return version < '2';
  const { bits, symmetric, granularity } = encoding;
  if (version === '1.0.0') return !('rank' in granularity && granularity.rank > 2 && granularity.channelAxis !== 0);
  if (version === '0.6.1') return bits >= 4 && (granularity.kind === 'tensor' || granularity.kind === 'channel');
  if (granularity.kind === 'lpbq' && granularity.decompressedBits !== 2 * bits) return false;
  return [2, 4, 8, 16].includes(bits) || (bits === 32 && symmetric);
}

/** An encoding of an activation, or of a weight of 6 channels and 4 blocks, whatever its axes. */
function randomEncoding(name: string, next: () => number): TensorEncoding {
  if (next() < 0.1) return { kind: 'float', name, bits: from(next, [16, 32] as const) };
  const kind = from(next, ['tensor', 'channel', 'block', 'lpbq'] as const);
  const bits = from(next, kind === 'lpbq' ? [2, 3, 4, 8] : [2, 3, 4, 5, 8, 16, 32]);
  const symmetric = kind === 'lpbq' || next() < 0.5;
  const granularity = randomGranularity(kind, bits, next);
  const scales = { tensor: 1, channel: 6, block: 24, lpbq: 6 }[kind];
  const middle = 2 ** (bits - 1) - (bits === 2 && kind !== 'lpbq' ? from(next, [0, 0.5]) : 0);
  const isCentred = kind === 'lpbq' || (symmetric && next() < 0.8);
  return {
    kind: 'integer',
    name,
    bits,
    symmetric,
    granularity,
    scale: Float64Array.from({ length: scales }, () => Math.fround(10 ** (9 * next() - 8))),
    zeroPoint: Float64Array.from({ length: scales }, () => (isCentred ? middle : Math.floor(next() * 2 ** bits))),
  };
}

function randomGranularity(kind: TensorGranularity['kind'], bits: number, next: () => number): TensorGranularity {
  const axes = [
    { channelAxis: 0, axis: 1, rank: 2 },
    { channelAxis: 1, axis: 0, rank: 2 },
    { channelAxis: 0, axis: 1, rank: 4 },
    { channelAxis: 2, axis: 1, rank: 3 },
  ];
  const blocks = { ...from(next, axes), channels: 6, size: from(next, [1, 16, 32]) };
  switch (kind) {
    case 'tensor':
      return { kind };
    case 'channel':
      return { kind, axis: blocks.channelAxis };
    case 'block':
      return { kind, ...blocks };
    case 'lpbq': {
      const blockScale = Uint16Array.from({ length: 24 }, () => 1 + Math.floor(2 * next()));
      return { kind, ...blocks, blockScale, decompressedBits: from(next, [2 * bits, bits + 1]) };
    }
  }
}

function randomFile(seed: number, version?: EncodingsVersion): EncodingsFile {
  const next = mulberry32(seed);
  const group = (prefix: string): Map<string, TensorEncoding> =>
    new Map(
      Array.from({ length: 12 }, (_, i) => randomEncoding(`${prefix}/${String(i).padStart(2, '0')}`, next))
        .filter((encoding) => version === undefined || canSay(version, encoding))
        .map((encoding) => [encoding.name, encoding]),
    );
  return { activations: group('activation'), params: group('param') };
}

/** What a version leaves out, as the model would say it. */
function factsOf({ activations, params }: EncodingsFile): TensorFacts {
  const granularityOf = (name: string): TensorGranularity | undefined => {
    const encoding = activations.get(name) ?? params.get(name);
    return encoding?.kind === 'integer' ? encoding.granularity : undefined;
  };
  return {
    isParam: ({ name }) => params.has(name),
    axisOf(name) {
      const granularity = granularityOf(name);
      if (granularity?.kind === 'channel') return granularity.axis;
      return granularity && 'channelAxis' in granularity ? granularity.channelAxis : 0;
    },
    shapeOf(name) {
      const granularity = granularityOf(name);
      if (!granularity || !('size' in granularity)) return undefined;
      const { rank, axis, channelAxis, channels, size } = granularity;
      return Array.from({ length: rank }, (_, i) => (i === axis ? 4 * size : i === channelAxis ? channels : 1));
    },
  };
}

const SEEDS = Array.from({ length: 20 }, (_, i) => i + 1);

test.each(ENCODINGS_VERSIONS)('what %s can say comes back the same, to the bit', (version) => {
  const kinds = new Set<string>();
  for (const seed of SEEDS) {
    const file = randomFile(seed, version);
    const text = encodingsJson(file, { version });
    const back = parseEncodings(text, factsOf(file));
    expect([back.activations, back.params]).toEqual([file.activations, file.params]);
    expect(encodingsJson(back, { version })).toBe(text);
    for (const encoding of [...file.activations.values(), ...file.params.values()])
      kinds.add(encoding.kind === 'float' ? 'float' : encoding.granularity.kind);
  }
  expect([...kinds].sort()).toEqual(
    { '0.6.1': ['channel', 'float', 'tensor'], '1.0.0': ['block', 'channel', 'float', 'lpbq', 'tensor'] }[
      version as string
    ] ?? ['block', 'channel', 'lpbq', 'tensor'],
  );
});

test.each(ENCODINGS_VERSIONS)('what %s cannot say is refused, with the name of the tensor', (version) => {
  let refused = 0;
  for (const seed of SEEDS)
    for (const encoding of randomFile(seed).params.values()) {
      const write = () => encodingsJson({ activations: new Map(), params: new Map([['w', encoding]]) }, { version });
      if (canSay(version, encoding)) write();
      else expect(write).toThrow(`encodings: ${encoding.name}: expected `);
      if (!canSay(version, encoding)) refused++;
    }
  expect(refused).toBeGreaterThan(0);
});

/** The least and the greatest real number of each scale, by the formulas of the version, from its JSON. */
const realsOf: Record<string, (text: string) => Record<string, (readonly [number, number])[]>> = {
  '0.6.1'(text) {
    const { activation_encodings, param_encodings } = JSON.parse(text);
    return Object.fromEntries(
      Object.entries<{ scale: number; offset: number; bitwidth: number }[]>({
        ...activation_encodings,
        ...param_encodings,
      }).map(([name, list]) => [
        name,
        list.map(({ scale, offset, bitwidth }) => [scale * (0 + offset), scale * (2 ** bitwidth - 1 + offset)]),
      ]),
    );
  },
  '1.0.0'(text) {
    const { activation_encodings, param_encodings } = JSON.parse(text);
    return Object.fromEntries(
      [...activation_encodings, ...param_encodings].map(({ name, scale, offset, bw }) => [
        name,
        scale.map((s: number, i: number) => [s * (0 + offset[i]), s * (2 ** bw - 1 + offset[i])]),
      ]),
    );
  },
  '2.0.0'(text) {
    return Object.fromEntries(
      JSON.parse(text).encodings.map((entry: Record<string, unknown>) => {
        const type = entry['output_dtype'] as string;
        const bits = Number(/\d+/.exec(type)?.[0]);
        const least = type.startsWith('u') ? 0 : -(2 ** (bits - 1));
        const scales = [entry['y_scale']].flat(9) as number[];
        const points = [entry['y_zero_point'] ?? []].flat(9) as number[];
        return [
          entry['name'],
          scales.map((s, i) => [least, least + 2 ** bits - 1].map((q) => s * (q - (points[i] ?? 0)))),
        ];
      }),
    );
  },
};

test('all versions mean the same real numbers', () => {
  for (const seed of SEEDS) {
    const { params } = randomFile(seed, '0.6.1');
    const common = [...params].filter(([, encoding]) => canSay('2.0.0', encoding));
    const file: EncodingsFile = { activations: new Map(), params: new Map(common) };
    const [reals, ...others] = Object.entries(realsOf).map(([version, of]) =>
      of(encodingsJson(file, { version: version as EncodingsVersion })),
    );
    for (const other of others) expect(other).toEqual(reals);
  }
});

const weight: IntegerEncoding = {
  kind: 'integer',
  name: 'w',
  bits: 4,
  symmetric: true,
  granularity: {
    kind: 'lpbq',
    axis: 0,
    channelAxis: 1,
    channels: 3,
    size: 32,
    rank: 2,
    blockScale: Uint16Array.of(3, 5, 11, 9, 7, 16),
    decompressedBits: 8,
  },
  scale: Float64Array.of(0.5, 0.25, 0.125),
  zeroPoint: Float64Array.of(8, 8, 8),
};
const input: IntegerEncoding = {
  kind: 'integer',
  name: 'x',
  bits: 8,
  symmetric: false,
  granularity: { kind: 'tensor' },
  scale: Float64Array.of(Math.fround(0.1)),
  zeroPoint: Float64Array.of(114),
};

test('a line a tensor, in the order of names, in each version', () => {
  const bias: IntegerEncoding = {
    ...input,
    name: 'b',
    bits: 32,
    symmetric: true,
    granularity: { kind: 'channel', axis: 0 },
    scale: Float64Array.of(0.5, 0.25),
    zeroPoint: Float64Array.of(2 ** 31, 2 ** 31),
  };
  const file = (...params: IntegerEncoding[]): EncodingsFile => ({
    activations: new Map([['x', input]]),
    params: new Map(params.map((encoding) => [encoding.name, encoding])),
  });
  expect(encodingsJson(file(bias), { version: '0.6.1' })).toMatchInlineSnapshot(`
    "{
      "version": "0.6.1",
      "activation_encodings": {
        "x": [{"bitwidth":8,"dtype":"int","is_symmetric":"False","max":14.100000210106373,"min":-11.400000169873238,"offset":-114,"scale":0.10000000149011612}]
      },
      "param_encodings": {
        "b": [{"bitwidth":32,"dtype":"int","is_symmetric":"True","max":1073741823.5,"min":-1073741824,"offset":-2147483648,"scale":0.5},{"bitwidth":32,"dtype":"int","is_symmetric":"True","max":536870911.75,"min":-536870912,"offset":-2147483648,"scale":0.25}]
      },
      "quantizer_args": {}
    }
    "
  `);
  expect(encodingsJson(file(weight, bias))).toMatchInlineSnapshot(`
    "{
      "version": "1.0.0",
      "activation_encodings": [
        {"name":"x","enc_type":"PER_TENSOR","dtype":"INT","bw":8,"is_sym":false,"scale":[0.10000000149011612],"offset":[-114]}
      ],
      "param_encodings": [
        {"name":"b","enc_type":"PER_CHANNEL","dtype":"INT","bw":32,"is_sym":true,"scale":[0.5,0.25],"offset":[-2147483648,-2147483648]},
        {"name":"w","enc_type":"LPBQ","dtype":"INT","bw":8,"is_sym":true,"scale":[0.5,0.25,0.125],"offset":[-128,-128,-128],"block_size":32,"compressed_bw":4,"per_block_int_scale":[3,5,11,9,7,16]}
      ],
      "quantizer_args": {},
      "excluded_layers": []
    }
    "
  `);
  expect(encodingsJson(file(weight, bias), { version: '2.0.0' })).toMatchInlineSnapshot(`
    "{
      "version": "2.0.0",
      "encodings": [
        {"name":"b","output_dtype":"int32","y_scale":[0.5,0.25],"axis":0},
        {"name":"w","output_dtype":"int4","per_block_int_scale":[[3,11,7],[5,9,16]],"per_channel_float_scale":[[0.5,0.25,0.125]],"axis":0,"block_size":32},
        {"name":"x","output_dtype":"uint8","y_scale":0.10000000149011612,"y_zero_point":114}
      ]
    }
    "
  `);
  expect(encodingsJson(file(weight), { version: '2.1.0' })).toMatchInlineSnapshot(`
    "{
      "version": "2.1.0",
      "encodings": [
        {"name":"w","output_dtype":"int4","y_scale":{"x":[[3,11,7],[5,9,16]],"x_scale":[0.5,0.25,0.125],"axis":1},"axis":0,"block_size":32},
        {"name":"x","output_dtype":"uint8","y_scale":0.10000000149011612,"y_zero_point":114}
      ]
    }
    "
  `);
});

test('floats are left out of 2.0.0 where that is asked for', () => {
  const file: EncodingsFile = {
    activations: new Map<string, TensorEncoding>([
      ['x', input],
      ['y', { kind: 'float', name: 'y', bits: 16 }],
    ]),
    params: new Map(),
  };
  expect(() => encodingsJson(file, { version: '2.0.0' })).toThrowErrorMatchingInlineSnapshot(
    `[EncodingsError: encodings: y: expected integers for version 2.0.0, got float16. Leave floats out (omitFloats), or write 1.0.0.]`,
  );
  const { activations } = parseEncodings(encodingsJson(file, { version: '2.0.0', omitFloats: true }));
  expect([...activations.keys()]).toEqual(['x']);
});

test('how encodings were found goes from 0.6.1 to 1.0.0 and back', () => {
  const file = {
    activations: new Map(),
    params: new Map(),
    quantizerArgs: { param_bitwidth: 4 },
    excludedLayers: ['a'],
  };
  expect(parseEncodings(encodingsJson(file))).toEqual(file);
  expect(parseEncodings(encodingsJson(file, { version: '0.6.1' })).quantizerArgs).toEqual({ param_bitwidth: 4 });
});

test('an encoding made by hand is checked too', () => {
  const messageOf = (changes: Partial<IntegerEncoding>): string => {
    try {
      encodingsJson({ activations: new Map([['x', { ...input, ...changes }]]), params: new Map() });
    } catch (error) {
      return (error as Error).message;
    }
    return 'fine';
  };
  expect(messageOf({})).toBe('fine');
  const lpbq = weight.granularity as Extract<TensorGranularity, { kind: 'lpbq' }>;
  expect(
    [
      { bits: 1 },
      { bits: 33 },
      { scale: Float64Array.of(1, 2) },
      { scale: Float64Array.of(0) },
      { scale: Float64Array.of(1e-50) },
      { scale: Float64Array.of(Number.NaN) },
      { zeroPoint: Float64Array.of(256) },
      { zeroPoint: Float64Array.of(-1) },
      { zeroPoint: Float64Array.of(1.5) },
      { zeroPoint: Float64Array.of() },
      { ...weight, granularity: { ...lpbq, blockScale: Uint16Array.of(1, 2, 3, 4) } },
      { ...weight, granularity: { ...lpbq, blockScale: Uint16Array.of(1, 2, 17) } },
      { ...weight, granularity: { ...lpbq, decompressedBits: 4 } },
      { ...weight, granularity: { ...lpbq, axis: 1 } },
      { ...weight, granularity: { ...lpbq, channels: 0 } },
      { ...weight, zeroPoint: Float64Array.of(8, 8, 7) },
    ].map(messageOf),
  ).toMatchInlineSnapshot(`
    [
      "encodings: x.bits: expected an integer from 2 to 32, got 1. Other widths are floats.",
      "encodings: x.bits: expected an integer from 2 to 32, got 33. Other widths are floats.",
      "encodings: x.scale: expected 1 for the granularity 'tensor', got 2. Give each its own.",
      "encodings: x.scale[0]: expected a positive float32, got 0. Calibrate the tensor on other data.",
      "encodings: x.scale[0]: expected a positive float32, got 1e-50. Calibrate the tensor on other data.",
      "encodings: x.scale[0]: expected a positive float32, got NaN. Calibrate the tensor on other data.",
      "encodings: x.zeroPoint[0]: expected a zero point from 0 to 255 on the unsigned grid, got 256. It is the negative of an offset, or the zero point of a signed type plus half the levels.",
      "encodings: x.zeroPoint[0]: expected a zero point from 0 to 255 on the unsigned grid, got -1. It is the negative of an offset, or the zero point of a signed type plus half the levels.",
      "encodings: x.zeroPoint[0]: expected a zero point from 0 to 255 on the unsigned grid, got 1.5. It is the negative of an offset, or the zero point of a signed type plus half the levels.",
      "encodings: x.zeroPoint: expected 1, as many as scales, got 0. Give each scale one.",
      "encodings: w.per_block_int_scale: expected a multiple of 3 channels, got 4. Give each block one.",
      "encodings: w.per_block_int_scale[2]: expected an integer from 1 to 16, got 17. Scale its channel.",
      "encodings: w.bits: expected more than 4 and at most 32 decompressed bits, got 4. Most often twice the bits.",
      "encodings: w.axis: expected two axes of 2, got 1 for blocks and 1 for channels. Give the tensor’s own.",
      "encodings: w.channels: expected a positive integer, got 0. Correct it.",
      "encodings: w.zeroPoint: expected a symmetric grid for LPBQ, got another. Use the granularity of blocks without LPBQ.",
    ]
  `);
});

test('a tensor with two encodings is refused', () => {
  const both = new Map([['x', input]]);
  expect(() => encodingsJson({ activations: both, params: both })).toThrow('x: expected one encoding, got two');
});
