/**
 * A model by name or directory. A name `org/model` is downloaded once from the Hugging Face hub into a cache, file by file into a
 * hidden directory that is renamed when all are there; from then on the network is not asked again.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import type { ListFileEntry } from '@huggingface/hub';
import { CheckpointError } from './errors.ts';
import { temporaryName } from './write-file-atomic.ts';

/** How far a download is. */
export interface DownloadProgress {
  readonly file: string;
  /** Bytes of all files so far, and altogether. */
  readonly received: number;
  readonly total: number;
}

/** Where models come from and where they are kept. */
export interface ResolveModelOptions {
  /** By default `mobilequant/models` in the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`). */
  readonly cacheDir?: string;
  /** Branch, tag or commit. */
  readonly revision?: string;
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** For models that need a login; by default the environment's `HF_TOKEN`. */
  readonly accessToken?: string | undefined;
  /** Another hub. */
  readonly hubUrl?: string;
  /** Another way to reach it. */
  readonly fetch?: typeof globalThis.fetch;
}

const NAME = /^[\w-][\w.-]*\/[\w-][\w.-]*$/;
const REVISION = /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/;
const WEIGHTS = /^model(-\d{5}-of-\d{5})?\.safetensors$/;
const COMPANION =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|model\.safetensors\.index)\.json$|^(merges\.txt|chat_template\.jinja)$/;

/**
 * The directory of a model: the one that is named, or a downloaded one. Throws a `CheckpointError` when there is neither such a
 * directory nor a way to download it.
 */
export async function resolveModel(nameOrDirectory: string, options: ResolveModelOptions = {}): Promise<string> {
  if (await isDirectory(nameOrDirectory)) return nameOrDirectory;
  if (!NAME.test(nameOrDirectory)) {
    throw new CheckpointError({
      directory: nameOrDirectory,
      expected: 'a model directory, or the name of a model on the hub',
      received: (await exists(nameOrDirectory)) ? 'a file' : 'no such directory, and not a name of the form org/model',
      cure: 'Check the path.',
    });
  }
  const { cacheDir = defaultCache(), revision = 'main' } = options;
  if (!REVISION.test(revision))
    throw new RangeError(`resolveModel: expected a branch, tag or commit, got '${revision}'.`);

  const directory = join(cacheDir, nameOrDirectory.replace('/', '--'), revision.replaceAll('/', '--'));
  if (await isDirectory(directory)) return directory;
  try {
    await download(nameOrDirectory, directory, { ...options, revision });
  } catch (cause) {
    throw new CheckpointError(
      {
        directory: nameOrDirectory,
        expected: 'a model directory, or a model on the hub',
        received: `no such directory, and downloading failed: ${reasonOf(cause)}`,
        cure: 'Check the name and the connection, or give a directory.',
      },
      { cause },
    );
  }
  return directory;
}

async function download(
  repo: string,
  directory: string,
  options: ResolveModelOptions & { revision: string },
): Promise<void> {
  const { revision, onProgress, accessToken = process.env.HF_TOKEN, hubUrl, fetch } = options;
  const source = {
    repo,
    revision,
    ...(accessToken && { accessToken }),
    ...(hubUrl && { hubUrl }),
    ...(fetch && { fetch }),
  };
  const { downloadFile, listFiles } = await import('@huggingface/hub'); // only now: it takes longer to load than all the rest
  const listed: ListFileEntry[] = [];
  for await (const entry of listFiles(source)) listed.push(entry);
  const files = wantedFiles(listed);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let received = 0;

  const draft = temporaryName(directory);
  try {
    await mkdir(draft, { recursive: true });
    for (const file of files) {
      // Plain HTTP for all files: one way, whose result is checked against the hub's size and hash.
      const blob = await downloadFile({ ...source, path: file.path, xet: false });
      if (!blob) throw new Error(`${file.path} is listed but cannot be read`);
      const onBytes = (bytes: number) => {
        received += bytes;
        onProgress?.({ file: file.path, received, total });
      };
      await save(blob, join(draft, file.path), file, onBytes);
    }
    await mkdir(dirname(directory), { recursive: true });
    await rename(draft, directory);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (!(await isDirectory(directory))) throw error; // else somebody else was faster
  }
}

/** What a model needs, from the files at the top of a repository: not its other formats, not its pictures. */
function wantedFiles(entries: readonly ListFileEntry[]): ListFileEntry[] {
  const files = entries.filter(({ type }) => type === 'file');
  const single = files.filter(({ path }) => path === 'model.safetensors');
  const weights = single.length ? single : files.filter(({ path }) => WEIGHTS.test(path));
  if (!weights.length) {
    throw new Error(
      `the repository has no model.safetensors, only ${files.map(({ path }) => path).join(', ') || 'nothing'}`,
    );
  }
  const isIndex = (path: string) => path === 'model.safetensors.index.json';
  return [...files.filter(({ path }) => COMPANION.test(path) && !(single.length && isIndex(path))), ...weights];
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

const defaultCache = (): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'mobilequant', 'models');

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

/** The message with those of its causes: fetch says only 'fetch failed', its cause says why. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause ? `${error.message} (${reasonOf(error.cause)})` : error.message;
}
