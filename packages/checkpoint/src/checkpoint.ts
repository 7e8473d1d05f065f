/** A Hugging Face model directory: config, weights by unified names, tokenizer. What the config means is not decided here. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type CheckpointWeights, openWeights } from './checkpoint-weights.ts';
import { CheckpointError, FormatError } from './errors.ts';
import type { JsonObject } from './json.ts';
import { readJson, readJsonIfThere } from './read-json.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';

/** An opened model directory. */
export interface Checkpoint {
  readonly directory: string;
  /** `config.json`, as it is. */
  readonly config: JsonObject;
  readonly weights: CheckpointWeights;
  /** The names of all files in the directory. */
  readonly files: readonly string[];
  /** Reads the tokenizer, when it is needed. Throws a `CheckpointError` if there is none. */
  tokenizer(): Promise<Tokenizer>;
}

/** Opens a model directory. Throws a `CheckpointError` that says what is missing, a `FormatError` for files that are not in order. */
export async function openCheckpoint(directory: string): Promise<Checkpoint> {
  const files = await filesOf(directory);
  if (!files.includes('config.json')) {
    throw new CheckpointError({
      directory,
      expected: 'a model directory with config.json',
      received: files.length ? files.slice(0, 8).join(', ') + (files.length > 8 ? ', …' : '') : 'an empty directory',
      cure: 'Name the directory that save_pretrained wrote, not one above or inside it.',
    });
  }
  return {
    directory,
    config: await readJson(join(directory, 'config.json')),
    weights: await openWeights(directory),
    files,
    tokenizer: () => readTokenizer(directory),
  };
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
  try {
    return createTokenizer(definition, { ...special, ...config });
  } catch (cause) {
    const received = `another (${(cause as Error).message})`;
    const expected = 'a tokenizer that can be read';
    throw new FormatError({ file: join(directory, 'tokenizer.json'), where: 'file', expected, received }, { cause });
  }
}

async function filesOf(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (cause) {
    const received = (cause as NodeJS.ErrnoException).code === 'ENOTDIR' ? 'a file' : 'no such directory';
    const cure = 'Give the path of a directory with config.json and model.safetensors.';
    throw new CheckpointError({ directory, expected: 'a model directory', received, cure }, { cause });
  }
}
