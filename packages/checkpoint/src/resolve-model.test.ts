import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { messageOf, temporaryDirectory } from '../test/temporary-directory.ts';
import { writeTinyCheckpoint } from '../test/tiny-checkpoint.ts';
import { openCheckpoint } from './checkpoint.ts';
import type { DownloadProgress } from './hub-revision.ts';
import { resolveModel } from './resolve-model.ts';

type Change = (entry: { path: string; size: number; lfs?: { oid: string } }) => object;

/** A hub with one repository, in the answers that its protocol gives. */
function fakeHub(files: ReadonlyMap<string, Uint8Array>, change: Change = (entry) => entry) {
  const requests: string[] = [];
  const answer = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const url = new URL(String(input));
    requests.push(url.pathname);
    if (url.pathname.startsWith('/api/models/org/tiny/tree/main')) {
      const list = [...files].map(([path, bytes]) => {
        const oid = createHash('sha256').update(bytes).digest('hex');
        const lfs = /\.(safetensors|bin|gguf)$/.test(path)
          ? { lfs: { oid, size: bytes.length, pointerSize: 130 } }
          : {};
        return { type: 'file', oid: 'git', ...change({ path, size: bytes.length, ...lfs }) };
      });
      return Response.json([...list, { type: 'directory', path: 'onnx', size: 0 }]);
    }
    const bytes = files.get(url.pathname.replace('/org/tiny/resolve/main/', ''));
    if (!bytes) return new Response('Not found', { status: 404 });
    const range = new Headers(init?.headers).get('Range')
      ? { 'Content-Range': `bytes 0-0/${bytes.length}` }
      : undefined;
    const headers = { ETag: '"x"', ...range };
    return new Response(range ? bytes.slice(0, 1) : bytes.slice(), { status: range ? 206 : 200, headers });
  };
  return { requests, fetch: answer as typeof fetch };
}

/** The files of a small model, and some that nobody needs. */
async function repository(options = {}): Promise<Map<string, Uint8Array>> {
  const directory = await temporaryDirectory();
  await writeTinyCheckpoint(directory, options);
  const names = await readdir(directory);
  const files = await Promise.all(
    names.map(async (name) => [name, new Uint8Array(await readFile(join(directory, name)))] as const),
  );
  return new Map([...files, ['README.md', Uint8Array.of(1)], ['pytorch_model.bin', Uint8Array.of(2)]]);
}

test('a directory is used as it is, without asking anybody', async () => {
  const directory = await temporaryDirectory();
  const fetch = () => Promise.reject(new Error('asked'));
  expect(await resolveModel(directory, { fetch })).toBe(directory);
});

test.each([
  ['single', {}],
  ['sharded', { maxShardBytes: 64 }],
])('a %s model is downloaded once, only what is needed, with progress', async (_, options) => {
  const cacheDir = await temporaryDirectory();
  const files = await repository(options);
  const { fetch, requests } = fakeHub(files);
  const progress: DownloadProgress[] = [];
  const directory = await resolveModel('org/tiny', { cacheDir, fetch, onProgress: (step) => progress.push(step) });

  const wanted = [...files.keys()].filter((file) => !['README.md', 'pytorch_model.bin'].includes(file)).sort();
  expect((await readdir(directory)).sort()).toEqual(wanted);
  for (const file of wanted) expect(new Uint8Array(await readFile(join(directory, file)))).toEqual(files.get(file));
  expect((await openCheckpoint(directory)).weights.names()).toHaveLength(6);
  expect(new Set(progress.map(({ file }) => file))).toEqual(new Set(wanted));
  expect(progress.at(-1)?.received).toBe(progress.at(-1)?.total);
  expect(await readdir(join(cacheDir, 'org--tiny'))).toEqual(['main']);

  const asked = requests.length;
  expect(await resolveModel('org/tiny', { cacheDir, fetch })).toBe(directory);
  expect(requests).toHaveLength(asked);
});

const companions = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];

/** What is downloaded of a repository with these weights beside the companions. */
async function downloaded(weights: readonly string[], name = 'org/tiny'): Promise<string[] | string> {
  const cacheDir = await temporaryDirectory();
  const { fetch } = fakeHub(new Map([...companions, ...weights].map((file) => [file, Uint8Array.of(1)])));
  const attempt = resolveModel(name, { cacheDir, fetch });
  const path = await attempt.catch((error: Error) => error.message);
  if (/\.gguf$/.test(path)) expect(await readFile(path)).toHaveLength(1);
  return readdir(/\.gguf$/.test(path) ? dirname(path) : path).then(
    (files) => files.sort(),
    () => path.replace(/.*downloading failed: /, ''),
  );
}

test('of the forms of a model, the safest that is there is downloaded', async () => {
  const index = 'pytorch_model.bin.index.json';
  const parts = ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin'];
  const others = ['training_args.bin', 'optimizer.bin', 'x.gguf'];
  expect(await downloaded(['model.safetensors', 'pytorch_model.bin', 'x.gguf'])).toEqual(
    [...companions, 'model.safetensors'].sort(),
  );
  expect(await downloaded(['pytorch_model.bin', ...others])).toEqual([...companions, 'pytorch_model.bin'].sort());
  expect(await downloaded([index, ...parts, ...others])).toEqual([...companions, index, ...parts].sort());
  expect(await downloaded(['x.gguf', 'mmproj-x.gguf'])).toEqual(['x.gguf']);
});

