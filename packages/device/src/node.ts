/** Qualcomm's programs on this computer, and phones that are connected to it. */

export { type Adb, type AdbDevice, type AdbOptions, connectPhone, listDevices, remoteQuote } from './adb.ts';
export { type BenchmarkGraph, type BenchmarkOptions, benchmark } from './benchmark.ts';
export {
  type CompileContextOptions,
  type CompiledBinary,
  type CompiledContext,
  type CompiledGraph,
  compileContext,
} from './compile-context.ts';
export { CHAINS, type Chain, COMPILED_FILE, type Compiled, readCompiled, writeCompiled } from './compiled-file.ts';
export { type EmulateOptions, type Emulation, type EmulationProgress, emulate } from './emulate.ts';
export { checkExported } from './exported-files.ts';
export { findTools, sdkEnvironment, sdkRoot, type ToolOptions } from './find-tools.ts';
export type { ProcessOptions } from './process.ts';
export { checkPython, type PythonOptions } from './python.ts';
export { type RunOptions, runPlan } from './run-commands.ts';
