/**
 * Rotations folded into the weights: outliers are spread over all channels, and the model computes what it did.
 *
 *     R1 = Q   residual stream x · Q       embedding · Q, readers W · Q, head · Q, writers Qᵀ · W and b · Q
 *     R2 = R   values of a key-value head  v rows Rᵀ · W and b · R, o columns W · R for the query heads of its group
 *
 * R1 passes a norm that only normalises, since it keeps lengths: norms are folded first (`foldNorms`). It does not pass a norm with
 * weights, so models that norm what attention and MLP give have none. (QuaRot, arXiv 2404.00456; SpinQuant, arXiv 2405.16406.)
 */
import {
  type DecoderConfig,
  type DerivedTensor,
  deriveWeights,
  type FloatModel,
  type Weights,
} from '@mobilequant/core';
import { type Executor, programCache, type Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { EMBEDDING, foldNorms, normsBeforeLinears, WRITERS } from './fold-norms.ts';
import { randomRotation } from './random-rotation.ts';
import { TransformError } from './transform-error.ts';

export interface RotateOptions {
  /** Default 0. */
  readonly seed?: number;
  /** Fold the norms and rotate the residual stream (R1). Default true. */
  readonly residual?: boolean;
  /** Rotate the values of each key-value head (R2). Default true. */
  readonly heads?: boolean;
}

/**
 * The same float function, rotated by random Hadamard matrices (orthogonal ones where a size has none). Tensors are computed when
 * they are read.
 *
 * @throws TransformError where the residual stream cannot be rotated.
 */
export function rotate(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  { seed = 0, residual = true, heads = true }: RotateOptions = {},
): FloatModel {
  const { hidden, headDim, kvHeads } = config;
  const seedOf = (layer: number, head: number): number => seed + 1 + layer * kvHeads + head;
  const headRotations = (layer: number): Float32Array[] =>
    Array.from({ length: kvHeads }, (_, head) => randomRotation(headDim, seedOf(layer, head)));
  const model = residual
    ? rotateResidual(executor, config, weights, randomRotation(hidden, seed))
    : { config, weights };
  return heads ? rotateHeads(executor, model.config, model.weights, headRotations) : model;
}

/**
 * R1: the residual stream times an orthogonal matrix, norms folded.
 *
 * @param rotation `[hidden, hidden]`
 * @throws TransformError for a model that norms what attention and MLP give, or whose norms cannot be folded.
 */
export function rotateResidual(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  rotation: Float32Array,
): FloatModel {
  checkResidual(config);
  const folded = foldNorms(config, weights);
  const { hidden } = config;
  const multiply = multiplier(executor);
  const q: Value = { data: rotation, shape: [hidden, hidden] };
  const derived = new Map<string, DerivedTensor>();
  const change = (name: string, changed: (data: Float32Array) => Promise<Float32Array>): void => {
    if (!folded.weights.has(name)) return;
    derived.set(name, {
      shape: folded.weights.shape(name),
      read: async () => changed(await folded.weights.read(name)),
      readRows: async (rows) => changed(await folded.weights.readRows(name, rows)),
    });
  };

  const rowsTimes = (data: Float32Array) => inBlocks(data, hidden, (block) => multiply(block, q));
  const timesTransposed = (data: Float32Array) =>
    multiply(q, { data, shape: [hidden, data.length / hidden] }, { transposeA: true });
  change(EMBEDDING, rowsTimes);
  for (const { linears } of normsBeforeLinears(config))
    for (const linear of linears) change(`${linear}.weight`, rowsTimes);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const writer of WRITERS) {
      change(`model.layers.${layer}.${writer}.weight`, timesTransposed);
      change(`model.layers.${layer}.${writer}.bias`, rowsTimes);
    }
  }
  return { config: folded.config, weights: deriveWeights(folded.weights, derived) };
}