test('one of several GGUF files is downloaded by its name', async () => {
  const files = ['x-Q4_0.gguf', 'x-Q8_0.gguf'];
  expect(await downloaded(files, 'org/tiny:x-Q8_0.gguf')).toEqual(['x-Q8_0.gguf']);
  expect(await downloaded(['model.safetensors', ...files], 'org/tiny:x-Q4_0.gguf')).toEqual(['x-Q4_0.gguf']);
  expect(await downloaded(files)).toMatchInlineSnapshot(
    `"the repository has several GGUF files: name one of x-Q4_0.gguf, x-Q8_0.gguf as org/model:file.gguf. Check the name and the connection, or give a path."`,
  );
  expect(await downloaded(files, 'org/tiny:x.gguf')).toMatchInlineSnapshot(
    `"the repository has no x.gguf, only x-Q4_0.gguf, x-Q8_0.gguf. Check the name and the connection, or give a path."`,
  );
  expect(await downloaded(['x-00001-of-00002.gguf'])).toMatchInlineSnapshot(
    `"x-00001-of-00002.gguf is a part of a model, and only whole ones are read. Check the name and the connection, or give a path."`,
  );
});

test('a GGUF file on disk is used as it is', async () => {
  const path = join(await temporaryDirectory(), 'x.gguf');
  await expect(resolveModel(path)).rejects.toThrow('no such directory or file');
  await writeFile(path, '');
  expect(await resolveModel(path)).toBe(path);
});

test('a download that is not what the hub announced leaves nothing', async () => {
  const cacheDir = await temporaryDirectory();
  const files = await repository();
  const attempt = (change: Change, without = /^$/) => {
    const kept = new Map([...files].filter(([path]) => !without.test(path)));
    return messageOf(resolveModel('org/tiny', { cacheDir, fetch: fakeHub(kept, change).fetch }), cacheDir);
  };
  const longer: Change = (entry) => (entry.path === 'config.json' ? { ...entry, size: entry.size + 1 } : entry);
  const other: Change = (entry) => (entry.lfs ? { ...entry, lfs: { ...entry.lfs, oid: '0'.repeat(64) } } : entry);
  expect(await attempt(longer)).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, a GGUF file, or a model on the hub, got no such directory or file, and downloading failed: config.json has 63 bytes, 62 came. Check the name and the connection, or give a path."`,
  );
  expect(await attempt(other)).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, a GGUF file, or a model on the hub, got no such directory or file, and downloading failed: model.safetensors came with a wrong SHA-256. Check the name and the connection, or give a path."`,
  );
  expect(await attempt((entry) => entry, /^model.safetensors$|bin$/)).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, a GGUF file, or a model on the hub, got no such directory or file, and downloading failed: the repository has no model.safetensors, pytorch_model.bin, or GGUF file, only config.json, generation_config.json, tokenizer.json, tokenizer_config.json, README.md. Check the name and the connection, or give a path."`,
  );
  expect(await readdir(join(cacheDir, 'org--tiny')).catch(() => [])).toEqual([]);
});

test('without a connection, or with a wrong name, the error says both things that were tried', async () => {
  const cacheDir = await temporaryDirectory();
  const offline = () => Promise.reject(new TypeError('fetch failed', { cause: new Error('getaddrinfo ENOTFOUND') }));
  expect(await messageOf(resolveModel('org/tiny', { cacheDir, fetch: offline }), cacheDir)).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, a GGUF file, or a model on the hub, got no such directory or file, and downloading failed: fetch failed (getaddrinfo ENOTFOUND). Check the name and the connection, or give a path."`,
  );
  const { fetch } = fakeHub(new Map());
  expect(await messageOf(resolveModel('org/other', { cacheDir, fetch }), cacheDir)).toMatchInlineSnapshot(
    `"CheckpointError: org/other: expected a model directory, a GGUF file, or a model on the hub, got no such directory or file, and downloading failed: Api error with status 404. URL: . Check the name and the connection, or give a path."`,
  );
});

test.each([
  './missing',
  '../org/tiny',
  'org/../tiny',
  'tiny',
  'a/b/c',
  '/abs/olute',
  'org/.git',
  'org/tiny:',
  'org/tiny:a.bin',
  'org/tiny:../a.gguf',
  'org/tiny:.gguf',
  'a:b.gguf',
])('%s is a path that does not exist, not a name to download', async (name) => {
  const fetch = () => Promise.reject(new Error('asked'));
  await expect(resolveModel(name, { fetch })).rejects.toThrow(
    'no such directory or file, and not a name of the form org/model or org/model:file.gguf',
  );
});

test('a revision cannot lead out of the cache', async () => {
  const cacheDir = await temporaryDirectory();
  await mkdir(join(cacheDir, 'org--tiny', 'refs--pr--1'), { recursive: true });
  expect(await resolveModel('org/tiny', { cacheDir, revision: 'refs/pr/1' })).toBe(
    join(cacheDir, 'org--tiny', 'refs--pr--1'),
  );
  await expect(resolveModel('org/tiny', { cacheDir, revision: '../..' })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[RangeError: resolveModel: expected a branch, tag or commit, got '../..'.]`,
  );
});
