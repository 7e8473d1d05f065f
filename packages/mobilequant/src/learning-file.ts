/**
 * The state of learning in a file, `learning.safetensors`: replaced as a whole at each save, so that a run that is killed at any moment
 * leaves either the state before or the state after. A digest of everything in it tells damage from a state.
 */
import { createHash } from 'node:crypto';
import { access, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { LearningState, LearningStore, Tree } from '@mobilequant/calibration';
import { readSafetensors, writeSafetensors } from '@mobilequant/checkpoint/node';

/** A state file that is damaged, or not one. */
export class LearningFileError extends Error {
  override readonly name = 'LearningFileError';
  readonly file: string;

  constructor(file: string, expected: string, received: string, options?: ErrorOptions) {
    super(
      `${file}: expected ${expected}, got ${received}. The file was left as it is; delete it to learn from the start.`,
      options,
    );
    this.file = file;
  }
}

/** A store in one file. Loading throws a LearningFileError for a file that is not a whole state. */
export function learningFile(path: string): LearningStore & { exists(): Promise<boolean>; remove(): Promise<void> } {
  const exists = async (): Promise<boolean> =>
    access(path).then(
      () => true,
      () => false,
    );
  return {
    exists,
    load: async () => ((await exists()) ? load(path) : undefined),
    save: (state) => save(path, state),
    async remove() {
      await rm(path, { force: true });
      for (const name of await readdir(dirname(path)).catch(() => [])) {
        if (name.startsWith(`.${basename(path)}.`) && name.endsWith('.partial'))
          await rm(join(dirname(path), name), { force: true });
      }
    },
  };
}

const TREES = ['parameters', 'first', 'second'] as const;

async function save(path: string, state: LearningState): Promise<void> {
  const tensors = TREES.flatMap((tree) =>
    Object.entries(state[tree]).map(([name, data]) => ({
      name: `${tree}/${name}`,
      dtype: 'float32' as const,
      shape: [data.length],
      data: () => data,
    })),
  );
  const { fingerprint, layer, step } = state;
  await writeSafetensors(path, tensors, {
    fingerprint,
    layer: String(layer),
    step: String(step),
    digest: digestOf(state),
  });
}

async function load(path: string): Promise<LearningState> {
  const { tensors, metadata } = await readSafetensors(path).catch((cause: Error) => {
    throw new LearningFileError(path, 'the state of a learning run', `a file that cannot be read (${cause.message})`, {
      cause,
    });
  });
  const trees: Record<(typeof TREES)[number], Record<string, Float32Array>> = { parameters: {}, first: {}, second: {} };
  for (const [full, { data }] of tensors) {
    const [tree, name] = [full.slice(0, full.indexOf('/')), full.slice(full.indexOf('/') + 1)];
    if (!(data instanceof Float32Array) || !Object.hasOwn(trees, tree))
      throw new LearningFileError(path, 'the state of a learning run', `a tensor '${full}'`);
    trees[tree as keyof typeof trees][name] = data;
  }
  const { fingerprint = '', layer, step, digest } = metadata;
  const state: LearningState = { fingerprint, layer: Number(layer), step: Number(step), ...trees };
  if (digest === undefined)
    throw new LearningFileError(path, 'the state of a learning run', 'a file of something else');
  if (digest !== digestOf(state))
    throw new LearningFileError(path, 'a state with the digest that it says', 'another: the file is damaged');
  return state;
}

/** SHA-256 of everything, whatever the order of the tensors. */
function digestOf(state: LearningState): string {
  const hash = createHash('sha256').update(JSON.stringify([state.fingerprint, state.layer, state.step]));
  for (const tree of TREES)
    for (const name of Object.keys(state[tree]).sort()) hashTensor(hash, `${tree}/${name}`, state[tree], name);
  return hash.digest('hex');
}

function hashTensor(hash: ReturnType<typeof createHash>, full: string, tree: Tree, name: string): void {
  const data = tree[name] as Float32Array;
  hash.update(`${full} ${data.length}\n`).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}
