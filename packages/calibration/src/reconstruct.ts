/**
 * Integers of a layer learned together, so that what the layer gives out is what the float layer does (BRECQ, arXiv 2102.05426; the first
 * phase of EfficientQAT, arXiv 2407.11062).
 *
 *     q = round(w / s + m)        m `[out, in]`, 0 at first, trained straight through the rounding
 *
 * GPTQ makes the error of each linear small; here the errors of a layer's linears, of its activations and of its norms may cancel. Layer
 * by layer: a layer's input is what the quantized layers before it give out, its aim what the float layers do. An error counts relative to
 * the size of its token. On texts that are held out a layer must come closer, or its integers stay as they were.
 */
import {
  block,
  contextCache,
  type DerivedTensor,
  deriveWeights,
  embed,
  type FloatModel,
  floatReading,
  type QuantizedModel,
  type Reading,
  readLayer,
  simulatedReading,
  siteName,
  specsOf,
} from '@mobilequant/core';
import { dequantize, type Encoding, quantize, type SignedLevels } from '@mobilequant/quantizer';
import { type Executor, programCache, type Value, type Values } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { adamW } from './adamw.ts';
import { checkLoss } from './learning.ts';
import { type OnProgress, progressOf } from './progress.ts';
import { learningRateAt } from './schedule.ts';
import { inOrder } from './tuning.ts';

export interface ReconstructInput {
  /** Its weights are those before their rounding, or rounded ones. */
  readonly model: QuantizedModel;
  /** The same model in float, in the same basis. */
  readonly float: FloatModel;
  /** Token ids to learn from, all of one length or of few. */
  readonly samples: readonly Int32Array[];
  /** Token ids by which it is decided whether a layer has become better. */
  readonly heldOut: readonly Int32Array[];
}

export interface ReconstructOptions {
  /** Times that each layer sees every sample. */
  readonly epochs: number;
  /** Of Adam, in steps of the weights' grids; it falls to 0 as a cosine. Default 0.005. */
  readonly rate?: number;
  /** Of the order of the samples. Default 0. */
  readonly seed?: number;
  readonly onProgress?: OnProgress;
  readonly onLayer?: (layer: ReconstructedLayer) => void;
  /** Looked at before each layer; an aborted one throws its reason. */
  readonly signal?: AbortSignal;
}

export interface ReconstructedLayer {
  readonly layer: number;
  /** Mean over held-out tokens of ‖y - ỹ‖² / ‖ỹ‖², before and after. */
  readonly before: number;
  readonly after: number;
  /** Share of integers that are others. */
  readonly changed: number;
}

const WARM_UP = 5;
const BETA2 = 0.95; // few steps, and none alike
const QUERY_CHUNK = 128;
const GRADIENT = 'd:';

/**
 * The model with other integers.
 *
 * @throws RangeError without samples or held-out ones; NonFiniteError for a loss that is no number (lower the rate).
 */
