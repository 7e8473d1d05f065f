import { expect, test } from 'vitest';
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from './float16.ts';

interface Format {
  readonly exponentBits: number;
  readonly fractionBits: number;
}
const FLOAT16: Format = { exponentBits: 5, fractionBits: 10 };
const BFLOAT16: Format = { exponentBits: 8, fractionBits: 7 };
const PATTERNS = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The value of bits by the definition of a binary floating-point format. */
function valueOfBits(bits: number, { exponentBits, fractionBits }: Format): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> fractionBits;
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign / 0 : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

/** Bits of the nearest value of a format, half to even, by exact arithmetic in float64. */
function nearestBits(value: number, { exponentBits, fractionBits }: Format): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = Object.is(Math.sign(value), -0) || value < 0 ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  let exponent = 1 - bias;
  while (magnitude >= 2 ** (exponent + 1)) exponent++;
  const units = magnitude / 2 ** (exponent - fractionBits);
  const floor = Math.floor(units);
  const rest = units - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  return sign | ((exponent + bias - 1) * 2 ** fractionBits + rounded); // a carry runs into the exponent by itself
}

/** Every non-negative value, and between each and the next: the middle, and what lies just beside the middle. */
function* trials(format: Format): Generator<number> {
  for (let bits = 0; bits < 0x7fff; bits += 1) {
    const value = valueOfBits(bits, format);
    if (!Number.isFinite(value)) return;
    const next = valueOfBits(bits + 1, format);
    const middle = Number.isFinite(next) ? (value + next) / 2 : value;
    for (const x of [value, middle, middle * (1 - 2 ** -20), middle * (1 + 2 ** -20)]) yield Math.fround(x);
  }
}

for (const [name, format, widen, narrow] of [
  ['float16', FLOAT16, fromFloat16, toFloat16],
  ['bfloat16', BFLOAT16, fromBfloat16, toBfloat16],
] as const) {
  test(`every ${name} has the value that its bits say`, () => {
    const values = widen(PATTERNS);
    expect(PATTERNS.filter((bits) => !Object.is(values[bits], valueOfBits(bits, format)))).toHaveLength(0);
  });

  test(`every ${name} comes back as it was, and NaN as NaN`, () => {
    const { bits, overflows } = narrow(widen(PATTERNS));
    expect(overflows).toBe(0);
    const wrong = PATTERNS.filter((pattern) =>
      Number.isNaN(valueOfBits(pattern, format))
        ? !Number.isNaN(valueOfBits(bits[pattern] as number, format))
        : bits[pattern] !== pattern,
    );
    expect(wrong).toHaveLength(0);
  });

  test(`${name} rounds to the nearest value, and halves to the even one`, () => {
    const values = Float32Array.from(trials(format));
    expect(values.length).toBeGreaterThan(100_000);
    for (const sign of [1, -1]) {
      const signed = values.map((value) => sign * value);
      const { bits } = narrow(signed);
      const wrong = bits.findIndex((pattern, i) => pattern !== nearestBits(signed[i] as number, format));
      expect(wrong, `of ${signed[wrong]}`).toBe(-1);
    }
  });
}

test('numbers that become infinite are counted; infinities are not', () => {
  const values = Float32Array.of(65504, 65519, 65520, -1e9, Number.POSITIVE_INFINITY, Number.NaN);
  const { bits, overflows, firstOverflow } = toFloat16(values);
  expect([...bits]).toEqual([0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00, 0x7e00]);
  expect({ overflows, firstOverflow }).toEqual({ overflows: 2, firstOverflow: 65520 });
  expect(toBfloat16(Float32Array.of(3.4e38, 3.39e38)).overflows).toBe(1);
});
