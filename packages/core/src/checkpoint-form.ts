/**
 * How a checkpoint stores a decoder's tensors, and the way from there to the unified names and back.
 *
 *     mlp.gate_proj ↔ mlp.w1        mlp.up_proj ↔ mlp.w3        mlp.down_proj ↔ mlp.w2        (llama and most others)
 *
 * Gemma stores the weights of its norms less one.
 */
import type { Weights } from './weights.ts';

export interface CheckpointForm {
  /** `[theirs, ours]`: a module's path in the checkpoint, or the end of it, and its unified one. */
  readonly renames: readonly (readonly [theirs: string, ours: string])[];
  /** What is added to the weights of root-mean-square norms when they are read. */
  readonly normOffset: number;
}

/** Hugging Face's llama. */
export const LLAMA_FORM: CheckpointForm = {
  renames: [
    ['mlp.gate_proj', 'mlp.w1'],
    ['mlp.up_proj', 'mlp.w3'],
    ['mlp.down_proj', 'mlp.w2'],
  ],
  normOffset: 0,
};

/**
 * The unified name of a checkpoint's tensor.
 *
 * @example
 * unifiedName(LLAMA_FORM, 'model.layers.0.mlp.gate_proj.weight'); // => 'model.layers.0.mlp.w1.weight'
 */
export const unifiedName = ({ renames }: CheckpointForm, name: string): string =>
  renamed(
    name,
    renames.map(([theirs, ours]) => [theirs, ours]),
  );

/** The checkpoint's name of a unified one. */
export const storedName = ({ renames }: CheckpointForm, name: string): string =>
  renamed(
    name,
    renames.map(([theirs, ours]) => [ours, theirs]),
  );

/** Replaces whole dotted segments, once. */
function renamed(name: string, renames: readonly (readonly [from: string, to: string])[]): string {
  const dotted = `.${name}.`;
  const match = renames.find(([from]) => dotted.includes(`.${from}.`));
  return match ? dotted.replace(`.${match[0]}.`, `.${match[1]}.`).slice(1, -1) : name;
}

/** A checkpoint's tensors as the decoder wants them: unified names, weights of norms in full. */
export const fromCheckpoint = (form: CheckpointForm, weights: Weights): Weights =>
  translated(weights, (name) => unifiedName(form, name), form.normOffset);

/** A decoder's tensors as a checkpoint stores them: the way back. */
export const toCheckpoint = (form: CheckpointForm, weights: Weights): Weights =>
  translated(weights, (name) => storedName(form, name), -form.normOffset);

function translated(weights: Weights, rename: (name: string) => string, offset: number): Weights {
  const sources = new Map<string, string>();
  for (const name of weights.names()) {
    const own = rename(name);
    const other = sources.get(own);
    if (other !== undefined)
      throw new Error(`weights: expected one tensor for '${own}', got '${other}' and '${name}'.`);
    sources.set(own, name);
  }
  const sourceOf = (name: string): string => {
    const source = sources.get(name);
    if (source === undefined) throw new Error(`weights: expected a tensor named '${name}', got none.`);
    return source;
  };
  const names = [...sources.keys()];
  return {
    names: () => names,
    has: (name) => sources.has(name),
    shape: (name) => weights.shape(sourceOf(name)),
    async read(name) {
      const tensor = await weights.read(sourceOf(name));
      return offset !== 0 && /norm\.weight$/.test(name) ? tensor.map((w) => w + offset) : tensor;
    },
    readRows: (name, rows) => weights.readRows(sourceOf(name), rows),
  };
}
