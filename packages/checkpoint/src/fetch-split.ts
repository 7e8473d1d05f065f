/**
 * Splits of datasets on the Hugging Face hub. Whatever form a dataset has, the hub keeps a copy in Parquet on a branch of its own
 * (`refs/convert/parquet`, in folders `CONFIG/SPLIT`): that is what is fetched.
 */
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from './errors.ts';
import { type HubOptions, hubRevision, reasonOf } from './hub-revision.ts';
import { temporaryName } from './write-file-atomic.ts';

export interface DatasetSplit {
  /** `org/name` */
  readonly dataset: string;
  /** Default `default`. */
  readonly config?: string;
  readonly split: string;
}

const CONVERTED = 'refs/convert/parquet';
const PLAIN = /^[\w-][\w.-]*$/;
const DATASET = /^[\w-][\w.-]*\/[\w-][\w.-]*$/;

/**
 * Downloads a split to `STEM-00000-of-00002.parquet` and so on, the names that the hub's own tools give to its parts.
 *
 * @param stem a path
 * @returns the paths of the parts, in order
 * @throws CheckpointError when it is not to be had; then nothing is left.
 */
export async function fetchSplit(
  { dataset, config = 'default', split }: DatasetSplit,
  stem: string,
  options: HubOptions = {},
): Promise<string[]> {
  if (!DATASET.test(dataset) || !PLAIN.test(config) || !PLAIN.test(split))
    throw new RangeError(
      `fetchSplit: expected plain names, got '${dataset}', '${config}', '${split}'. A dataset is org/name.`,
    );
  const draft = temporaryName(stem);
  try {
    const hub = hubRevision({ repo: { type: 'dataset', name: dataset }, revision: CONVERTED }, options);
    const listed = await hub.list(`${config}/${split}`);
    const parts = listed
      .filter(({ type, path }) => type === 'file' && path.endsWith('.parquet'))
      .sort((a, b) => (a.path < b.path ? -1 : 1));
    if (parts.length === 0) throw new Error(`${config}/${split} has no .parquet`);
    await hub.save(parts, draft);
    const number = (i: number): string => String(i).padStart(5, '0');
    const paths = parts.map((_, i) => `${stem}-${number(i)}-of-${number(parts.length)}.parquet`);
    await mkdir(dirname(stem), { recursive: true });
    for (const [i, { path }] of parts.entries()) await rename(join(draft, basename(path)), paths[i] as string);
    return paths;
  } catch (cause) {
    throw new CheckpointError(
      {
        directory: `${dataset}, ${config}`,
        expected: `a dataset on the hub with a split '${split}'`,
        received: `none that can be fetched: ${reasonOf(cause)}`,
        cure: 'Check the names and the connection, or put the files there.',
      },
      { cause },
    );
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}
