/**
 * Norms that only normalise: whatever a norm multiplies by and adds is done by the linears behind it.
 *
 *     W' = W · diag(γ)        b' = b + W · β        γ' = 1, no β'
 *
 * LayerNorm loses its mean first: everything that writes to the residual stream is centred, so that each token's mean is 0. Then
 * its variance is its mean square, and it is a root-mean-square norm of the same epsilon. (SliceGPT, arXiv 2401.15024.)
 */
import {
  type DecoderConfig,
  type DerivedTensor,
  deriveWeights,
  type FloatModel,
  headName,
  type NormForm,
  type Weights,
} from '@mobilequant/core';
import { modulesAfter } from './transform.ts';
import { TransformError } from './transform-error.ts';

export const EMBEDDING = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';
/** What writes to the residual stream, beside the embedding. */
export const WRITERS: readonly string[] = ['self_attn.o_proj', 'mlp.w2'];

/**
 * The same float function with norms before linears that are pure normalisations: each weight 1 (sqrt(hidden) where the norm's form
 * has that in its weight), no bias, no LayerNorm. The head becomes a matrix of its own. Norms of queries and keys, and those behind
 * attention and MLP, have no linear behind them and keep their weights. Tensors are computed when they are read.
 *
 * @throws TransformError for LayerNorms beside other norms, or behind attention and MLP.
 */
export function foldNorms(config: DecoderConfig, weights: Weights): FloatModel {
  return foldScales(centreStream({ config, weights }));
}

interface NormWithLinears {
  readonly norm: string;
  readonly linears: readonly string[];
}

/** The norms of a layer that stand before linears, with these, by their names in the layer. */
export const layerNorms = (config: DecoderConfig): NormWithLinears[] => [
  { norm: 'input_layernorm', linears: modulesAfter('qkv', config) },
  ...(config.residual === 'sequential'
    ? [{ norm: 'post_attention_layernorm', linears: modulesAfter('fc1', config) }]
    : []),
];

/** Those of the whole decoder, by their full names. */
export function normsBeforeLinears(config: DecoderConfig): NormWithLinears[] {
  const layers = Array.from({ length: config.layers }, (_, layer) => `model.layers.${layer}.`);
  const inLayers = layers.flatMap((prefix) =>
    layerNorms(config).map(({ norm, linears }) => ({
      norm: prefix + norm,
      linears: linears.map((linear) => prefix + linear),
    })),
  );
  return [...inLayers, { norm: 'model.norm', linears: ['lm_head'] }];
}

function foldScales({ config, weights }: FloatModel): FloatModel {
  const derived = new Map<string, DerivedTensor>();
  const removed = new Set<string>();
  for (const { norm, linears } of normsBeforeLinears(config)) {
    const unit = unitWeight(norm === 'model.norm' ? config.finalNorm : config.norm, config.hidden);
    const [scale, shift] = [`${norm}.weight`, `${norm}.bias`];
    for (const linear of linears) {
      const source = linear === 'lm_head' ? headName(weights) : `${linear}.weight`;
      const shape = weights.shape(source);
      derived.set(`${linear}.weight`, {
        shape,
        read: async () => columnsTimes(await weights.read(source), await weights.read(scale), unit),
        readRows: async (rows) => columnsTimes(await weights.readRows(source, rows), await weights.read(scale), unit),
      });
      if (!weights.has(shift)) continue;
      const bias = `${linear}.bias`;
      derived.set(bias, {
        shape: shape.slice(0, 1),
        read: async () =>
          addProduct(
            await weights.read(source),
            await weights.read(shift),
            weights.has(bias) ? await weights.read(bias) : undefined,
          ),
      });
    }
    derived.set(scale, { shape: [config.hidden], read: async () => new Float32Array(config.hidden).fill(unit) });
    removed.add(shift);
  }
  const folded = new Set(['input_layernorm', 'post_attention_layernorm', 'model.norm']);
  return {
    config: { ...config, tiedEmbeddings: false, biases: config.biases.filter((module) => !folded.has(module)) },
    weights: deriveWeights(weights, derived, removed),
  };
}

