/** A command: its name, its options, and what it does with them. */
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import type { Runtime } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { flag, integer, type Option, type Options, type OptionValues, text } from './options.ts';

/** What a command talks to. */
export interface Surroundings {
  /** Results. */
  readonly print: (line: string) => void;
  /** What is on the way, and what the user should know. */
  readonly report: (line: string) => void;
  /** A line that the next one replaces, where that is possible. */
  readonly status: (line: string) => void;
  /** Stops the command. */
  readonly signal: AbortSignal;
  /** What relative paths start from. */
  readonly directory: string;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** What must be given before the options. */
  readonly positionals: readonly string[];
  readonly options: Options;
  /** More help, below the options. */
  readonly notes?: string;
  run(values: never, positionals: readonly string[], surroundings: Surroundings): Promise<void>;
}

/** A command whose `run` has the types of its options. */
export function command<O extends Options>(
  definition: Omit<Command, 'options' | 'run'> & {
    readonly options: O;
    run(values: OptionValues<O>, positionals: readonly string[], surroundings: Surroundings): Promise<void>;
  },
): Command & { readonly options: O } {
  return definition;
}

/** The options of every command that computes. */
export const runtimeOptions: Readonly<{
  threads: Option<number>;
  providers: Option<string>;
  json: Option<boolean>;
}> = {
  threads: integer('N', 'threads of the runtime', 1, availableParallelism()),
  providers: text('NAME,…', 'execution providers of ONNX Runtime, first choice first', 'cpu'),
  json: flag('print the result as one JSON object'),
};

/** The runtime that the options ask for. */
export const runtimeFrom = ({
  threads,
  providers,
}: {
  readonly threads: number;
  readonly providers: string;
}): Runtime => nodeRuntime({ threads, executionProviders: providers.split(',') });

/** A path as the user means it. */
export const pathFrom = ({ directory }: Surroundings, path: string): string => resolve(directory, path);

/** The command was told to stop, most often before it had anything to keep. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError';

  constructor(message = 'stopped; nothing was written.') {
    super(message);
  }
}

/** Throws if the command was told to stop. */
export function checkStopped(signal: AbortSignal): void {
  if (signal.aborted) throw new StoppedError();
}
