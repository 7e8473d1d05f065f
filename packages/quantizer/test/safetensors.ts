/** The ten lines of safetensors that golden tests need: float32 tensors by name. */
import { readFileSync } from 'node:fs';

export function readFloats(path: string): Map<string, Float32Array> {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, { data_offsets: [number, number] }>;
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            data_offsets: [from, to],
          },
        ]) => [name, new Float32Array(file.buffer.slice(file.byteOffset + start + from, file.byteOffset + start + to))],
      ),
  );
}
