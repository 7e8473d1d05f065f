import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { messageOf, temporaryDirectory } from '../test/temporary-directory.ts';
import { writeTinyCheckpoint } from '../test/tiny-checkpoint.ts';
import { openCheckpoint } from './checkpoint.ts';
import { type DownloadProgress, resolveModel } from './resolve-model.ts';

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
        const lfs = path.endsWith('.safetensors') ? { lfs: { oid, size: bytes.length, pointerSize: 130 } } : {};
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

test('a download that is not what the hub announced leaves nothing', async () => {
  const cacheDir = await temporaryDirectory();
  const files = await repository();
  const attempt = (change: Change, without?: string) => {
    const kept = new Map([...files].filter(([path]) => path !== without));
    return messageOf(resolveModel('org/tiny', { cacheDir, fetch: fakeHub(kept, change).fetch }), cacheDir);
  };
  const longer: Change = (entry) => (entry.path === 'config.json' ? { ...entry, size: entry.size + 1 } : entry);
  const other: Change = (entry) => (entry.lfs ? { ...entry, lfs: { ...entry.lfs, oid: '0'.repeat(64) } } : entry);
  expect(await attempt(longer)).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, or a model on the hub, got no such directory, and downloading failed: config.json has 63 bytes, 62 came. Check the name and the connection, or give a directory."`,
  );
  expect(await attempt(other)).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, or a model on the hub, got no such directory, and downloading failed: model.safetensors came with a wrong SHA-256. Check the name and the connection, or give a directory."`,
  );
  expect(await attempt((entry) => entry, 'model.safetensors')).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, or a model on the hub, got no such directory, and downloading failed: the repository has no model.safetensors, only config.json, generation_config.json, tokenizer.json, tokenizer_config.json, README.md, pytorch_model.bin. Check the name and the connection, or give a directory."`,
  );
  expect(await readdir(join(cacheDir, 'org--tiny')).catch(() => [])).toEqual([]);
});

test('without a connection, or with a wrong name, the error says both things that were tried', async () => {
  const cacheDir = await temporaryDirectory();
  const offline = () => Promise.reject(new TypeError('fetch failed', { cause: new Error('getaddrinfo ENOTFOUND') }));
  expect(await messageOf(resolveModel('org/tiny', { cacheDir, fetch: offline }), cacheDir)).toMatchInlineSnapshot(
    `"CheckpointError: org/tiny: expected a model directory, or a model on the hub, got no such directory, and downloading failed: fetch failed (getaddrinfo ENOTFOUND). Check the name and the connection, or give a directory."`,
  );
  const { fetch } = fakeHub(new Map());
  expect(await messageOf(resolveModel('org/other', { cacheDir, fetch }), cacheDir)).toMatchInlineSnapshot(
    `"CheckpointError: org/other: expected a model directory, or a model on the hub, got no such directory, and downloading failed: Api error with status 404. URL: . Check the name and the connection, or give a directory."`,
  );
});

test.each(['./missing', '../org/tiny', 'org/../tiny', 'tiny', 'a/b/c', '/abs/olute', 'org/.git'])(
  '%s is a path that does not exist, not a name to download',
  async (name) => {
    const fetch = () => Promise.reject(new Error('asked'));
    await expect(resolveModel(name, { fetch })).rejects.toThrow(
      'no such directory, and not a name of the form org/model',
    );
  },
);

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