/** The weight of a norm whose outputs have a mean square of 1. */
const unitWeight = (form: NormForm, channels: number): number => (form === 'l2-folded' ? Math.sqrt(channels) : 1);

/** `W · diag(scale / unit)` */
function columnsTimes(matrix: Float32Array, scale: Float32Array, unit: number): Float32Array {
  const columns = scale.length;
  return matrix.map((w, i) => (w * (scale[i % columns] as number)) / unit);
}

/** `bias + W · shift` */
function addProduct(matrix: Float32Array, shift: Float32Array, bias: Float32Array | undefined): Float32Array {
  const columns = shift.length;
  return new Float32Array(matrix.length / columns).map((_, row) => {
    let sum = bias?.[row] ?? 0;
    for (let i = 0; i < columns; i++) sum += (matrix[row * columns + i] as number) * (shift[i] as number);
    return sum;
  });
}

/** LayerNorms as root-mean-square norms over a residual stream (and, where they are normed, queries and keys) of mean 0. */
function centreStream({ config, weights }: FloatModel): FloatModel {
  const { norm, finalNorm, outputNorms, queryKeyNorms, hidden, headDim } = config;
  if (norm !== 'layer' && finalNorm !== 'layer') return { config, weights };
  if (norm !== finalNorm)
    throw new TransformError(
      'foldNorms',
      'LayerNorm everywhere or nowhere',
      `${norm} norms in the layers and ${finalNorm} before the head`,
      'One reads the mean of the residual stream that the other must lose; fold no norms of this model.',
    );
  if (outputNorms)
    throw new TransformError(
      'foldNorms',
      'LayerNorms before attention and MLP only',
      'LayerNorms behind them too',
      'Their weights stand between what is computed and the residual stream; fold no norms of this model.',
    );

  const derived = new Map<string, DerivedTensor>();
  /** Rows (of a matrix's columns, or a vector's entries) in groups, each group with mean 0. */
  const centre = (name: string, group: number): void => {
    if (!weights.has(name)) return;
    const shape = weights.shape(name);
    derived.set(name, { shape, read: async () => centred(await weights.read(name), group, shape[1] ?? 1) });
  };
  const rows = (tokens: Float32Array) => centred(tokens, hidden, 1);
  derived.set(EMBEDDING, {
    shape: weights.shape(EMBEDDING),
    read: async () => rows(await weights.read(EMBEDDING)),
    readRows: async (tokens) => rows(await weights.readRows(EMBEDDING, tokens)),
  });
  if (!weights.has(HEAD)) derived.set(HEAD, stored(weights, EMBEDDING)); // a tied head reads what the embedding was
  const perHead = queryKeyNorms ? ['self_attn.q_proj', 'self_attn.k_proj'] : [];
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [modules, group] of [[WRITERS, hidden] as const, [perHead, headDim] as const]) {
      for (const module of modules)
        for (const port of ['weight', 'bias']) centre(`model.layers.${layer}.${module}.${port}`, group);
    }
  }
  return {
    config: { ...config, norm: 'epsilon', finalNorm: 'epsilon', tiedEmbeddings: false },
    weights: deriveWeights(weights, derived),
  };
}

const stored = (weights: Weights, name: string): DerivedTensor => ({
  shape: weights.shape(name),
  read: () => weights.read(name),
  readRows: (rows) => weights.readRows(name, rows),
});

/** `[..., group, columns]` less its mean over the group. */
function centred(tensor: Float32Array, group: number, columns: number): Float32Array {
  const result = new Float32Array(tensor.length);
  const means = new Float64Array(columns);
  for (let start = 0; start < tensor.length; start += group * columns) {
    means.fill(0);
    for (let i = 0; i < group * columns; i++) {
      const column = i % columns;
      means[column] = (means[column] as number) + (tensor[start + i] as number) / group;
    }
    for (let i = 0; i < group * columns; i++)
      result[start + i] = (tensor[start + i] as number) - (means[i % columns] as number);
  }
  return result;
}
