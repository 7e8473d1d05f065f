import type { DecoderConfig } from './config.ts';

/**
 * Where a decoder's tensors come from: read by name, when they are needed, never all at once.
 * Names are the unified ones: `model.embed_tokens.weight`, `model.layers.N.self_attn.q_proj.weight`,
 * `model.layers.N.mlp.w1.weight` (gate), `w3` (up), `w2` (down), `model.norm.weight`, `lm_head.weight`; a checkpoint's own names
 * are translated by `fromCheckpoint`.
 */
export interface Weights {
  /** All names. */
  names(): readonly string[];
  has(name: string): boolean;
  /** Throws for a name that is not there. Linear weights are `[out, in]`. */
  shape(name: string): readonly number[];
  /** The whole tensor in float32, row-major. */
  read(name: string): Promise<Float32Array>;
  /** Some rows of a matrix `[rows, columns]`, one after another (an embedding look-up). */
  readRows(name: string, rows: ArrayLike<number>): Promise<Float32Array>;
}

/** Bytes that a cache keeps at most: models up to 560 million weights, and half of one of a billion. */
const CACHE_BYTES = 2.25e9;

export interface CachedWeights extends Weights {
  /** Lets go of what is kept; what is read from now on is kept again. */
  forget(): void;
}

/**
 * Keeps the tensors that were read, up to so many bytes: one copy in memory, shared by all that read through it. Those beyond are read
 * again each time, so that a large model is slower instead of too large.
 */
export function cachedWeights(weights: Weights, bytes: number = CACHE_BYTES): CachedWeights {
  const tensors = new Map<string, Promise<Float32Array>>();
  let left = bytes;
  return {
    names: () => weights.names(),
    has: (name) => weights.has(name),
    shape: (name) => weights.shape(name),
    readRows: (name, rows) => weights.readRows(name, rows),
    read(name) {
      const known = tensors.get(name);
      if (known !== undefined) return known;
      const tensor = weights.read(name);
      const size = weights.shape(name).reduce((product, d) => product * d, 4);
      if (size <= left) {
        left -= size;
        tensors.set(name, tensor);
      }
      return tensor;
    },
    forget() {
      tensors.clear();
      left = bytes;
    },
  };
}

/** Weights from tensors in memory. */
export function weightsFrom(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>,
): Weights {
  const get = (name: string) => {
    const tensor = tensors.get(name);
    if (!tensor) throw new Error(`weights: expected a tensor named '${name}', got none.`);
    return tensor;
  };
  return {
    names: () => [...tensors.keys()],
    has: (name) => tensors.has(name),
    shape: (name) => get(name).shape,
    read: async (name) => get(name).data,
    readRows: async (name, rows) => rowsOf(get(name).data, get(name).shape[1] as number, rows),
  };
}

/** Rows of a matrix with `columns` columns, one after another. */
export function rowsOf(data: Float32Array, columns: number, rows: ArrayLike<number>): Float32Array {
  const result = new Float32Array(rows.length * columns);
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    result.set(data.subarray(row * columns, (row + 1) * columns), i * columns);
  }
  return result;
}

const layerPrefix = (layer: number): string => `model.layers.${layer}.`;

/** The tensors of one layer by their names in the layer: `self_attn.q_proj.weight`, …. */
export function layerTensorNames(weights: Weights, layer: number): string[] {
  const prefix = layerPrefix(layer);
  return weights.names().flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []));
}

/** Their shapes. */
export function layerShapes(weights: Weights, layer: number): Record<string, readonly number[]> {
  const prefix = layerPrefix(layer);
  return Object.fromEntries(layerTensorNames(weights, layer).map((name) => [name, weights.shape(prefix + name)]));
}

/** And their values. */
export async function readLayer(
  weights: Weights,
  layer: number,
): Promise<Record<string, { data: Float32Array; shape: readonly number[] }>> {
  const prefix = layerPrefix(layer);
  const entries = layerTensorNames(weights, layer).map(async (name) => {
    const full = prefix + name;
    return [name, { data: await weights.read(full), shape: weights.shape(full) }] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** The head's matrix: its own, or the embedding. */
export const headName = (weights: Weights): string =>
  weights.has('lm_head.weight') ? 'lm_head.weight' : 'model.embed_tokens.weight';

/** The site of a tensor: an embedding that is the head's matrix too has the head's encoding. */
export const siteOfTensor = (weights: Weights, name: string): string =>
  name === headName(weights) ? 'lm_head.weight' : name;

/** The head's tensors by their names in `HeadWeights`, with their full names. */
export function headTensors(weights: Weights): Record<string, string> {
  const optional = { 'norm.bias': 'model.norm.bias', 'head.bias': 'lm_head.bias' };
  const there = Object.entries(optional).filter(([, name]) => weights.has(name));
  return { 'norm.weight': 'model.norm.weight', 'head.weight': headName(weights), ...Object.fromEntries(there) };
}

/** Their shapes. */
export const headShapes = (weights: Weights): Record<string, readonly number[]> =>
  Object.fromEntries(Object.entries(headTensors(weights)).map(([own, name]) => [own, weights.shape(name)]));

/** And their values. */
export async function readHead(
  weights: Weights,
): Promise<Record<string, { data: Float32Array; shape: readonly number[] }>> {
  const entries = Object.entries(headTensors(weights)).map(
    async ([own, name]) => [own, { data: await weights.read(name), shape: weights.shape(name) }] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** Token ids → `[tokens, hidden]`, the input of the first block. */
export async function embed(
  { embeddingFactor, hidden }: Pick<DecoderConfig, 'embeddingFactor' | 'hidden'>,
  weights: Weights,
  tokens: Int32Array,
): Promise<{ data: Float32Array; shape: [tokens: number, hidden: number] }> {
  const rows = await weights.readRows('model.embed_tokens.weight', tokens);
  const data = embeddingFactor === 1 ? rows : rows.map((x) => x * embeddingFactor);
  return { data, shape: [tokens.length, hidden] };
}
