/** Items in Parquet, the form in which the Hugging Face hub has datasets. */
import { type Item, TaskError } from '@mobilequant/evaluator';

/**
 * All rows, as JSON would have them: whole numbers are numbers.
 *
 * @throws TaskError for what is not Parquet, or cannot be read.
 */
export async function readParquet(bytes: Uint8Array, name: string): Promise<Item[]> {
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ]);
  const file = bytes.slice().buffer as ArrayBuffer;
  try {
    const rows = await parquetReadObjects({ file, compressors });
    return rows.map((row) => plain(row) as Item);
  } catch (cause) {
    const received = (cause as Error).message;
    throw new TaskError(name, 'a Parquet file', received, 'Fetch it again.', { cause });
  }
}

/** 64-bit integers as numbers, in lists and objects too. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, own]) => [name, plain(own)]));
}
