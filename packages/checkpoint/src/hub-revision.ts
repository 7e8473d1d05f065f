/**
 * Files of a repository on the Hugging Face hub, at one revision: listed, and saved when they are what was listed.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import type { ListFileEntry, RepoDesignation } from '@huggingface/hub';

/** How far a download is. */
export interface DownloadProgress {
  readonly file: string;
  /** Bytes of all files so far, and altogether. */
  readonly received: number;
  readonly total: number;
}

export interface HubOptions {
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** For what needs a login; by default the environment's `HF_TOKEN`. */
  readonly accessToken?: string | undefined;
  /** Another hub. */
  readonly hubUrl?: string;
  /** Another way to reach it. */
  readonly fetch?: typeof globalThis.fetch;
}

export interface HubRevision {
  /** What is at the top, or in a folder. */
  list(folder?: string): Promise<ListFileEntry[]>;
  /**
   * Writes files into a directory, which is made, by their names without folders.
   *
   * @throws Error for a file that is not what the hub announced; those before it are there.
   */
  save(files: readonly ListFileEntry[], directory: string): Promise<void>;
}

export function hubRevision(
  at: { readonly repo: RepoDesignation; readonly revision: string },
  { onProgress, accessToken = process.env.HF_TOKEN, hubUrl, fetch }: HubOptions,
): HubRevision {
  const source = { ...at, ...(accessToken && { accessToken }), ...(hubUrl && { hubUrl }), ...(fetch && { fetch }) };
  const hub = () => import('@huggingface/hub'); // only when it is needed: it takes longer to load than all the rest
  return {
    async list(path) {
      const { listFiles } = await hub();
      const listed: ListFileEntry[] = [];
      for await (const entry of listFiles({ ...source, ...(path && { path }) })) listed.push(entry);
      return listed;
    },
    async save(files, directory) {
      const { downloadFile } = await hub();
      const total = files.reduce((sum, { size }) => sum + size, 0);
      let received = 0;
      await mkdir(directory, { recursive: true });
      for (const file of files) {
        // Plain HTTP for all files: one way, whose result is checked against the hub's size and hash.
        const blob = await downloadFile({ ...source, path: file.path, xet: false });
        if (!blob) throw new Error(`${file.path} is listed but cannot be read`);
        await save(blob, join(directory, basename(file.path)), file, (bytes) => {
          received += bytes;
          onProgress?.({ file: file.path, received, total });
        });
      }
    },
  };
}

async function save(blob: Blob, path: string, file: ListFileEntry, onBytes: (bytes: number) => void): Promise<void> {
  const hash = createHash('sha256');
  let size = 0;
  const watch = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      size += chunk.length;
      onBytes(chunk.length);
      yield chunk;
    }
  };
  await pipeline(Readable.fromWeb(blob.stream() as ReadableStream), watch, createWriteStream(path, { flags: 'wx' }));
  if (size !== file.size) throw new Error(`${file.path} has ${file.size} bytes, ${size} came`);
  if (file.lfs && hash.digest('hex') !== file.lfs.oid) throw new Error(`${file.path} came with a wrong SHA-256`);
}

/** The message with those of its causes: fetch says only 'fetch failed', its cause says why. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause ? `${error.message} (${reasonOf(error.cause)})` : error.message;
}
