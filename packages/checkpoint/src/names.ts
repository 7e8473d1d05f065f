/**
 * Unified tensor names: those of Hugging Face's llama, with the reference's names for the three matrices of the feed-forward
 * part, so that one decoder serves every architecture.
 *
 *     mlp.gate_proj -> mlp.w1        mlp.up_proj -> mlp.w3        mlp.down_proj -> mlp.w2
 */

const PAIRS = [
  ['mlp.gate_proj', 'mlp.w1'],
  ['mlp.up_proj', 'mlp.w3'],
  ['mlp.down_proj', 'mlp.w2'],
] as const;

/**
 * The unified name of a checkpoint's tensor; a bare decoder's `layers.…`, `embed_tokens.…`, `norm.…` get their `model.`.
 *
 * @example
 * toUnified('model.layers.0.mlp.gate_proj.weight'); // => 'model.layers.0.mlp.w1.weight'
 */
export function toUnified(name: string): string {
  const full = /^(layers|embed_tokens|norm)\./.test(name) ? `model.${name}` : name;
  return PAIRS.reduce((result, [theirs, ours]) => replaceModule(result, theirs, ours), full);
}

/**
 * The Hugging Face name of a unified one.
 *
 * @example
 * toHuggingFace('model.layers.0.mlp.w2.weight'); // => 'model.layers.0.mlp.down_proj.weight'
 */
export function toHuggingFace(name: string): string {
  return PAIRS.reduce((result, [theirs, ours]) => replaceModule(result, ours, theirs), name);
}

/** Whether a tensor is a buffer that is computed anew from the config: the rotary embedding's frequencies. */
export const isComputedBuffer = (name: string): boolean => name.endsWith('rotary_emb.inv_freq');

/** Replaces whole dotted segments only. */
const replaceModule = (name: string, from: string, to: string): string =>
  `.${name}.`.replace(`.${from}.`, `.${to}.`).slice(1, -1);
