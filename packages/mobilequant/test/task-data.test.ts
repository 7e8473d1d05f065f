/** Where the items of tasks come from: Parquet beside JSON, parts, and the hub, which a function plays. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseTask, type Task } from '@mobilequant/evaluator';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readTaskData } from '../src/task-data.ts';

const FIXTURES = fileURLToPath(new URL('fixtures/parquet', import.meta.url)); // by scripts/lm-eval/make_parquet.py

const task: Task = parseTask({
  kind: 'choice',
  name: 'parity',
  version: 1,
  files: ['parity/test.jsonl'],
  hub: { dataset: 'org/parity', config: 'all' },
  prompt: '{question}',
  choices: 'choices.text',
  gold: 'answer',
  metrics: ['acc'],
});

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-data-'));
});
afterEach(() => rm(directory, { recursive: true }));

const put = (fixture: string, name: string): Promise<void> =>
  cp(join(FIXTURES, fixture), join(directory, 'parity', name));
const read = async (options = {}) => {
  const { tasks, hashes } = await readTaskData(directory, [task], false, options);
  return { items: tasks[0]?.items, files: Object.keys(hashes) };
};
const lines = async (): Promise<unknown[]> =>
  (await readFile(join(FIXTURES, 'whole.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('Parquet', () => {
  test('has the items that JSON lines have', async () => {
    await put('whole.parquet', 'test.parquet');
    expect(await read()).toEqual({ items: await lines(), files: ['parity/test.parquet'] });
  });

  test('comes in parts, compressed in one way or another', async () => {
    const parts = ['test-00000-of-00002.parquet', 'test-00001-of-00002.parquet'];
    for (const part of parts) await put(part, part);
    expect(await read()).toEqual({ items: await lines(), files: parts.map((part) => `parity/${part}`) });
    await rm(join(directory, 'parity', parts[0] as string));
    await expect(read()).rejects.toThrow('expected parts 0 to 1 of 2, got 1. Fetch them again.');
  });

  test('stands behind a file that is named', async () => {
    await put('whole.parquet', 'test.parquet');
    await put('whole.jsonl', 'test.jsonl');
    expect((await read()).files).toEqual(['parity/test.jsonl']);
  });

  test('that is broken is an error with its name', async () => {
    await put('whole.parquet', 'test.parquet');
    const bytes = await readFile(join(directory, 'parity/test.parquet'));
    for (const broken of [bytes.subarray(0, 100), Buffer.from('PAR1'), Buffer.alloc(0), bytes.fill(0xff, 4, 900)]) {
      await writeFile(join(directory, 'parity/test.parquet'), broken);
      await expect(read()).rejects.toThrow(/^parity\/test\.parquet: expected a Parquet file, got /);
    }
  });
});

describe('the hub', () => {
  /** A hub with the two parts, in the answers that its protocol gives. */
  function fakeHub() {
    const asked: string[] = [];
    const answer = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
      const path = decodeURIComponent(new URL(String(input)).pathname);
      asked.push(path);
      const names = (await readdir(FIXTURES)).filter((name) => name.startsWith('test-'));
      const converted = (i: number): string => `all/test/000${i}.parquet`;
      if (path === '/api/datasets/org/parity/tree/refs/convert/parquet/all/test') {
        const sizes = await Promise.all(names.map(async (name) => (await readFile(join(FIXTURES, name))).length));
        return Response.json(sizes.map((size, i) => ({ type: 'file', oid: 'git', path: converted(i), size })));
      }
      const index = names.findIndex(
        (_, i) => path === `/datasets/org/parity/resolve/refs/convert/parquet/${converted(i)}`,
      );
      if (index < 0) return new Response('Not found', { status: 404 });
      const bytes = new Uint8Array(await readFile(join(FIXTURES, names[index] as string)));
      const range = new Headers(init?.headers).has('Range') && { 'Content-Range': `bytes 0-0/${bytes.length}` };
      const headers = { ETag: '"x"', ...range };
      return new Response(range ? bytes.slice(0, 1) : bytes, { status: range ? 206 : 200, headers });
    };
    return { asked, fetch: answer as typeof fetch };
  }

  test('is asked for what is missing, once, and only on request', async () => {
    await expect(read()).rejects.toThrow('or fetch it from the hub (--hub)');
    const { asked, fetch } = fakeHub();
    const files = ['parity/test-00000-of-00002.parquet', 'parity/test-00001-of-00002.parquet'];
    expect(await read({ hub: { fetch } })).toEqual({ items: await lines(), files });
    expect(await readdir(join(directory, 'parity'))).toEqual(files.map((file) => file.slice('parity/'.length)));
    const before = asked.length;
    expect((await read({ hub: { fetch } })).files).toEqual(files);
    expect(asked).toHaveLength(before);
  });

  test('that does not have it, or cannot be reached, leaves nothing', async () => {
    const nowhere = (async () => {
      throw new TypeError('fetch failed', { cause: new Error('no route') });
    }) as typeof fetch;
    const empty = (async () => Response.json([])) as unknown as typeof fetch;
    const got = (fetch: typeof globalThis.fetch) => read({ hub: { fetch } });
    await expect(got(nowhere)).rejects.toThrow(
      "org/parity, all: expected a dataset on the hub with a split 'test', got none that can be fetched: fetch failed (no route).",
    );
    await expect(got(empty)).rejects.toThrow('all/test has no .parquet');
    expect(await readdir(join(directory, 'parity')).catch(() => [])).toEqual([]);
  });
});