export async function reconstruct(
  executor: Executor,
  { model, float, samples, heldOut }: ReconstructInput,
  { epochs, rate = 0.005, seed = 0, onProgress, onLayer, signal }: ReconstructOptions,
): Promise<QuantizedModel> {
  if (samples.length === 0 || heldOut.length === 0)
    throw new RangeError(
      `reconstruct: expected samples to learn from and some that are held out, got ${samples.length} and ${heldOut.length}. Give more texts.`,
    );
  const { config, weights, encodings } = model;
  const programs = programCache(executor);
  const context = contextCache(config);
  const simulated = simulatedReading(encodings);
  const steps = Math.round(epochs * samples.length);
  const progress = progressOf('reconstruction', config.layers, onProgress);
  const fixed = new Map<string, DerivedTensor>();
  const all = [...samples, ...heldOut];
  const numbers = samples.map((_, i) => i);
  const inputs: Value[] = await Promise.all(all.map((sample) => embed(config, weights, sample)));
  const aims: Value[] = await Promise.all(all.map((sample) => embed(float.config, float.weights, sample)));

  /** The grids of a layer's matrices, by their names in it. */
  const gridsOf = (own: Values, layer: number): Grids =>
    new Map(
      Object.entries(own).flatMap(([name, { shape }]): [string, Encoding][] => {
        const grid = encodings.get(siteName(layer, name));
        return grid && shape.length === 2 ? [[name, grid]] : [];
      }),
    );

  const given = (layer: number, reading: Reading, own: Values, x: Value): Values => ({
    ...context(x.shape[0] as number, layer),
    ...own,
    ...reading.values(layer),
    x,
  });
  const outputOf = async (layer: number, reading: Reading, own: Values, x: Value): Promise<Value> => {
    const feeds = given(layer, reading, own, x);
    const program = await programs.program(
      `forward ${JSON.stringify(specsOf(feeds))} ${reading.key(layer)}`,
      () => specsOf(feeds),
      (tensors) => ({ y: run(layer, reading, tensors) }),
    );
    return (await program.run(feeds)).y;
  };
  const run = (layer: number, reading: Reading, tensors: Readonly<Record<string, tf.Tensor>>): tf.Tensor => {
    const { x, cos, sin, mask } = tensors as Record<'x' | 'cos' | 'sin' | 'mask', tf.Tensor>;
    const tap = reading.tap(layer, tensors);
    return block(x, tensors, { cos, sin, mask }, config, { tap, queryChunk: QUERY_CHUNK }).x;
  };

  /** The error of a sample, and its gradient in the weights by name. */
  const lossOf = async (layer: number, own: Values, names: readonly string[], x: Value, aim: Value) => {
    const feeds = { ...given(layer, simulated, own, x), aim };
    const program = await programs.program(
      `loss ${JSON.stringify(specsOf(feeds))} ${simulated.key(layer)}`,
      () => specsOf(feeds),
      (tensors) => {
        const f = (...moved: tf.Tensor[]): tf.Scalar => {
          const all = { ...tensors, ...Object.fromEntries(names.map((name, i) => [name, moved[i] as tf.Tensor])) };
          const squares = (y: tf.Tensor): tf.Tensor => tf.sum(tf.square(y), -1);
          const error = squares(tf.sub(run(layer, simulated, all), tensors.aim));
          return tf.mean(tf.div(error, squares(tensors.aim)));
        };
        const { value, grads } = tf.valueAndGrads(f)(
          names.map((name) => (tensors as Record<string, tf.Tensor>)[name] as tf.Tensor),
        );
        return { loss: value, ...Object.fromEntries(names.map((name, i) => [GRADIENT + name, grads[i] as tf.Tensor])) };
      },
    );
    const { loss, ...gradients } = (await program.run(feeds)) as Values & { loss: Value };
    return {
      loss: loss.data[0] as number,
      gradients: Object.fromEntries(names.map((name) => [name, gradients[GRADIENT + name]?.data as Float32Array])),
    };
  };

  /** The tensors of a layer with what its integers have learned. */
  const learned = async (layer: number, own: Values, grids: Grids): Promise<Values> => {
    const names = [...grids.keys()];
    const moves = Object.fromEntries(names.map((name) => [name, new Float32Array(own[name]?.data.length ?? 0)]));
    const moved = (): Values => mapped(own, grids, (w, grid, name) => movedBy(w, moves[name] as Float32Array, grid));
    const optimizer = adamW({ beta2: BETA2, epsilon: 1e-20 }); // gradients of relative errors are small
    const moments = optimizer.init(moves);
    for (let step = 0; step < steps; step++) {
      const sample = inOrder(numbers, step, seed);
      const { loss, gradients } = await lossOf(layer, moved(), names, inputs[sample] as Value, aims[sample] as Value);
      checkLoss(loss, `reconstruction, layer ${layer}, step ${step}`);
      optimizer.update(moves, gradients, moments, () => learningRateAt({ from: rate, to: 0 }, step, steps, WARM_UP));
    }
    return moved();
  };

  const heldOutError = async (layer: number, own: Values): Promise<number> => {
    let [sum, tokens] = [0, 0];
    for (let i = samples.length; i < all.length; i++) {
      const y = await outputOf(layer, simulated, own, inputs[i] as Value);
      const errors = relativeErrors(y, aims[i] as Value);
      sum += errors.reduce((total, error) => total + error, 0);
      tokens += errors.length;
    }
    return sum / tokens;
  };

  try {
    for (let layer = 0; layer < config.layers; layer++) {
      signal?.throwIfAborted();
      const floats = await readLayer(float.weights, layer);
      for (const [i, x] of aims.entries()) aims[i] = await outputOf(layer, floatReading, floats, x);

      const own = await readLayer(weights, layer);
      const grids = gridsOf(own, layer);
      const [before, after] = [rounded(own, grids), rounded(await learned(layer, own, grids), grids)];
      const [old, fresh] = [await heldOutError(layer, before.tensors), await heldOutError(layer, after.tensors)];
      const kept = fresh < old ? after : before;
      onLayer?.({ layer, before: old, after: fresh, changed: changedShare(before.levels, after.levels) });
      for (const [name, levels] of kept.levels) {
        const read = async (): Promise<Float32Array> => dequantize(levels, grids.get(name) as Encoding);
        fixed.set(siteName(layer, name), { shape: own[name]?.shape ?? [], read });
      }
      for (const [i, x] of inputs.entries()) inputs[i] = await outputOf(layer, simulated, kept.tensors, x);
      progress.step();
    }
  } finally {
    await programs.release();
  }
  return { ...model, weights: deriveWeights(weights, fixed) };
}

