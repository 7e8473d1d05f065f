/** Pickles and zips by hand, for what PyTorch would not write. */

/** Bytes, or characters that stand for them. */
export type Part = string | Uint8Array | readonly number[];

/** Bytes of parts that follow each other; a text stands for its characters up to U+00FF. */
export function bytesOf(...parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  const pieces = parts.map((part) => (typeof part === 'string' ? Uint8Array.from(part, (c) => c.charCodeAt(0)) : part));
  const out = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** Little-endian integers. */
export const u16 = (value: number): number[] => [value & 255, value >>> 8];
export const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];
export const u64 = (value: bigint): number[] => [
  ...u32(Number(value & 0xffffffffn)),
  ...u32(Number((value >> 32n) & 0xffffffffn)),
];

/** Instructions of a pickle. */
export const PROTO = '\x80\x02';
export const global = (module: string, name: string): string => `c${module}\n${name}\n`;
export const text = (value: string): Uint8Array => bytesOf('X', u32(value.length), value);
export const long = (value: bigint): Uint8Array => bytesOf('\x8a\x08', u64(value));
export const tuple = (...parts: readonly (string | Uint8Array)[]): Uint8Array => bytesOf('(', ...parts, 't');
export const sizes = (...values: readonly (number | bigint)[]): Uint8Array =>
  tuple(...values.map((v) => long(BigInt(v))));

/** A storage by its persistent id. */
export const storage = (key = '0', elements: number | bigint = 4, type = 'FloatStorage'): Uint8Array =>
  bytesOf(tuple(text('storage'), global('torch', type), text(key), text('cpu'), long(BigInt(elements))), 'Q');

/** A view of a storage. */
export interface View {
  readonly from?: Uint8Array;
  readonly offset?: number | bigint;
  readonly shape?: readonly (number | bigint)[];
  readonly strides?: readonly (number | bigint)[];
}

/** A tensor, by default of all four elements of storage 0. */
export const tensor = ({ from = storage(), offset = 0, shape = [4], strides = [1] }: View = {}): Uint8Array =>
  bytesOf(
    global('torch._utils', '_rebuild_tensor_v2'),
    tuple(from, long(BigInt(offset)), sizes(...shape), sizes(...strides), '\x89', '}'),
    'R',
  );

/** A pickle of a dictionary of tensors, or of whatever stands for them. */
export const statePickle = (tensors: Readonly<Record<string, string | Uint8Array>>): Uint8Array<ArrayBuffer> =>
  bytesOf(PROTO, '}(', ...Object.entries(tensors).flatMap(([name, value]) => [text(name), value]), 'u.');

/** An entry of a zip; what is given beside its name and data is written into its headers instead of the truth. */
export interface ZipPart {
  readonly name: string;
  readonly data: Uint8Array;
  readonly localName?: string;
  readonly flags?: number;
  readonly method?: number;
  readonly bytes?: number;
  readonly header?: number;
  /** Whether the directory has the sizes and the header's place in 64 bits. */
  readonly wide?: boolean;
}

/** A zip of stored entries, and of lies about its directory if they are wanted. */
export function zip(
  parts: readonly ZipPart[],
  lies: { readonly count?: number; readonly begin?: number; readonly bytes?: number; readonly comment?: string } = {},
): Uint8Array<ArrayBuffer> {
  const locals: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const { name, data, localName = name, flags = 0, method = 0, bytes = data.length, header = at, wide } of parts) {
    const facts = (size: number) => [...u16(flags), ...u16(method), ...u32(0), ...u32(0), ...u32(size), ...u32(size)];
    locals.push(bytesOf('PK\x03\x04\x00\x00', facts(bytes), u16(localName.length), u16(0), localName, data));
    const extra = wide
      ? [
          ...u16(7),
          ...u16(1),
          0,
          ...u16(1),
          ...u16(24),
          ...[bytes, bytes, header].flatMap((value) => u64(BigInt(value))),
        ]
      : [];
    const lengths = [...u16(name.length), ...u16(extra.length), ...u16(0)];
    const place = [...u16(0), ...u16(0), ...u32(0), ...u32(wide ? 0xffffffff : header)];
    directory.push(
      bytesOf('PK\x01\x02\x00\x00\x00\x00', facts(wide ? 0xffffffff : bytes), lengths, place, name, extra),
    );
    at += (locals.at(-1) as Uint8Array).length;
  }
  const entries = bytesOf(...directory);
  const { count = parts.length, begin = at, bytes = entries.length, comment = '' } = lies;
  const end = [
    ...u16(0),
    ...u16(0),
    ...u16(count),
    ...u16(count),
    ...u32(bytes),
    ...u32(begin),
    ...u16(comment.length),
  ];
  return bytesOf(...locals, entries, 'PK\x05\x06', end, comment);
}

/** A file as torch.save writes it: a pickle, and storages by their keys. */
export const torchZip = (
  pickle: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>> = { 0: new Uint8Array(16) },
  more: readonly ZipPart[] = [],
): Uint8Array<ArrayBuffer> =>
  zip([
    { name: 'archive/data.pkl', data: pickle },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data })),
    ...more,
  ]);
