/**
 * Token ids from files: what a model is calibrated on, learns from, and is measured on.
 *
 *     .txt, .raw, .md      the whole file is one text
 *     .jsonl               one document a line, in the field `text`; a blank line goes between documents
 *     .safetensors:NAME    ids that are already there: int32 `[rows, tokens]`, each row a sample
 *
 * Special tokens are not added.
 */
import { readFile } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import type { Tokenizer } from '@mobilequant/checkpoint';
import { openSafetensors } from '@mobilequant/checkpoint/node';
import { mulberry32 } from '@mobilequant/core';

/** A file that tokens cannot be taken from, or not enough of them. */
export class SampleError extends Error {
  override readonly name = 'SampleError';

  constructor(where: string, expected: string, received: string, advice: string, options?: ErrorOptions) {
    super(`${where}: expected ${expected}, got ${received}. ${advice}`, options);
  }
}

/** A text's ids, or rows of ids that are samples already. */
export type TokenSource =
  | { readonly kind: 'text'; readonly tokens: Int32Array }
  | { readonly kind: 'rows'; readonly rows: readonly Int32Array[] };

/** Reads files one after another into one source. The tokenizer is asked for only if a text needs it. */
export async function readTokens(files: readonly string[], tokenizer: () => Promise<Tokenizer>): Promise<TokenSource> {
  const sources: TokenSource[] = [];
  for (const file of files) sources.push(await readSource(file, tokenizer));
  const rows = sources.flatMap((source) => (source.kind === 'rows' ? source.rows : []));
  const texts = sources.flatMap((source) => (source.kind === 'text' ? [source.tokens] : []));
  if (rows.length > 0 && texts.length > 0) {
    throw new SampleError('samples', 'texts or rows of ids', 'both', 'Give files of one kind.');
  }
  return rows.length > 0 ? { kind: 'rows', rows } : { kind: 'text', tokens: concatenated(texts) };
}

/** All ids of a source, one after another. */
export const allTokens = (source: TokenSource): Int32Array =>
  source.kind === 'text' ? source.tokens : concatenated(source.rows);

export interface SampleOptions {
  readonly samples: number;
  /** Tokens of a sample. */
  readonly tokens: number;
}

/**
 * Samples for statistics: windows at even distances over the whole text, at `i · ⌊length / samples⌋`, closer where the text is too short
 * for that; or the first rows, cut to `tokens`.
 */
export function evenSamples(source: TokenSource, { samples, tokens }: SampleOptions): Int32Array[] {
  if (source.kind === 'rows') return firstRows(source.rows, samples, tokens);
  const { length } = checkLength(source.tokens, tokens);
  const step = Math.min(Math.floor(length / samples), Math.floor((length - tokens) / Math.max(samples - 1, 1)));
  return Array.from({ length: samples }, (_, i) => source.tokens.slice(i * step, i * step + tokens));
}

/** Samples to learn from: windows at random places, which may overlap, the same for the same seed; or the first rows. */
export function randomSamples(
  source: TokenSource,
  { samples, tokens, seed }: SampleOptions & { readonly seed: number },
): Int32Array[] {
  if (source.kind === 'rows') return firstRows(source.rows, samples, tokens);
  const places = checkLength(source.tokens, tokens).length - tokens + 1;
  const random = mulberry32(seed);
  return Array.from({ length: samples }, () => {
    const start = Math.floor(random() * places);
    return source.tokens.slice(start, start + tokens);
  });
}

function firstRows(rows: readonly Int32Array[], samples: number, tokens: number): Int32Array[] {
  const short = rows.find((row) => row.length < tokens);
  if (rows.length < samples || short) {
    const received = `${rows.length} of ${short?.length ?? tokens}`;
    throw new SampleError(
      'samples',
      `at least ${samples} rows of ${tokens} ids`,
      received,
      'Ask for fewer samples or tokens.',
    );
  }
  return rows.slice(0, samples).map((row) => row.slice(0, tokens));
}

function checkLength(text: Int32Array, tokens: number): Int32Array {
  if (text.length >= tokens) return text;
  throw new SampleError(
    'samples',
    `a text of at least ${tokens} tokens`,
    String(text.length),
    'Give more text, or shorten the samples.',
  );
}

async function readSource(file: string, tokenizer: () => Promise<Tokenizer>): Promise<TokenSource> {
  const rows = /^(.+\.safetensors):([^:]+)$/.exec(file);
  if (rows) return { kind: 'rows', rows: await readRows(rows[1] as string, rows[2] as string) };
  const text = await readText(file);
  return { kind: 'text', tokens: (await tokenizer()).encode(text) };
}

async function readText(file: string): Promise<string> {
  const extension = extname(file).toLowerCase();
  const advice = 'Give a text (.txt, .raw, .md), documents (.jsonl), or ids (FILE.safetensors:NAME).';
  if (!['.txt', '.raw', '.md', '.jsonl'].includes(extension)) {
    throw new SampleError(
      basename(file),
      'a file that holds text',
      extension ? `'${extension}'` : 'a name without an extension',
      advice,
    );
  }
  const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => unreadable(file, cause));
  let content: string;
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SampleError(file, 'a text in UTF-8', 'other bytes', 'Convert it.', { cause });
  }
  return extension === '.jsonl' ? documentsOf(content, file).join('\n\n') : content;
}

function unreadable(file: string, cause: NodeJS.ErrnoException): never {
  const received = cause.code === 'ENOENT' ? 'no such file' : String(cause.code ?? cause.message);
  throw new SampleError(file, 'a file', received, 'Check the path.', { cause });
}

function documentsOf(content: string, file: string): string[] {
  return content.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    let document: unknown;
    try {
      document = (JSON.parse(line) as { text?: unknown } | null)?.text;
    } catch {
      document = undefined;
    }
    if (typeof document === 'string') return [document];
    throw new SampleError(
      `${basename(file)}, line ${i + 1}`,
      'a JSON object with a text in "text"',
      line.slice(0, 40),
      'One object a line.',
    );
  });
}

async function readRows(file: string, name: string): Promise<Int32Array[]> {
  const { header, readStored } = await openSafetensors(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === undefined) throw cause; // a file that is not in order says so itself
    return unreadable(file, cause);
  });
  const entry = header.tensors.get(name);
  const names = [...header.tensors.keys()];
  if (entry?.dtype !== 'int32' || entry.shape.length !== 2) {
    const received = entry ? `${entry.dtype} [${entry.shape.join(', ')}]` : 'none';
    throw new SampleError(
      basename(file),
      `an int32 matrix '${name}'`,
      received,
      `The file has ${names.slice(0, 8).join(', ')}${names.length > 8 ? ', …' : ''}.`,
    );
  }
  const ids = (await readStored(name)) as Int32Array;
  const [rows, tokens] = entry.shape as [number, number];
  return Array.from({ length: rows }, (_, i) => ids.subarray(i * tokens, (i + 1) * tokens));
}

function concatenated(parts: readonly Int32Array[]): Int32Array {
  if (parts.length === 1) return parts[0] as Int32Array;
  const result = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