/** w + s · m, the scale that of each weight's group. */
function movedBy(w: Float32Array, moves: Float32Array, { scale }: Encoding): Float32Array {
  const groupLength = w.length / scale.length;
  const result = new Float32Array(w.length);
  for (let group = 0, i = 0; group < scale.length; group++) {
    const s = scale[group] as number;
    for (const end = i + groupLength; i < end; i++) result[i] = (w[i] as number) + s * (moves[i] as number);
  }
  return result;
}

type Grids = ReadonlyMap<string, Encoding>;

/** Tensors of a layer, those with a grid changed. */
function mapped(
  own: Values,
  grids: Grids,
  change: (w: Float32Array, grid: Encoding, name: string) => Float32Array,
): Values {
  const changed = [...grids].map(([name, grid]): [string, Value] => {
    const { data, shape } = own[name] as Value;
    return [name, { data: change(data as Float32Array, grid, name), shape }];
  });
  return { ...own, ...Object.fromEntries(changed) };
}

interface Rounded {
  readonly levels: ReadonlyMap<string, SignedLevels>;
  readonly tensors: Values;
}

function rounded(own: Values, grids: Grids): Rounded {
  const levels = new Map<string, SignedLevels>();
  const tensors = mapped(own, grids, (w, grid, name) => {
    const its = quantize(w, grid, { signed: true });
    levels.set(name, its);
    return dequantize(its, grid);
  });
  return { levels, tensors };
}

/** ‖y - ỹ‖² / ‖ỹ‖² of each token. */
function relativeErrors(y: Value, aim: Value): Float64Array {
  const [tokens, width] = y.shape as [number, number];
  return Float64Array.from({ length: tokens }, (_, t) => {
    let [error, size] = [0, 0];
    for (let i = t * width; i < (t + 1) * width; i++) {
      error += ((y.data[i] as number) - (aim.data[i] as number)) ** 2;
      size += (aim.data[i] as number) ** 2;
    }
    return error / size;
  });
}

function changedShare(before: Rounded['levels'], after: Rounded['levels']): number {
  let [changed, total] = [0, 0];
  for (const [name, levels] of before) {
    const others = after.get(name);
    for (let i = 0; i < levels.length; i++) if (levels[i] !== others?.[i]) changed++;
    total += levels.length;
  }
  return total > 0 ? changed / total : 0;
}
