/** From a quantized directory to what a target runs. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type ExportFile, type ExportTarget, onnxTarget } from '@mobilequant/exporter';
import { writeExport } from '@mobilequant/exporter/node';
import { ONNX_FILE, PREFILL_FILE } from './forms.ts';
import { checkOutput } from './output-directory.ts';
import { readQuantized } from './quantized-directory.ts';

/** What an exported model needs to read and write text. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'];

export interface ExportDirectoryOptions {
  readonly target?: ExportTarget<{ tokens?: number; context?: number }>;
  /** Tokens of the text that the exported graph takes; by default the target decides. */
  readonly tokens?: number;
  /** Positions that a graph with a cache knows; by default the target decides. */
  readonly context?: number;
}

/**
 * Exports the quantized model in a directory, with its tokenizer, to another (or beside itself).
 *
 * @throws QuantizedDirectoryError when there is no quantized model, or something else where it is to be written.
 * @returns bytes of each file that was written
 */
export async function exportDirectory(
  from: string,
  to: string,
  { target = onnxTarget, tokens, context }: ExportDirectoryOptions = {},
): Promise<Map<string, number>> {
  const model = await readQuantized(from);
  if (resolve(to) !== resolve(from))
    await checkOutput(
      to,
      (entries) => [ONNX_FILE, PREFILL_FILE].some((file) => entries.includes(file)),
      'an exported model',
    );
  const files = await target.export(model, {
    ...(tokens !== undefined && { tokens }),
    ...(context !== undefined && { context }),
  });
  const companions = TOKENIZER_FILES.filter((name) => model.checkpoint.files.includes(name));
  const tokenizer = companions.map(
    async (name): Promise<[string, ExportFile]> => [name, await readFile(join(from, name))],
  );
  return writeExport(to, new Map([...files, ...(await Promise.all(tokenizer))]));
}
