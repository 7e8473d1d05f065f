/** Exported graphs on Qualcomm's emulator of the NPU, beside ONNX Runtime on the processor. */
import { DeviceError } from './errors.ts';
import { checkExported } from './exported-files.ts';
import { type PythonOptions, runScript } from './python.ts';
import { exportedGraphs } from './sdk-commands.ts';
import type { Soc } from './socs.ts';

export interface EmulateOptions extends PythonOptions {
  readonly soc: Soc;
  /** Texts to read, of as many tokens as prefill takes. */
  readonly windows?: readonly ArrayLike<number>[];
  /** A text to go on with, of at most as many tokens. */
  readonly prompt?: ArrayLike<number>;
  /** How many tokens to go on with it. Default 16. */
  readonly tokens?: number;
  readonly onProgress?: (progress: EmulationProgress) => void;
}

export interface EmulationProgress {
  /** `read, npu`, … */
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  /** The token that was just made. */
  readonly token?: number;
}

export interface Emulation {
  /** Of the windows; `null` without any. */
  readonly read: {
    /** -log p of each token but the first, window by window, in nats. */
    readonly processor: readonly (readonly number[])[];
    readonly npu: readonly (readonly number[])[];
    /** Between the logits. */
    readonly meanDifference: number;
    readonly largestDifference: number;
    /** Share of positions with the same likeliest token. */
    readonly equalTokens: number;
  } | null;
  /** Behind the prompt, greedily; `null` without one. */
  readonly said: {
    readonly processor: readonly number[];
    readonly npu: readonly number[];
    /** Mean difference between the logits of each token, up to the first that is another. */
    readonly stepDifference: readonly number[];
  } | null;
}

/**
 * Runs prefill and decode of what `export --target qnn-qdq` wrote to a directory, in integers from graph to graph: windows of text for
 * their losses, and a prompt that is gone on with token by token.
 *
 * @throws DeviceError for nothing to run, a Python without the packages (with the line that installs them), a graph that the NPU does not take
 * whole, and an emulator that crashes.
 */
export async function emulate(directory: string, options: EmulateOptions): Promise<Emulation> {
  const { soc, windows = [], prompt = [], tokens = 16, onProgress, ...python } = options;
  if (windows.length === 0 && prompt.length === 0)
    throw new DeviceError('emulate', 'windows of text, or a prompt', 'neither', 'Give one, or both.');
  await checkExported(exportedGraphs(directory));
  const request = {
    directory,
    soc,
    windows: windows.map((ids) => Array.from(ids)),
    prompt: Array.from(prompt),
    tokens,
  };
  const { read, said } = await runScript<Emulation>('emulate', request, {
    ...python,
    onProgress: (progress) => onProgress?.(progress as unknown as EmulationProgress),
  });
  return { read, said };
}
