/** Writes GGUF headers as bytes, right or wrong: entries and tensors are lists of parts. */

/** Bytes, or what is written as: a text with its length, or an unsigned 64-bit integer. */
export type Part = Uint8Array | string | bigint;

const encoder = new TextEncoder();

export const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
export const i32 = (...values: number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
export const f32 = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

/** Parts, one after another. */
export function bytesOf(...parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  const pieces = parts.flatMap((part) => {
    if (typeof part === 'bigint') return [new Uint8Array(BigUint64Array.of(part).buffer)];
    if (typeof part !== 'string') return [part];
    const text = encoder.encode(part);
    return [new Uint8Array(BigUint64Array.of(BigInt(text.length)).buffer), text];
  });
  const out = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** A metadata value with its type. */
export const value = {
  u32: (number: number) => bytesOf(u32(4), u32(number)),
  f32: (number: number) => bytesOf(u32(6), f32(number)),
  bool: (flag: boolean) => bytesOf(u32(7), Uint8Array.of(flag ? 1 : 0)),
  text: (text: string) => bytesOf(u32(8), text),
  texts: (texts: readonly string[]) => bytesOf(u32(9), u32(8), BigInt(texts.length), ...texts),
  i32s: (numbers: readonly number[]) => bytesOf(u32(9), u32(5), BigInt(numbers.length), i32(...numbers)),
  f32s: (numbers: readonly number[]) => bytesOf(u32(9), u32(6), BigInt(numbers.length), f32(...numbers)),
} as const;

/** A tensor as a header describes it: sizes innermost first, as in the file. */
export const tensor = (name: string, sizes: readonly bigint[], type = 0, offset = 0n): Uint8Array =>
  bytesOf(name, u32(sizes.length), ...sizes, u32(type), offset);

/** A whole header. */
export function header(
  metadata: Readonly<Record<string, Uint8Array>>,
  tensors: readonly Uint8Array[] = [],
  { version = 3, tensorCount = BigInt(tensors.length), entryCount = BigInt(Object.keys(metadata).length) } = {},
): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(metadata).flat();
  return bytesOf(encoder.encode('GGUF'), u32(version), tensorCount, entryCount, ...entries, ...tensors);
}

/** A header with its data behind it: tensors of zeros in float32 at the places that they must have. */
export function file(
  metadata: Readonly<Record<string, Uint8Array>>,
  shapes: Readonly<Record<string, readonly number[]>>,
): Uint8Array<ArrayBuffer> {
  let offset = 0;
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const bytes = tensor(name, shape.map(BigInt).reverse(), 0, BigInt(offset));
    offset += Math.ceil((4 * shape.reduce((a, b) => a * b)) / 32) * 32;
    return bytes;
  });
  const head = header(metadata, tensors);
  return bytesOf(head, new Uint8Array(Math.ceil(head.length / 32) * 32 - head.length + offset));
}
