import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Outcome, run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

const CLI = fileURLToPath(new URL('../src/cli.ts', import.meta.url));
const SECONDS = 1000;
let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-resume-'));
  await writeTinyModel(join(directory, 'model'));
  await writeFile(join(directory, 'calibration.txt'), tinyText(400, 1));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

const argsOf = (method: string, epochs: number, out: string): string[] => [
  ...['quantize', 'model', '--recipe', 'w4a8', '--calibration', 'calibration.txt', '--samples', '3', '--tokens', '12'],
  ...['--threads', '1', '--method', method, '--epochs', String(epochs), '--out', out],
];

const stateOf = (out: string): string => join(directory, out, 'learning.safetensors');

/** Learns in a process of its own, which gets a signal at a random moment after its first save. */
async function interrupted(
  args: readonly string[],
  out: string,
  signal: NodeJS.Signals,
): Promise<Pick<Outcome, 'status' | 'reports'> & { readonly signal: string | null }> {
  const child = spawn(process.execPath, [CLI, ...args, '--save-every', '0'], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let reports = '';
  child.stderr.on('data', (chunk) => {
    reports += chunk;
  });
  const closed = new Promise<readonly [number | null, string | null]>((resolve) =>
    child.on('close', (code, by) => resolve([code, by])),
  );
  while (!existsSync(stateOf(out)) && child.exitCode === null) await wait(2);
  await wait(Math.random() * 100);
  child.kill(signal);
  const [code, by] = await closed;
  return { status: code ?? -1, signal: by, reports };
}

const written = (out: string): Promise<Buffer[]> =>
  Promise.all(['model.safetensors', 'quantization.json'].map((name) => readFile(join(directory, out, name))));

const filesOf = async (out: string): Promise<string[]> => (await readdir(join(directory, out))).sort();

test.each([
  ['mobilequant', 30],
  ['omniquant', 20],
])(
  '%s, killed at a random moment and resumed, writes the same bytes as undisturbed',
  async (method, epochs) => {
    const [whole, cut] = [`${method}-whole`, `${method}-cut`];
    expect((await interrupted(argsOf(method, epochs, cut), cut, 'SIGKILL')).signal).toBe('SIGKILL'); // else it was done before
    expect(await filesOf(cut)).not.toContain('model.safetensors');

    const refused = await run(directory, argsOf(method, epochs, cut));
    expect(refused).toMatchObject({
      status: 1,
      reports: expect.stringContaining('Resume it, delete that file, or choose another directory.'),
    });

    const { status, statuses } = await run(directory, [...argsOf(method, epochs, cut), '--resume']);
    expect(status).toBe(0);
    const first = statuses.find((line) => !line.startsWith('statistics'));
    expect(Number(/: (\d+) of/.exec(first ?? '')?.[1])).toBeGreaterThan(1); // it did not start again
    expect((await run(directory, argsOf(method, epochs, whole))).status).toBe(0);
    const [undisturbed, resumed] = [await written(whole), await written(cut)];
    undisturbed.forEach((bytes, i) => expect(resumed[i]?.equals(bytes)).toBe(true));
    expect(await filesOf(cut)).toEqual(await filesOf(whole));
  },
  60 * SECONDS,
);

test(
  'stopped by Ctrl-C it saves, says how to go on, and ends with status 130; then damage and other runs are refused',
  async () => {
    const args = argsOf('mobilequant', 2000, 'stopped');
    const { status, reports } = await interrupted(args, 'stopped', 'SIGINT');
    expect({ status, reports }).toEqual({
      status: 130,
      reports: expect.stringContaining('--resume, with the same options'),
    });
    const saved = await readFile(stateOf('stopped'));

    const other = await run(directory, [...argsOf('mobilequant', 1999, 'stopped'), '--resume']);
    expect(other).toMatchObject({ status: 1, reports: expect.stringContaining('expected the state of this run') });

    const flipped = (place: number) => saved.map((byte, i) => (i === place ? byte ^ 0x40 : byte));
    for (const damaged of [
      flipped(saved.length - 1000),
      flipped(40),
      flipped(3),
      saved.subarray(0, saved.length / 2),
      saved.subarray(0, 0),
    ]) {
      await writeFile(stateOf('stopped'), damaged);
      const result = await run(directory, [...args, '--resume']);
      expect(result).toMatchObject({ status: 1, reports: expect.stringContaining('learning.safetensors: expected') });
      expect((await readFile(stateOf('stopped'))).equals(damaged)).toBe(true);
    }
    expect(await filesOf('stopped')).toEqual(['learning.safetensors']);
  },
  60 * SECONDS,
);
