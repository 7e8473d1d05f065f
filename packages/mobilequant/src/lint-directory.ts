/** Every graph of an exported directory before a linter, with the encodings and the graph of inputs that belong to it. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type EncodingsFile,
  type Finding,
  type LintDevice,
  lintGraph,
  parseEncodings,
  tensorFacts,
} from '@mobilequant/exporter';
import type { Graph } from '@mobilequant/graph';
import { readModel as readGraph } from '@mobilequant/graph/node';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';

export interface LintedGraph {
  /** File in the directory. */
  readonly file: string;
  readonly device: LintDevice;
  readonly findings: readonly Finding[];
}

/** Graphs that are exported for an NPU. */
const NPU_GRAPHS = ['prefill', 'decode'];

/**
 * Looks at all graphs in a directory and its folders. Weights outside them are not read.
 *
 * @param device what will run them, but for those that prepare inputs; by default an NPU where they are called prefill or decode, or have
 *   encodings beside, and else a processor.
 * @throws QuantizedDirectoryError where there is no graph.
 */
export async function lintDirectory(directory: string, device?: LintDevice): Promise<LintedGraph[]> {
  const entries = await readdir(directory, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    throw new QuantizedDirectoryError(directory, 'a directory', error.code ?? error.message, 'Check the path.');
  });
  const files = new Set(entries);
  const graphs = entries.filter((file) => file.endsWith('.onnx')).sort();
  if (graphs.length === 0)
    throw new QuantizedDirectoryError(directory, 'exported graphs (.onnx)', 'none', 'Run `mobilequant export` first.');

  const linted: LintedGraph[] = [];
  for (const file of graphs) {
    const name = file.slice(0, -'.onnx'.length);
    const isNpu = NPU_GRAPHS.includes(basename(name)) || files.has(`${name}.encodings`);
    const own = name.endsWith('-inputs') ? 'processor' : (device ?? (isNpu ? 'npu' : 'processor'));
    linted.push({ file, device: own, findings: await findingsOf(directory, name, files, own) });
  }
  return linted;
}

async function findingsOf(
  directory: string,
  name: string,
  files: ReadonlySet<string>,
  device: LintDevice,
): Promise<Finding[]> {
  const graph = await readable('FormatError', () => readGraph(join(directory, `${name}.onnx`)));
  if (!('value' in graph)) return [graph.finding];
  const options: { device: LintDevice; encodings?: EncodingsFile; inputs?: Graph } = { device };
  const found: Finding[] = [];
  if (files.has(`${name}.encodings`)) {
    const text = await readFile(join(directory, `${name}.encodings`), 'utf8');
    const encodings = await readable('EncodingsError', () => parseEncodings(text, tensorFacts(graph.value)));
    if ('value' in encodings) options.encodings = encodings.value;
    else found.push(encodings.finding);
  }
  if (files.has(`${name}-inputs.onnx`)) {
    const inputs = await readable('FormatError', () => readGraph(join(directory, `${name}-inputs.onnx`)));
    if ('value' in inputs) options.inputs = inputs.value; // else it has a finding of its own
  }
  return [...found, ...(await lintGraph(graph.value, options))];
}

/** What is read, or the finding that it cannot be. */
async function readable<T>(
  errorName: string,
  read: () => T | Promise<T>,
): Promise<{ readonly value: T } | { readonly finding: Finding }> {
  try {
    return { value: await read() };
  } catch (error) {
    if (!(error instanceof Error) || error.name !== errorName) throw error;
    const { where, expected, received } = error as Error & Record<'where' | 'expected' | 'received', string>;
    return {
      finding: {
        rule: 'readable',
        severity: 'error',
        where,
        found: `${received} for ${expected}`,
        advice: 'Nothing will read the file: export it again.',
      },
    };
  }
}
