/** Phones, through Android's `adb`. Nothing goes through a shell on this side; the phone's is given quoted words. */
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { DeviceError, printable } from './errors.ts';
import { findTools } from './find-tools.ts';
import { type Captured, capture, lastLines, type ProcessOptions } from './process.ts';

/** A line of `adb devices`. */
export interface AdbDevice {
  readonly serial: string;
  /** `device` is ready; others are `unauthorized`, `offline`, … */
  readonly state: string;
}

/** One phone. All paths on it are absolute. */
export interface Adb {
  readonly serial: string;
  /** Copies a file to the phone. @throws DeviceError if that fails. */
  readonly push: (local: string, remote: string) => Promise<void>;
  /** Copies a file from the phone; it has its name here when it is whole. @throws DeviceError if that fails. */
  readonly pull: (remote: string, local: string) => Promise<void>;
  /** Runs a line of the phone's shell: quote what is in it with `remoteQuote`. @returns what it prints. @throws DeviceError if it fails. */
  readonly shell: (line: string) => Promise<string>;
}

export interface AdbOptions extends ProcessOptions {
  /** Path of the program. Default: where `findTools` finds it. */
  readonly adb?: string;
}

/** A word for the phone's shell, whatever is in it. */
export const remoteQuote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** The phones that adb knows, ready or not. @throws DeviceError if adb cannot be run. */
export async function listDevices({ adb, ...options }: AdbOptions = {}): Promise<AdbDevice[]> {
  const { stdout } = await succeed(adb ?? (await findAdb(options)), ['devices'], options);
  return stdout
    .split('\n')
    .map((line) => /^(\S+)\t(.+)$/.exec(printable(line).trim()))
    .flatMap((match) => (match ? [{ serial: match[1] as string, state: match[2] as string }] : []));
}

/**
 * The phone of a serial number, or the only one.
 *
 * @throws DeviceError if there is none, or more than one to choose from, or if it is not ready.
 */
export async function connectPhone({
  serial,
  ...options
}: AdbOptions & { readonly serial?: string } = {}): Promise<Adb> {
  const adb = options.adb ?? (await findAdb(options));
  const devices = await listDevices({ ...options, adb });
  const shown = devices.map((device) => `${device.serial} (${device.state})`).join(', ') || 'none';
  const found = serial === undefined ? devices : devices.filter((device) => device.serial === serial);
  const [device] = found;
  if (!device) {
    const expected = serial === undefined ? 'a phone' : `the phone ${serial}`;
    throw new DeviceError('adb', expected, shown, 'Connect it and allow debugging in its developer options.');
  }
  if (found.length > 1) throw new DeviceError('adb', 'one phone', shown, 'Name one by its serial number.');
  if (device.state !== 'device') {
    const advice = device.state === 'unauthorized' ? 'Allow this computer on its screen.' : 'Connect it again.';
    throw new DeviceError(`adb: ${device.serial}`, 'a phone that is ready', device.state, advice);
  }
  return phone(device.serial, { ...options, adb });
}

const findAdb = async ({ env }: AdbOptions): Promise<string> => (await findTools(['adb'], env ? { env } : {})).adb;

function phone(serial: string, { adb, ...options }: AdbOptions & { readonly adb: string }): Adb {
  const run = (args: readonly string[]): Promise<Captured> => succeed(adb, ['-s', serial, ...args], options);
  return {
    serial,
    async push(local, remote) {
      await run(['push', resolve(local), checkRemote(remote)]);
    },
    async pull(remote, local) {
      const partial = `${resolve(local)}.partial`;
      await mkdir(dirname(partial), { recursive: true });
      try {
        await run(['pull', checkRemote(remote), partial]);
        await rename(partial, local);
      } finally {
        await rm(partial, { force: true });
      }
    },
    shell: async (line) => (await run(['shell', line])).stdout,
  };
}

function checkRemote(path: string): string {
  if (path.startsWith('/') && printable(path) === path && !/[\r\n]/.test(path)) return path;
  throw new DeviceError('adb', 'an absolute path on the phone', `'${printable(path)}'`, 'Begin it with /.');
}

async function succeed(adb: string, args: readonly string[], options: ProcessOptions): Promise<Captured> {
  const result = await capture(adb, args, options);
  if (result.code === 0) return result;
  const verb = args[0] === '-s' ? args[2] : args[0];
  const received = result.code === null ? 'a signal' : `exit code ${result.code}`;
  const said = lastLines(result.stderr.trim() === '' ? result.stdout : result.stderr);
  throw new DeviceError(`adb ${verb}`, 'to succeed', received, `It said:\n${said}`);
}
