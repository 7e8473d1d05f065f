#!/usr/bin/env node
/** The program `mobilequant`: the process's streams, signals and exit status around `runCommandLine`. */
import { runCommandLine } from './command-line.ts';

const STATUS_SECONDS = 10; // between status lines where one cannot replace another

const ECHO_SECONDS = 0.5; // a package runner may pass on the Ctrl-C that the terminal has sent here already

const stop = new AbortController();
let stopped = 0;
process.on('SIGINT', () => {
  if (stop.signal.aborted && performance.now() - stopped < ECHO_SECONDS * 1000) return;
  if (stop.signal.aborted) process.exit(130);
  stopped = performance.now();
  write('Stopping after the step at work. Once more to stop at once.\n');
  stop.abort();
});

let shown = false; // a status line stands at the cursor
let last = Number.NEGATIVE_INFINITY;

function write(text: string): void {
  process.stderr.write(shown ? `\n${text}` : text);
  shown = false;
}

function status(line: string): void {
  if (process.stderr.isTTY) {
    process.stderr.write(`\r\x1b[K${line.slice(0, process.stderr.columns - 1)}`);
    shown = true;
  } else if (performance.now() - last > STATUS_SECONDS * 1000) {
    last = performance.now();
    write(`${line}\n`);
  }
}

/** `pnpm mobilequant` runs in the root of the workspace, and says where the user was. */
const ranByScript = process.env['npm_lifecycle_event'] === 'mobilequant';

process.exitCode = await runCommandLine(process.argv.slice(2), {
  print: (line) => process.stdout.write(`${line}\n`),
  report: (line) => write(`${line}\n`),
  status,
  signal: stop.signal,
  directory: (ranByScript && process.env['INIT_CWD']) || process.cwd(),
});
if (shown) process.stderr.write('\n');
