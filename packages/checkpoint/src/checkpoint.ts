/**
 * A model on disk: a Hugging Face model directory, or a GGUF file as the one that it was made from. Config, weights by Hugging
 * Face's names, tokenizer; what the config means is not decided here.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type CheckpointWeights, openWeights } from './checkpoint-weights.ts';
import { CheckpointError, FormatError } from './errors.ts';
import { openGguf } from './gguf-file.ts';
import type { GgufTokenizer } from './gguf-tokenizer.ts';
import type { JsonObject } from './json.ts';
import { readJson, readJsonIfThere } from './read-json.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';

/** An opened model. */
export interface Checkpoint {
  /** Where it lies, with the files that belong to it. */
  readonly directory: string;
  /** `config.json`, as it is, or as a GGUF file describes it. */
  readonly config: JsonObject;
  readonly weights: CheckpointWeights;
  /** The names of all files in the directory, or of the GGUF file. */
  readonly files: readonly string[];
  /** What a GGUF file holds of the tokenizer and a directory has in files of its own, by their names; a kind that is not understood is left out. */
  companions(): Promise<Readonly<Record<string, JsonObject>>>;
  /** Reads the tokenizer, when it is needed. Throws a `CheckpointError` if there is none. */
  tokenizer(): Promise<Tokenizer>;
}

/**
 * Opens a model: a directory, or a GGUF file. In a directory, `config.json` with safetensors or PyTorch's `.bin` comes first; one with a
 * GGUF file alone is that file.
 *
 * @throws CheckpointError that says what is missing, FormatError for files that are not in order.
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  if (await isGguf(path)) return openGgufCheckpoint(path);
  const files = await filesOf(path);
  const gguf = onlyGguf(files);
  if (gguf) return openGgufCheckpoint(join(path, gguf));
  if (!files.includes('config.json')) {
    const ggufs = files.filter((file) => GGUF.test(file));
    throw new CheckpointError({
      directory: path,
      expected: 'a model directory with config.json, or a GGUF file',
      received: files.length ? files.slice(0, 8).join(', ') + (files.length > 8 ? ', …' : '') : 'an empty directory',
      cure: ggufs.length
        ? 'Name one of the GGUF files.'
        : 'Name the directory that save_pretrained wrote, not one above or inside it.',
    });
  }
  return {
    directory: path,
    config: await readJson(join(path, 'config.json')),
    weights: await openWeights(path),
    files,
    companions: async () => ({}),
    tokenizer: () => readTokenizer(path),
  };
}

const GGUF = /\.gguf$/i;

async function isGguf(path: string): Promise<boolean> {
  return GGUF.test(path) && ((await stat(path).catch(() => undefined))?.isFile() ?? false);
}

/** The one GGUF file of a directory without other weights; a projector of images (`mmproj-…`) does not count. */
function onlyGguf(files: readonly string[]): string | undefined {
  if (files.some((file) => /^(pytorch_)?model\b.*\.(safetensors|bin)$/.test(file))) return undefined;
  const ggufs = files.filter((file) => GGUF.test(file) && !/^mmproj/i.test(file));
  return ggufs.length === 1 ? ggufs[0] : undefined;
}

async function openGgufCheckpoint(path: string): Promise<Checkpoint> {
  const directory = dirname(path);
  const { config, weights, tokenizer } = await openGguf(path);
  return {
    directory,
    config,
    weights,
    files: [basename(path)],
    companions: async () => {
      const files = companionsOf(tokenizer);
      return files ? { 'tokenizer.json': files.definition, 'tokenizer_config.json': files.config } : {};
    },
    tokenizer: async () => {
      const files = companionsOf(tokenizer);
      if (!files && (await filesOf(directory)).includes('tokenizer.json')) return readTokenizer(directory);
      const { definition, config: special } = files ?? tokenizer(); // which says why
      return tokenizerOf(definition, special, path);
    },
  };
}

/** A GGUF file's tokenizer, if it is of a kind that is understood. */
function companionsOf(tokenizer: () => GgufTokenizer): GgufTokenizer | undefined {
  try {
    return tokenizer();
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** Reads `tokenizer.json` and what its companions say about special tokens. Throws a `CheckpointError` if there is none, a `FormatError` for one that is not in order. */
export async function readTokenizer(directory: string): Promise<Tokenizer> {
  const definition = await readJsonIfThere(join(directory, 'tokenizer.json'));
  if (!definition) {
    const others = (await filesOf(directory)).filter((file) => /^(tokenizer|vocab|merges|spiece)/.test(file));
    throw new CheckpointError({
      directory,
      expected: 'tokenizer.json',
      received: others.length ? others.join(', ') : 'no tokenizer',
      cure: 'Save a fast tokenizer with AutoTokenizer.from_pretrained(…).save_pretrained(…).',
    });
  }
  const special = await readJsonIfThere(join(directory, 'special_tokens_map.json'));
  const config = await readJsonIfThere(join(directory, 'tokenizer_config.json'));
  return tokenizerOf(definition, { ...special, ...config }, join(directory, 'tokenizer.json'));
}

function tokenizerOf(definition: JsonObject, config: JsonObject, file: string): Tokenizer {
  try {
    return createTokenizer(definition, config);
  } catch (cause) {
    const received = `another (${(cause as Error).message})`;
    const expected = 'a tokenizer that can be read';
    throw new FormatError(
      { file, where: file.endsWith('.json') ? 'file' : 'tokenizer', expected, received },
      { cause },
    );
  }
}

async function filesOf(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (cause) {
    const received = (cause as NodeJS.ErrnoException).code === 'ENOTDIR' ? 'a file' : 'no such directory';
    const cure = 'Give the path of a directory with config.json and model.safetensors, or of a GGUF file.';
    throw new CheckpointError({ directory, expected: 'a model directory', received, cure }, { cause });
  }
}
