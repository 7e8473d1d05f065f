/**
 * Context binaries without the SDK: ONNX Runtime's QNN provider compiles the graphs, in a Python with its wheel.
 *
 *     DIR/prefill.onnx, DIR/decode.onnx   →   OUT/prefill.onnx, OUT/decode.onnx   one EPContext node each, for ONNX Runtime
 *                                             OUT/prefill_qnn.bin                 the binary, equal weights once
 */
import { mkdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { COMPILED_FILE, writeCompiled } from './compiled-file.ts';
import { DeviceError } from './errors.ts';
import { checkExported } from './exported-files.ts';
import { type PythonOptions, runScript } from './python.ts';
import { type ContextBinary, exportedGraphs, type GraphFile } from './sdk-commands.ts';
import type { Soc } from './socs.ts';

export interface CompileContextOptions extends PythonOptions {
  readonly soc: Soc;
  /** Folder to write into; what was compiled there before is replaced. */
  readonly out: string;
  /** One binary for both graphs, in which equal weights lie once, instead of one for each. Default true. */
  readonly share?: boolean;
  /** Called before each graph. */
  readonly onGraph?: (name: string) => void;
}

/** What the compiler made of a graph. */
export interface CompiledGraph {
  readonly name: string;
  /** Nodes of the ONNX graph; all of them are on the NPU. */
  readonly nodes: number;
  /** Operators of the NPU, and how many of each. */
  readonly operators: number;
  readonly counts: Readonly<Record<string, number>>;
  /** Constants, by the bits that each takes. */
  readonly weights: Readonly<Record<string, number>>;
  /** Tensors in floating point; always none, for that is an error. */
  readonly floats: readonly string[];
  readonly seconds: number;
}

export interface CompiledBinary extends ContextBinary {
  readonly bytes: number;
  /** Most memory that the compiler took. */
  readonly peakBytes: number;
}

export interface CompiledContext {
  readonly graphs: readonly CompiledGraph[];
  readonly binaries: readonly CompiledBinary[];
}

interface Answer {
  readonly graphs: readonly (CompiledGraph & { readonly file: string })[];
  readonly binary: string;
  readonly bytes: number;
  readonly peakBytes: number;
}

/**
 * Compiles what `export --target qnn-qdq` wrote to a directory.
 *
 * Everything is written beside its place and moved when all is there: what fails leaves what was compiled before.
 *
 * @throws DeviceError for a Python without the packages (with the line that installs them), a graph that the NPU does not take whole (with
 * the compiler's reasons), and one with tensors in floating point.
 */
export async function compileContext(directory: string, options: CompileContextOptions): Promise<CompiledContext> {
  const { soc, out, share = true, onGraph, ...python } = options;
  const graphs = exportedGraphs(directory);
  if (resolve(out) === resolve(directory))
    throw new DeviceError('compile', 'another folder than that of the graphs', out, 'They would be replaced.');
  await checkExported(graphs);
  const partial = `${out}.partial`;
  await rm(partial, { recursive: true, force: true }); // of a run that was interrupted
  await mkdir(partial, { recursive: true });
  try {
    const answers: Answer[] = [];
    for (const together of share ? [graphs] : graphs.map((graph) => [graph]))
      answers.push(
        await runScript<Answer>(
          'compile_context',
          { graphs: together, out: partial, soc },
          { ...python, onProgress: ({ graph }) => onGraph?.(String(graph)) },
        ),
      );
    for (const { graphs: made } of answers) for (const graph of made) checkIntegers(graph);
    await moveInto(partial, out, graphs, answers);
    const binaries = answers.map(({ graphs: made, binary, bytes, peakBytes }) => ({
      path: join(out, binary),
      graphs: made.map(({ name }) => name),
      bytes,
      peakBytes,
    }));
    await writeCompiled(out, graphs, { soc, chain: 'onnxruntime', binaries });
    return { graphs: answers.flatMap(({ graphs: made }) => made.map(({ file: _, ...graph }) => graph)), binaries };
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** The compiler makes a float operator of what it cannot compute in integers, and does not say so. */
function checkIntegers({ name, floats }: CompiledGraph): void {
  if (floats.length === 0) return;
  const received = `${floats.length} tensors in floating point: ${floats.slice(0, 5).join(', ')}`;
  throw new DeviceError(name, 'a graph of integers', received, 'Export with the target qnn-qdq.');
}

/** What was there goes first: no graph is better than one with another's binary. */
async function moveInto(
  from: string,
  to: string,
  graphs: readonly GraphFile[],
  answers: readonly Answer[],
): Promise<void> {
  await mkdir(to, { recursive: true });
  const before = [COMPILED_FILE, ...graphs.flatMap(({ name }) => [`${name}.onnx`, `${name}_qnn.bin`])];
  for (const file of before) await rm(join(to, file), { force: true });
  for (const { binary, graphs: made } of answers)
    for (const file of [binary, ...made.map((graph) => graph.file)]) await rename(join(from, file), join(to, file));
}
