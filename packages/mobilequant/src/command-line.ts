/** Finds the command, runs it, and turns what happens into output and an exit status. */

import { type Command, StoppedError, type Surroundings } from './command.ts';
import { all } from './commands/all.ts';
import { convert } from './commands/convert.ts';
import { deviceBenchmark } from './commands/device-benchmark.ts';
import { deviceCompile } from './commands/device-compile.ts';
import { deviceEmulate } from './commands/device-emulate.ts';
import { deviceList } from './commands/device-list.ts';
import { encodings } from './commands/encodings.ts';
import { evaluate } from './commands/evaluate.ts';
import { exportCommand } from './commands/export.ts';
import { generateCommand } from './commands/generate.ts';
import { lint } from './commands/lint.ts';
import { merge } from './commands/merge.ts';
import { observeCommand } from './commands/observe.ts';
import { quantize } from './commands/quantize.ts';
import { reportCommand } from './commands/report.ts';
import { describeOptions, flag, type Options, readArguments, UsageError } from './options.ts';
import { toolVersion } from './version.ts';

const COMMANDS: readonly Command[] = [
  quantize,
  observeCommand,
  evaluate,
  reportCommand,
  merge,
  exportCommand,
  lint,
  convert,
  all,
  encodings,
  generateCommand,
  deviceCompile,
  deviceEmulate,
  deviceBenchmark,
  deviceList,
];

const COMMON: Options = { help: flag('show this'), verbose: flag('show where an error comes from') };

/** Exit statuses. */
const [OK, FAILED, MISUSED, STOPPED] = [0, 1, 2, 130];

/** Names of errors that mean that the user stopped the command; the last is that of an `AbortSignal`. */
const STOPS = ['StoppedError', 'InterruptedError', 'AbortError'];

/**
 * Runs `mobilequant ARGS`.
 *
 * @returns the exit status: 0 done, 1 failed, 2 called wrongly, 130 stopped by the user
 */
export async function runCommandLine(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { print, report } = surroundings;
  try {
    const [name] = args;
    if (name === undefined) throw new UsageError(`expected a command.\n\n${overview()}`);
    if (name === '--help' || name === '-h' || name === 'help') {
      print(overview());
      return OK;
    }
    if (name === '--version') {
      print(toolVersion());
      return OK;
    }
    const group = COMMANDS.filter((candidate) => candidate.name.startsWith(`${name} `));
    if (group.length > 0 && (args[1] === '--help' || args[1] === '-h')) {
      print(list(group));
      return OK;
    }
    const { command, rest } = commandIn(args);
    if (rest.includes('--help') || rest.includes('-h')) {
      print(help(command));
      return OK;
    }
    const { values, positionals } = readArguments(rest, { ...command.options, ...COMMON }, command.positionals);
    await command.run(values as never, positionals, surroundings);
    return OK;
  } catch (error) {
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
    report(`mobilequant: ${name === 'AbortError' ? new StoppedError().message : message}`);
    if (args.includes('--verbose') && stack) report(stack);
    return name === 'UsageError' ? MISUSED : STOPS.includes(name) ? STOPPED : FAILED;
  }
}

/** The command that the first words name: one, or that of a group and its own. */
function commandIn(args: readonly string[]): { readonly command: Command; readonly rest: readonly string[] } {
  for (const words of [1, 2]) {
    const command = COMMANDS.find(({ name }) => name === args.slice(0, words).join(' '));
    if (command) return { command, rest: args.slice(words) };
  }
  const [first = '', second] = args;
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `));
  const known = (group.length > 0 ? group : COMMANDS).map(({ name }) => name).join(', ');
  const given = group.length > 0 && second !== undefined ? `${first} ${second}` : first;
  throw new UsageError(`expected a command: ${known}, got '${given}'.`);
}

const usage = ({ name, positionals }: Command): string => ['mobilequant', name, ...positionals, '[options]'].join(' ');

function overview(): string {
  return `Integer-only quantization of small language models.\n\n${list(COMMANDS)}\n\nmobilequant COMMAND --help says more.`;
}

const list = (commands: readonly Command[]): string =>
  commands.map((command) => `  ${usage(command).padEnd(48)}${command.summary}`).join('\n');

function help(command: Command): string {
  const parts = [
    `${usage(command)}\n\n${command.summary}`,
    describeOptions({ ...command.options, ...COMMON }),
    command.notes,
  ];
  return parts.filter((part) => part !== undefined).join('\n\n');
}
