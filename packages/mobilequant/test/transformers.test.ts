/**
 * The way back: model directories that are written here mean the same to the transformers library. Wants Python with
 * `scripts/oracle/requirements.txt`: `MOBILEQUANT_ORACLE=PYTHON pnpm test packages/mobilequant/test/transformers`.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCheckpoint, writeSafetensors } from '@mobilequant/checkpoint/node';
import { checkpointForm, createDecoder, languageModel, toCheckpoint } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readModel } from '../src/read-model.ts';

const python = process.env['MOBILEQUANT_ORACLE'];
const at = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const manifest = JSON.parse(readFileSync(at('packages/core/test/fixtures/manifest.json'), 'utf8')) as Record<
  string,
  { transformers: string }
>;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mobilequant-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Writes the directory of a fixture anew, and the logits that we compute from what was written. */
async function rewrite(name: string): Promise<readonly [directory: string, file: string]> {
  const directory = join(folder, name);
  const { weights, checkpoint } = await readModel(at(`packages/core/test/fixtures/${name}`));
  const stored = toCheckpoint(checkpointForm(checkpoint.config), weights);
  await writeCheckpoint(directory, { from: checkpoint, weights: stored, dtype: 'float32' });

  const written = await readModel(directory);
  const { vocab } = written.config;
  const model = languageModel(createDecoder(nodeRuntime(), written.config, written.weights));
  const ids = Int32Array.from({ length: 20 }, (_, i) => (37 * i + 11) % vocab);
  const logits = await model.logits(ids);
  await writeSafetensors(`${directory}.safetensors`, [
    { name: 'input_ids', dtype: 'int32', shape: [1, ids.length], data: () => ids },
    { name: 'logits', dtype: 'float32', shape: [1, ids.length, vocab], data: () => logits },
  ]);
  return [directory, `${directory}.safetensors`];
}

test.skipIf(!python)('transformers computes our logits from directories that were written here', async () => {
  const command = resolve(process.env['INIT_CWD'] ?? '.', python as string);
  const ask = (...args: string[]) => execFileSync(command, args, { encoding: 'utf8' }).trim();
  const version = Number.parseInt(ask('-c', 'import transformers; print(transformers.__version__)'), 10);
  // an older version does not understand the configs of a newer one
  const names = Object.keys(manifest).filter(
    (name) => Number.parseInt(manifest[name]?.transformers ?? '', 10) <= version,
  );

  const pairs: string[] = [];
  for (const name of names) pairs.push(...(await rewrite(name)));
  const out = ask(at('scripts/oracle/check_converted.py'), ...pairs);
  expect(out.split('\n')).toHaveLength(names.length);
});
