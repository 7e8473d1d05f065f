/** Carries out a plan of the SDK's commands: one after another, each with its output in a log, up to the first that fails. */
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { DeviceError } from './errors.ts';
import { findTools, sdkEnvironment, type ToolOptions } from './find-tools.ts';
import { runLogged, tailOf } from './process.ts';
import type { CompilePlan, ContextBinary, SdkCommand } from './sdk-commands.ts';

export interface RunOptions extends ToolOptions {
  /** Folder of the logs: `01-qairt-converter.log`, … */
  readonly logs: string;
  readonly signal?: AbortSignal;
  /** Called before each command. */
  readonly onCommand?: (command: SdkCommand, index: number, log: string) => void;
}

/**
 * Compiles: writes the plan's files and runs its commands.
 *
 * What a command makes is written into a folder beside its place and moved when it is done, so that a file that is there is whole.
 *
 * @returns the binaries that are there now.
 * @throws DeviceError before anything runs if tools are missing; when a command fails, with the end of its log.
 */
export async function runPlan(plan: CompilePlan, options: RunOptions): Promise<readonly ContextBinary[]> {
  const tools = await findTools([...new Set(plan.commands.map(({ tool }) => tool))], options);
  for (const { path, text } of plan.files) await writeWhole(path, text);
  for (const [index, command] of plan.commands.entries()) {
    const log = join(options.logs, `${String(index + 1).padStart(2, '0')}-${command.tool}.log`);
    options.onCommand?.(command, index, log);
    await runCommand(command, tools[command.tool], log, options);
  }
  return plan.binaries;
}

async function runCommand(command: SdkCommand, program: string, log: string, options: RunOptions): Promise<void> {
  const { tool, target, writes } = command;
  const partial = `${target}.partial`;
  const isFile = writes.includes(target);
  const written = isFile ? join(partial, basename(target)) : partial;
  const place = (path: string): string => join(partial, relative(isFile ? dirname(target) : target, path));
  await rm(partial, { recursive: true, force: true }); // of a run that was interrupted
  await mkdir(partial, { recursive: true });
  try {
    const args = command.args.map((arg) => (arg === target ? written : arg));
    const env = sdkEnvironment(options);
    const code = await runLogged(program, args, log, options.signal ? { env, signal: options.signal } : { env });
    if (code !== 0) throw await failure(tool, 'to succeed', code === null ? 'a signal' : `exit code ${code}`, log);
    for (const path of writes) {
      const isThere = await stat(place(path)).then(
        (entry) => entry.isFile(),
        () => false,
      );
      if (!isThere) throw await failure(tool, `it to write ${basename(path)}`, 'no such file', log);
    }
    for (const path of writes) {
      await mkdir(dirname(path), { recursive: true });
      await rename(place(path), path);
    }
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

async function failure(tool: string, expected: string, received: string, log: string): Promise<DeviceError> {
  return new DeviceError(tool, expected, received, `The end of ${log}:\n${await tailOf(log)}`);
}

async function writeWhole(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.partial`, text);
  await rename(`${path}.partial`, path);
}
