/** Qualcomm's programs on this computer, and phones that are connected to it. */

export { type Adb, type AdbDevice, type AdbOptions, connectPhone, listDevices, remoteQuote } from './adb.ts';
export { type BenchmarkGraph, type BenchmarkOptions, benchmark } from './benchmark.ts';
export { findTools, sdkEnvironment, sdkRoot, type ToolOptions } from './find-tools.ts';
export type { ProcessOptions } from './process.ts';
export { type RunOptions, runPlan } from './run-commands.ts';
