/**
 * Measurements in a file, each under what it was measured of: what was measured once is read again, what was interrupted goes on behind
 * the last one that was whole.
 */
import { createHash } from 'node:crypto';
import { type JsonValue, readJsonIfThere, writeFileAtomic } from '@mobilequant/checkpoint/node';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';

const FORMAT = 1;

export interface KeptMeasurements {
  /** What was measured under a name and of these things before, or what `measure` gives now. */
  of<T>(name: string, things: readonly unknown[], measure: () => Promise<T>): Promise<T>;
}

/**
 * Opens the file, which need not be there yet. Measurements must be JSON.
 *
 * @throws QuantizedDirectoryError for a file of another format, FormatError for one that is no JSON.
 */
export async function keptMeasurements(path: string): Promise<KeptMeasurements> {
  const json = (await readJsonIfThere(path)) ?? { format: FORMAT, measurements: {} };
  const { format, measurements } = json;
  if (format !== FORMAT || typeof measurements !== 'object' || measurements === null || Array.isArray(measurements))
    throw new QuantizedDirectoryError(path, `measurements in format ${FORMAT}`, 'something else', 'Delete the file.');
  const kept = new Map<string, JsonValue>(Object.entries(measurements));
  return {
    async of<T>(name: string, things: readonly unknown[], measure: () => Promise<T>): Promise<T> {
      const key = `${name} ${digest(things)}`;
      const known = kept.get(key);
      if (known !== undefined) return known as T;
      const value = JSON.stringify(await measure());
      for (const other of kept.keys()) if (other.startsWith(`${name} `)) kept.delete(other); // of things that have changed
      kept.set(key, JSON.parse(value));
      await writeFileAtomic(path, JSON.stringify({ format: FORMAT, measurements: Object.fromEntries(kept) }));
      return JSON.parse(value);
    },
  };
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Tells things apart; typed arrays by what they hold. */
function digest(things: readonly unknown[]): string {
  const hash = createHash('sha256');
  for (const thing of things) {
    const { buffer, byteOffset, byteLength } = ArrayBuffer.isView(thing)
      ? thing
      : bytesOf(JSON.stringify(thing ?? null));
    hash.update(new Uint8Array(buffer, byteOffset, byteLength)).update('\n');
  }
  return hash.digest('hex').slice(0, 16);
}
