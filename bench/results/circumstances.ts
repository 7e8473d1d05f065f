/** Under what something was measured, and what files were measured: hashes. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import type { Circumstances } from './record.ts';

/** The commit and whether the sources differ from it, versions, the machine. */
export async function circumstances(threads: number): Promise<Circumstances> {
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    commit: commit(),
    node: process.versions.node,
    onnxruntime: await packageVersion('onnxruntime-node'),
    machine: `${processors.length} × ${processors[0]?.model.trim() || process.arch}`,
    threads,
    load: loadavg()[0] ?? 0,
  };
}

function commit(): string {
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8', cwd: import.meta.dirname }).trim();
  const changed = git('status', '--porcelain', '--untracked-files=no', '--', '../../packages') !== '';
  return git('rev-parse', '--short', 'HEAD') + (changed ? ' (changed)' : '');
}

async function packageVersion(name: string): Promise<string> {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version;
}

const hashes = new Map<string, Promise<string>>();

/** SHA-256 of a file; of ids in one, `FILE:TENSOR`, of the file and the tensor's name. Computed once. */
export function fileHash(source: string): Promise<string> {
  const known = hashes.get(source) ?? hashOf(source);
  hashes.set(source, known);
  return known;
}

async function hashOf(source: string): Promise<string> {
  const [, file = source, tensor = ''] = /^(.*\.safetensors):(.+)$/.exec(source) ?? [];
  const hash = createHash('sha256').update(tensor);
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** One hash of a model directory's config, tokenizer and weights, and the bytes of its weights. */
export async function modelHash(directory: string): Promise<{ hash: string; bytes: number }> {
  const names = (await readdir(directory))
    .filter((name) => /^(config|tokenizer)\.json$|\.safetensors$/.test(name))
    .sort();
  const hash = createHash('sha256');
  let bytes = 0;
  for (const name of names) {
    hash.update(`${name} ${await fileHash(join(directory, name))}\n`);
    if (name.endsWith('.safetensors')) bytes += (await stat(join(directory, name))).size;
  }
  return { hash: hash.digest('hex'), bytes };
}
