/** What an export for an NPU takes: its sizes, and inputs to time it with. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Graph } from '@mobilequant/graph';
import { readModel as readGraph } from '@mobilequant/graph/node';
import type { Runtime, Value } from '@mobilequant/tracer';
import { PREFILL_FILE } from './forms.ts';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';

/** Inputs of a graph as files of their raw integers, in the graph's order. */
export interface NpuInputs {
  readonly graph: 'prefill' | 'decode';
  /** That one run reads or makes. */
  readonly tokens: number;
  readonly inputs: readonly { readonly name: string; readonly path: string }[];
}

const ZERO = 128; // of the grid of keys and values

/** Tokens that prefill of an exported directory takes. @throws QuantizedDirectoryError if there is none, or one for GenAI, which gives ids otherwise. */
export async function prefillTokens(directory: string): Promise<number> {
  const graph = await readGraph(join(directory, 'prefill-inputs.onnx')).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT' && cause.code !== 'ENOTDIR') throw cause;
    throw new QuantizedDirectoryError(
      directory,
      `an export for an NPU, with ${PREFILL_FILE}`,
      'none',
      'Export with --target qnn-qdq first.',
    );
  });
  const ids = graph.inputs.find(({ name }) => name === 'input_ids')?.shape ?? [];
  if (ids.length > 1)
    throw new QuantizedDirectoryError(
      directory,
      'ids of the shape [tokens]',
      `[${ids.join(', ')}]`,
      'What was exported for GenAI runs in GenAI; export with the target qnn-qdq to run it by this command.',
    );
  return sizeOf(directory, graph, 'input_ids', 0);
}

/**
 * Makes inputs for both graphs of an exported directory, by the graphs that prepare them: a text of the first token of the vocabulary,
 * behind an empty cache. How long a graph takes does not depend on what is in them.
 *
 * @throws QuantizedDirectoryError for a directory without the graphs.
 */
export async function writeNpuInputs(runtime: Runtime, directory: string, out: string): Promise<NpuInputs[]> {
  const tokens = await prefillTokens(directory);
  const prefill = await readGraph(join(directory, PREFILL_FILE));
  const entries = sizeOf(directory, prefill, 'present.0.keys', 1);
  const decode = await readGraph(join(directory, 'decode.onnx'));
  const filled = Math.min(entries, sizeOf(directory, decode, 'past.0.keys', 1));
  const int32 = (...values: number[]): Value => ({ data: Int32Array.from(values), shape: [values.length] });
  const text = int32(...new Array<number>(tokens).fill(0));
  return [
    { graph: 'prefill', tokens, inputs: await write('prefill', prefill, { input_ids: text }) },
    {
      graph: 'decode',
      tokens: 1,
      inputs: await write('decode', decode, { input_ids: int32(0), past_length: int32(filled) }),
    },
  ];

  async function write(name: string, { inputs }: Graph, given: Record<string, Value>) {
    const prepare = await runtime.compile(await readGraph(join(directory, `${name}-inputs.onnx`)));
    const prepared = await prepare.run(given);
    await prepare.release();
    await mkdir(join(out, name), { recursive: true });
    const files: { name: string; path: string }[] = [];
    for (const [i, input] of inputs.entries()) {
      const size = input.shape.reduce<number>((product, length) => product * Number(length), 1);
      const { buffer, byteOffset, byteLength } = prepared[input.name]?.data ?? new Uint8Array(size).fill(ZERO);
      const path = join(out, name, `${i}.raw`);
      await writeFile(path, new Uint8Array(buffer, byteOffset, byteLength));
      files.push({ name: input.name, path });
    }
    return files;
  }
}

/** A size that the graph says; the file may come from anywhere. */
function sizeOf(directory: string, { inputs, outputs }: Graph, name: string, axis: number): number {
  const size = [...inputs, ...outputs].find((value) => value.name === name)?.shape[axis];
  if (typeof size === 'number' && size > 0) return size;
  throw new QuantizedDirectoryError(directory, `a size of '${name}'`, String(size ?? 'none'), 'Export it again.');
}
