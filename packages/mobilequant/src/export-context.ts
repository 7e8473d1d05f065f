/** The target `qnn-context`: the graphs of `qnn-qdq`, and what they compile to for named chips beside them. */
import { join } from 'node:path';
import type { Soc } from '@mobilequant/device';
import { type CompiledContext, checkPython, compileContext, type PythonOptions } from '@mobilequant/device/node';
import { type ExportTarget, type QnnOptions, qnnQdqTarget } from '@mobilequant/exporter';
import { exportDirectory } from './export-directory.ts';

export interface ExportContextOptions extends QnnOptions, PythonOptions {
  /** Each is compiled for, into a folder of its name. */
  readonly socs: readonly Soc[];
  /** One binary for both graphs, in which equal weights lie once. Default true. */
  readonly share?: boolean;
  /** Called before a graph is compiled. */
  readonly onGraph?: (soc: Soc, graph: string) => void;
}

/** Its files are those of `qnn-qdq`; a compiler reads them from the directory. */
export const qnnContextTarget: ExportTarget<QnnOptions> = {
  ...qnnQdqTarget,
  name: 'qnn-context',
  description: `${qnnQdqTarget.name}, and compiled for a chip (--soc): a context binary, by the Python package onnxruntime-qnn`,
};

/**
 * Exports the quantized model in a directory to another, and compiles it there.
 *
 * @throws DeviceError for a Python without the packages, before anything is written; QuantizedDirectoryError as `exportDirectory`.
 * @returns bytes of each exported file, and what was compiled, by the chip's name
 */
export async function exportContext(
  from: string,
  to: string,
  { socs, share = true, onGraph, tokens, context, ...python }: ExportContextOptions,
): Promise<{ readonly files: Map<string, number>; readonly compiled: Map<string, CompiledContext> }> {
  await checkPython(python);
  const files = await exportDirectory(from, to, {
    target: qnnContextTarget,
    ...(tokens !== undefined && { tokens }),
    ...(context !== undefined && { context }),
  });
  const compiled = new Map<string, CompiledContext>();
  for (const soc of socs) {
    const out = join(to, soc.name);
    const options = { ...python, soc, out, share, onGraph: (graph: string) => onGraph?.(soc, graph) };
    compiled.set(soc.name, await compileContext(to, options));
  }
  return { files, compiled };
}
