/**
 * A model by path or name. A name `org/model`, or `org/model:file.gguf` for one of its GGUF files, is downloaded once from the
 * Hugging Face hub into a cache, file by file into a hidden directory that is renamed when all are there; from then on the network
 * is not asked again.
 */
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ListFileEntry } from '@huggingface/hub';
import { CheckpointError } from './errors.ts';
import { type HubOptions, hubRevision, reasonOf } from './hub-revision.ts';
import { temporaryName } from './write-file-atomic.ts';

/** Where models come from and where they are kept. */
export interface ResolveModelOptions extends HubOptions {
  /** By default `mobilequant/models` in the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`). */
  readonly cacheDir?: string;
  /** Branch, tag or commit. */
  readonly revision?: string;
}

const NAME = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?::([\w-][\w. +()-]*\.gguf))?$/i;
const REVISION = /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/;
const GGUF = /\.gguf$/i;
const PART_OF_GGUF = /-\d{5}-of-\d{5}\.gguf$/i;
const COMPANION =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|act_dict|default_qcfg)\.json$|^(merges\.txt|chat_template\.jinja)$/;

/** The forms that weights come in, the preferred one first: in one file, or in parts with an index. */
const FORMS = [
  { single: 'model.safetensors', part: /^model-\d{5}-of-\d{5}\.safetensors$/ },
  { single: 'pytorch_model.bin', part: /^pytorch_model-\d{5}-of-\d{5}\.bin$/ },
];

/**
 * The path of a model: the directory or GGUF file that is named, or what was downloaded. Throws a `CheckpointError` when there is
 * neither such a path nor a way to download it.
 */
export async function resolveModel(nameOrPath: string, options: ResolveModelOptions = {}): Promise<string> {
  if (await isDirectory(nameOrPath)) return nameOrPath;
  if (GGUF.test(nameOrPath) && (await exists(nameOrPath))) return nameOrPath;
  const [, repo, file] = NAME.exec(nameOrPath) ?? [];
  if (repo === undefined) {
    throw new CheckpointError({
      directory: nameOrPath,
      expected: 'a model directory, a GGUF file, or the name of a model on the hub',
      received: (await exists(nameOrPath))
        ? 'another file'
        : 'no such directory or file, and not a name of the form org/model or org/model:file.gguf',
      cure: 'Check the path.',
    });
  }
  const { cacheDir = defaultCache(), revision = 'main' } = options;
  if (!REVISION.test(revision))
    throw new RangeError(`resolveModel: expected a branch, tag or commit, got '${revision}'.`);

  const folder = file === undefined ? revision : `${revision}--${file}`;
  const directory = join(cacheDir, repo.replace('/', '--'), folder.replaceAll('/', '--'));
  const path = file === undefined ? directory : join(directory, file);
  if (await isDirectory(directory)) return path;
  try {
    await download(repo, file, directory, { ...options, revision });
  } catch (cause) {
    throw new CheckpointError(
      {
        directory: nameOrPath,
        expected: 'a model directory, a GGUF file, or a model on the hub',
        received: `no such directory or file, and downloading failed: ${reasonOf(cause)}`,
        cure: 'Check the name and the connection, or give a path.',
      },
      { cause },
    );
  }
  return path;
}

async function download(
  repo: string,
  file: string | undefined,
  directory: string,
  { revision, ...options }: ResolveModelOptions & { revision: string },
): Promise<void> {
  const hub = hubRevision({ repo, revision }, options);
  const files = wantedFiles(await hub.list(), file);
  const draft = temporaryName(directory);
  try {
    await hub.save(files, draft);
    await mkdir(dirname(directory), { recursive: true });
    await rename(draft, directory);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (!(await isDirectory(directory))) throw error; // else somebody else was faster
  }
}

/** What a model needs, from the files at the top of a repository: not its other formats, not its pictures. */
function wantedFiles(entries: readonly ListFileEntry[], named: string | undefined): ListFileEntry[] {
  const files = entries.filter(({ type }) => type === 'file');
  const list = (some: readonly ListFileEntry[]) => some.map(({ path }) => path).join(', ') || 'nothing';
  const ggufs = files.filter(({ path }) => GGUF.test(path) && !/^mmproj/i.test(path));
  if (named !== undefined) {
    const file = ggufs.find(({ path }) => path === named);
    if (!file) throw new Error(`the repository has no ${named}, only ${list(ggufs)}`);
    return [whole(file)];
  }
  const at = (name: string) => files.filter(({ path }) => path === name);
  const companions = files.filter(({ path }) => COMPANION.test(path));
  for (const { single, part } of FORMS) {
    if (at(single).length) return [...companions, ...at(single)];
    const parts = files.filter(({ path }) => part.test(path));
    if (parts.length) return [...companions, ...at(`${single}.index.json`), ...parts];
  }
  const [only, ...others] = ggufs;
  if (only && !others.length) return [whole(only)];
  if (only) throw new Error(`the repository has several GGUF files: name one of ${list(ggufs)} as org/model:file.gguf`);
  const expected = `${FORMS.map(({ single }) => single).join(', ')}, or GGUF file`;
  throw new Error(`the repository has no ${expected}, only ${list(files)}`);
}

function whole(file: ListFileEntry): ListFileEntry {
  if (PART_OF_GGUF.test(file.path)) throw new Error(`${file.path} is a part of a model, and only whole ones are read`);
  return file;
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
