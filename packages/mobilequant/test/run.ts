/** The command line in a test: run in this process, with what it wrote. */
import { runCommandLine } from '../src/index.ts';

export interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly reports: string;
  /** Lines that replaced each other. */
  readonly statuses: readonly string[];
}

/** `mobilequant ARGS`, started in a directory. */
export async function run(directory: string, args: readonly string[]): Promise<Outcome> {
  const [out, reports, statuses]: [string[], string[], string[]] = [[], [], []];
  const status = await runCommandLine(args, {
    print: (line) => out.push(line),
    report: (line) => reports.push(line),
    status: (line) => statuses.push(line),
    signal: new AbortController().signal,
    directory,
  });
  return { status, out: out.join('\n'), reports: reports.join('\n'), statuses };
}
