/** From a quantized directory to what a target runs. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { readJsonIfThere } from '@mobilequant/checkpoint/node';
import {
  type CheckpointSettings,
  type EncodingsVersion,
  type ExportFile,
  type ExportFiles,
  type ExportTarget,
  onnxTarget,
} from '@mobilequant/exporter';
import { writeExport } from '@mobilequant/exporter/node';
import { ONNX_FILE, ONNX_FOLDER, PREFILL_FILE } from './forms.ts';
import { checkOutput } from './output-directory.ts';
import { readQuantized } from './quantized-directory.ts';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';

/** What an exported model needs to read and write text. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja'];

/** Beside its weights a model has what it says of how to generate. */
const GENERATION_FILE = 'generation_config.json';

export interface ExportDirectoryOptions {
  readonly target?: ExportTarget<{
    tokens?: number;
    context?: number;
    version?: EncodingsVersion;
    settings?: CheckpointSettings;
  }>;
  /** Tokens of the text that the exported graph takes; by default the target decides. */
  readonly tokens?: number;
  /** Positions that a graph with a cache knows; by default the target decides. */
  readonly context?: number;
  /** Of the encodings, where the target writes them. */
  readonly version?: EncodingsVersion;
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
  { target = onnxTarget, tokens, context, version }: ExportDirectoryOptions = {},
): Promise<Map<string, number>> {
  const model = await readQuantized(from);
  if (resolve(to) !== resolve(from))
    await checkOutput(
      to,
      (entries) => [ONNX_FILE, PREFILL_FILE, ONNX_FOLDER].some((file) => entries.includes(file)),
      'an exported model',
    );
  const generation = await readJsonIfThere(join(from, GENERATION_FILE));
  const files = await target.export(model, {
    settings: { config: model.checkpoint.config, ...(generation && { generation }) },
    ...(tokens !== undefined && { tokens }),
    ...(context !== undefined && { context }),
    ...(version !== undefined && { version }),
  });
  checkReplaced(to, files);
  const companions = TOKENIZER_FILES.filter((name) => model.checkpoint.files.includes(name));
  const tokenizer = companions.map(
    async (name): Promise<[string, ExportFile]> => [name, await readFile(join(from, name))],
  );
  return writeExport(to, new Map([...files, ...(await Promise.all(tokenizer))]));
}

/** A directory holds one export: the model of another target would be taken for this one's. */
function checkReplaced(directory: string, files: ExportFiles): void {
  const other = [ONNX_FILE, PREFILL_FILE].find((file) => !files.has(file) && existsSync(join(directory, file)));
  if (other === undefined) return;
  const advice = `Choose another, or remove ${other}.`;
  throw new QuantizedDirectoryError(directory, 'a directory without the model of another target', other, advice);
}