/** @throws TransformError for a model whose residual stream cannot be rotated. */
export function checkResidual({ outputNorms }: DecoderConfig): void {
  if (!outputNorms) return;
  throw new TransformError(
    'rotateResidual',
    'no norms behind attention and MLP',
    'a model that has them, whose weights belong to channels of the residual stream',
    'Rotate its heads only.',
  );
}

/**
 * R2: each key-value head's values times an orthogonal matrix, those of a prefix too.
 *
 * @param rotations of a layer, one `[headDim, headDim]` for each key-value head.
 */
export function rotateHeads(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  rotations: (layer: number) => readonly Float32Array[],
): FloatModel {
  const { layers, hidden, heads, kvHeads, headDim } = config;
  const multiply = multiplier(executor);
  const derived = new Map<string, DerivedTensor>();
  for (let layer = 0; layer < layers; layer++) {
    const stacked = (): Value => {
      const data = new Float32Array(kvHeads * headDim * headDim);
      rotations(layer).forEach((rotation, head) => {
        data.set(rotation, head * rotation.length);
      });
      return { data, shape: [kvHeads, headDim, headDim] };
    };
    /** A tensor as matrices, one for each key-value head: its rows are the head's values (`columns`), or its columns are. */
    const change = (own: string, changed: (data: Float32Array, r: Value) => Promise<Float32Array>): void => {
      const name = `model.layers.${layer}.self_attn.${own}`;
      if (!weights.has(name)) return;
      derived.set(name, {
        shape: weights.shape(name),
        read: async () => changed(await weights.read(name), stacked()),
      });
    };
    const values = (data: Float32Array, r: Value) =>
      multiply({ data, shape: [kvHeads, data.length / kvHeads / headDim, headDim] }, r);
    change('v_proj.weight', (data, r) =>
      multiply(r, { data, shape: [kvHeads, headDim, data.length / kvHeads / headDim] }, { transposeA: true }),
    );
    change('v_proj.bias', values);
    change('prefix_values', values);
    // the columns of a group's query heads lie side by side
    change('o_proj.weight', async (data, r) => {
      const group = (heads / kvHeads) * headDim;
      return byGroup(await values(byGroup(data, hidden, kvHeads, group), r), kvHeads, hidden, group);
    });
  }
  return { config, weights: deriveWeights(weights, derived) };
}

/** `[a, b, size]` → `[b, a, size]` */
function byGroup(data: Float32Array, a: number, b: number, size: number): Float32Array {
  const result = new Float32Array(data.length);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      const from = (i * b + j) * size;
      result.set(data.subarray(from, from + size), (j * a + i) * size);
    }
  }
  return result;
}

interface Order {
  readonly transposeA?: boolean;
}

/** Products of matrices, or of stacks of them, compiled once for each pair of shapes. */
function multiplier(executor: Executor): (a: Value, b: Value, order?: Order) => Promise<Float32Array> {
  const programs = programCache(executor);
  return async (a, b, { transposeA = false } = {}) => {
    const program = await programs.program(
      JSON.stringify([a.shape, b.shape, transposeA]),
      () => ({ a: a.shape, b: b.shape }),
      (inputs) => ({ product: tf.matMul(inputs.a, inputs.b, transposeA) }),
    );
    return (await program.run({ a, b })).product.data as Float32Array;
  };
}

const BLOCK = 1024; // rows

/** Applies a function of rows to some at a time; the last ones are filled up to a power of two, so that few shapes occur. */
async function inBlocks(
  data: Float32Array,
  columns: number,
  apply: (rows: Value) => Promise<Float32Array>,
): Promise<Float32Array> {
  const rows = data.length / columns;
  const result = new Float32Array(data.length);
  for (let from = 0; from < rows; from += BLOCK) {
    const count = Math.min(BLOCK, rows - from);
    const part = data.subarray(from * columns, (from + count) * columns);
    const full = 2 ** Math.ceil(Math.log2(count));
    const padded = count === full ? part : new Float32Array(full * columns);
    if (padded !== part) padded.set(part);
    const done = await apply({ data: padded, shape: [full, columns] });
    result.set(done.subarray(0, part.length), from * columns);
  }
  return result;
}
