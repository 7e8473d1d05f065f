/** The few lines of safetensors that fixtures need: tensors by name. */
import { readFileSync } from 'node:fs';

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [from: number, to: number];
}

/** All tensors of a file, in one of the two types that fixtures have. */
export function readTensors(path: URL): Map<string, { shape: readonly number[]; data: Float32Array | Int32Array }> {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, Entry>;
  return new Map(
    Object.entries(header).flatMap(([name, { dtype, shape, data_offsets: offsets }]) => {
      if (name === '__metadata__') return [];
      const [from, to] = offsets.map((offset) => file.byteOffset + start + offset);
      const bytes = file.buffer.slice(from, to);
      return [[name, { shape, data: dtype === 'I32' ? new Int32Array(bytes) : new Float32Array(bytes) }]];
    }),
  );
}
