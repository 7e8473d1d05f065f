/** From a quantized directory to what a target runs. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
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
import { hasWeights } from './weight-files.ts';

/** What an exported model needs to read and write text. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja'];

/** Files that an older export may have left beside the model that it was made of. */
const EXPORTED = /\.(onnx|encodings)$|^genai_config\.json$/;

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
 * Exports the quantized model in a directory, with its tokenizer, to another, or beside itself, where none of its own files is written over.
 *
 * @throws QuantizedDirectoryError when there is no quantized model, or something else where it is to be written. Nothing is written then.
 * @returns bytes of each file that was written
 */
export async function exportDirectory(
  from: string,
  to: string,
  { target = onnxTarget, tokens, context, version }: ExportDirectoryOptions = {},
): Promise<Map<string, number>> {
  const model = await readQuantized(from);
  const isBeside = resolve(to) === resolve(from);
  if (!isBeside) await checkOutput(to, (entries) => !hasWeights(entries), 'an exported model');
  const generation = await readJsonIfThere(join(from, GENERATION_FILE));
  const files = await target.export(model, {
    settings: { config: model.checkpoint.config, ...(generation && { generation }) },
    ...(tokens !== undefined && { tokens }),
    ...(context !== undefined && { context }),
    ...(version !== undefined && { version }),
  });
  const companions = isBeside ? [] : TOKENIZER_FILES.filter((name) => model.checkpoint.files.includes(name));
  const tokenizer = companions.map(
    async (name): Promise<[string, ExportFile]> => [name, await readFile(join(from, name))],
  );
  const all = new Map([...files, ...(await Promise.all(tokenizer))]);
  if (isBeside) checkBeside(to, files, target.name);
  else await checkOlder(to, all);
  checkReplaced(to, files);
  return writeExport(to, all);
}

/** Beside a model only an older export is written over. */
function checkBeside(directory: string, files: ExportFiles, target: string): void {
  const own = [...files.keys()].find((path) => !EXPORTED.test(path) && existsSync(join(directory, path)));
  if (own === undefined) return;
  throw new QuantizedDirectoryError(
    directory,
    `a directory without ${own} for the target ${target}`,
    "the model's own",
    'Choose another.',
  );
}

/** A directory with something in it must be that of an older export: of a target by its graphs, or of this one by all that is there. */
async function checkOlder(directory: string, files: ExportFiles): Promise<void> {
  const isOwn = await holdsOnly(directory, files);
  const known = [ONNX_FILE, PREFILL_FILE, ONNX_FOLDER];
  await checkOutput(directory, (entries) => isOwn || known.some((file) => entries.includes(file)), 'an exported model');
}

/** Whether every file of a directory and its folders is one of these, or the weights of one. */
async function holdsOnly(directory: string, files: ExportFiles): Promise<boolean> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => undefined);
  const found = entries?.filter((entry) => !entry.isDirectory());
  const paths = found?.map(({ parentPath, name }) => relative(directory, join(parentPath, name)).replaceAll(sep, '/'));
  return paths?.every((path) => files.has(path) || files.has(path.replace(/[._]data$/, ''))) ?? false;
}

/** A directory holds one export: the model of another target would be taken for this one's. */
function checkReplaced(directory: string, files: ExportFiles): void {
  const other = [ONNX_FILE, PREFILL_FILE].find((file) => !files.has(file) && existsSync(join(directory, file)));
  if (other === undefined) return;
  const advice = `Choose another, or remove ${other}.`;
  throw new QuantizedDirectoryError(directory, 'a directory without the model of another target', other, advice);
}
