/** Programs, run without a shell between. */
import { spawn } from 'node:child_process';
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { DeviceError, printable } from './errors.ts';

export interface ProcessOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

export interface CaptureOptions extends ProcessOptions {
  /** What the program reads. Default: nothing. */
  readonly input?: string;
  /** Called with each line that it prints, as soon as it is whole. */
  readonly onLine?: (line: string) => void;
}

export interface Captured {
  /** 0 is success; nothing if a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const MOST_OUTPUT = 64 * 2 ** 20;
const TAIL_LINES = 20;
const TAIL_BYTES = 8192;

/** Runs a program and keeps what it says. @throws DeviceError if it cannot be started, or says more than 64 MiB. */
export function capture(
  program: string,
  args: readonly string[],
  { input, onLine, ...options }: CaptureOptions = {},
): Promise<Captured> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => {}); // of a program that ends before it has read all: its exit code says why
    child.stdin.end(input);
    if (onLine) createInterface(child.stdout).on('line', onLine);
    const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    let size = 0;
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].on('data', (part: Buffer) => {
        parts[stream].push(part);
        size += part.length;
        if (size <= MOST_OUTPUT) return;
        child.kill();
        reject(new DeviceError(program, `at most ${MOST_OUTPUT} bytes of output`, 'more', 'Look at what it prints.'));
      });
    }
    child.on('error', (cause: NodeJS.ErrnoException) => reject(notStarted(program, cause)));
    child.on('close', (code, signal) => {
      const text = (stream: 'stdout' | 'stderr') => Buffer.concat(parts[stream]).toString('utf8');
      resolve({ code, signal, stdout: text('stdout'), stderr: text('stderr') });
    });
  });
}

/** Runs a program with its output in a file. @returns its exit code. @throws DeviceError if it cannot be started. */
export async function runLogged(
  program: string,
  args: readonly string[],
  log: string,
  options: ProcessOptions = {},
): Promise<number | null> {
  await mkdir(dirname(log), { recursive: true });
  const file = await open(log, 'w');
  try {
    return await new Promise((resolve, reject) => {
      const child = spawn(program, args, { ...options, stdio: ['ignore', file.fd, file.fd] });
      child.on('error', (cause: NodeJS.ErrnoException) => reject(notStarted(program, cause)));
      child.on('close', resolve);
    });
  } finally {
    await file.close();
  }
}

/** The last lines of a log, fit for a terminal. */
export async function tailOf(log: string): Promise<string> {
  const file = await open(log, 'r');
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES));
    await file.read(bytes, 0, bytes.length, size - bytes.length);
    return lastLines(bytes.toString('utf8'));
  } finally {
    await file.close();
  }
}

export const lastLines = (text: string): string =>
  printable(text.slice(-TAIL_BYTES)).trimEnd().split('\n').slice(-TAIL_LINES).join('\n');

function notStarted(program: string, cause: NodeJS.ErrnoException): Error {
  if (cause.name === 'AbortError') return cause;
  const received = cause.code === 'ENOENT' ? 'no such file' : String(cause.code ?? cause.message);
  return new DeviceError(program, 'a program that can be run', received, 'Check its path and permissions.', { cause });
}
