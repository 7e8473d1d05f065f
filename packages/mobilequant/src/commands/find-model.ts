/** Where the model lies that is to be run in one of its forms, and the tokenizer there. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Tokenizer } from '@mobilequant/checkpoint';
import { openCheckpoint, readTokenizer, resolveModel } from '@mobilequant/checkpoint/node';
import { pathFrom, type Surroundings } from '../command.ts';
import type { Form } from '../forms.ts';
import { downloadTo } from '../progress.ts';
import { QuantizedDirectoryError } from '../quantized-directory-error.ts';

/** A model on disk. */
export interface ModelPlace {
  /** Of a directory or a GGUF file. */
  readonly path: string;
  /** The hub's name, or that of the directory or file: never a path. */
  readonly name: string;
}

/**
 * Finds the model that the user named. One on the hub is a float model, and is downloaded for that form alone.
 *
 * @throws QuantizedDirectoryError for a path where nothing is; CheckpointError for a name that cannot be downloaded.
 */
export async function findModel(name: string, form: Form, surroundings: Surroundings): Promise<ModelPlace> {
  const path = pathFrom(surroundings, name);
  if (existsSync(path)) return { path, name: basename(path) };
  if (form === 'float') return { path: await resolveModel(name, { onProgress: downloadTo(surroundings) }), name };
  throw new QuantizedDirectoryError(
    path,
    `a directory for the form ${form}`,
    'no such directory',
    'Check the path. A model on the hub has the form float alone: --form float.',
  );
}

/** The tokenizer of a directory, an exported one too, or of a GGUF file. Throws a CheckpointError if there is none. */
export async function tokenizerAt(path: string): Promise<Tokenizer> {
  const entries = await readdir(path).catch(() => undefined); // a file, or nothing
  if (entries && !entries.some((entry) => /\.gguf$/i.test(entry))) return readTokenizer(path);
  return (await openCheckpoint(path)).tokenizer();
}
