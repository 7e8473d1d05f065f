/**
 * A checkpoint's tensors against its config: every one there, of the right shape, and none that the decoder would leave out. Only
 * shapes are looked at, so a model that does not fit together is found out before anything is computed.
 */
import type { DecoderConfig } from './config.ts';
import { decoderTensors } from './decoder-tensors.ts';
import { deriveWeights } from './derived-weights.ts';
import { headName, type Weights } from './weights.ts';

/** A tensor that a decoder of this config needs and does not have, or has and does not use. */
export class WeightsError extends Error {
  override readonly name = 'WeightsError';
  readonly tensor: string;
  readonly expected: string;
  readonly received: string;

  constructor(tensor: string, expected: string, received: string, advice: string) {
    super(`weights: expected ${expected}, got ${received}. ${advice}`);
    this.tensor = tensor;
    this.expected = expected;
    this.received = received;
  }
}

const HEAD = 'lm_head.weight';

/**
 * The weights of a decoder. Where the config ties the head to the embedding, a head of its own is hidden, as in Hugging Face's
 * implementation.
 *
 * @throws WeightsError for a tensor that is missing, of another shape, or unknown.
 */
export function checkedWeights(config: DecoderConfig, weights: Weights): Weights {
  const known = new Set<string>();
  for (const { name, shape, optional } of decoderTensors(config)) {
    known.add(name);
    if (!weights.has(name)) {
      if (optional) continue;
      throw new WeightsError(name, `a tensor '${name}' [${shape.join(', ')}]`, 'none', adviceOn(name));
    }
    const stored = weights.shape(name);
    if (stored.length === shape.length && stored.every((d, axis) => d === shape[axis])) continue;
    const expected = `'${name}' to be [${shape.join(', ')}], as config.json says`;
    throw new WeightsError(name, expected, `[${stored.join(', ')}]`, 'Check that the weights belong to the config.');
  }
  const unknown = weights.names().find((name) => !known.has(name));
  if (unknown !== undefined) {
    const expected = `only tensors of a decoder of ${config.layers} layers with these switches`;
    const advice = 'The decoder would leave it out; remove it if it does not matter.';
    throw new WeightsError(unknown, expected, `'${unknown}'`, advice);
  }
  return config.tiedEmbeddings && headName(weights) === HEAD
    ? deriveWeights(weights, new Map(), new Set([HEAD]))
    : weights;
}

const adviceOn = (name: string): string =>
  name === HEAD
    ? 'Set tie_word_embeddings to true in config.json if the head is the embedding.'
    : 'Check that the weights belong to the config, and that all files are there.';
