/**
 * The graphs that learning needs of one layer: forward, its gradient, a loss with its gradient, and what is stored.
 *
 * `vjp` recomputes the forward from the layer's input, so that between forward and backward only layer inputs are kept.
 * Weights, parameters and constants are inputs: all layers (with equal recipes) share the compiled graphs.
 */

import {
  block,
  contextCache,
  type DecoderConfig,
  layerShapes,
  readLayer,
  specsOf,
  type Weights,
} from '@mobilequant/core';
import type { Range, Recipe, ResolveSite } from '@mobilequant/quantizer';
import { type Executor, programCache, type TracedInputs, type Value, type Values } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import {
  type Conventions,
  clippingRange,
  initialLearnables,
  type LayerLearnables,
  type LearningTargets,
  learningTap,
  parameterGroup,
  transformOf,
} from './learnables.ts';
import { applyTransform } from './transform.ts';

type Tensors = Readonly<Record<string, tf.Tensor>>;

/** By parameter. */
export type Gradients = Readonly<Record<string, Float32Array>>;

export interface LossResult {
  readonly loss: number;
  readonly gradients: Gradients;
}

/** A layer after learning: its tensors, and the smallest and largest value that each quantized weight keeps, `[groups]`. */
export interface FusedLayer {
  readonly tensors: Values;
  readonly clipping: ReadonlyMap<string, { readonly min: Float32Array; readonly max: Float32Array }>;
}

export interface LayerProgramsOptions {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  readonly resolve: ResolveSite;
  /** Full site name → calibrated range. */
  readonly ranges: ReadonlyMap<string, Range>;
  readonly targets: LearningTargets;
  /** See `BlockOptions.queryChunk`. */
  readonly queryChunk?: number;
}

export interface LayerPrograms {
  /** Parameters at their starting point. */
  learnables(layer: number): LayerLearnables;
  /** The float layer: `[tokens, hidden]` → the same. */
  float(layer: number, x: Value): Promise<Value>;
  /** The quantized layer. */
  forward(layer: number, x: Value, learnables: LayerLearnables): Promise<Value>;
  /** Gradients of the parameters, and of x, from the gradient of the layer's output. */
  vjp(
    layer: number,
    x: Value,
    dy: Value,
    learnables: LayerLearnables,
  ): Promise<{ readonly dx: Value; readonly gradients: Gradients }>;
  /** Mean squared error of the quantized layer against each target, added up, with its gradients. */
  loss(layer: number, x: Value, targets: readonly Value[], learnables: LayerLearnables): Promise<LossResult>;
  /**
   * The quantized layer as it is stored, fused once and run often. Reference conventions: what is stored is clamped, and may
   * round otherwise than what was trained.
   */
  stored(layer: number, learnables: LayerLearnables): Promise<(x: Value) => Promise<Value>>;
  /** The layer's tensors with everything fused. */
  fuse(layer: number, learnables: LayerLearnables): Promise<FusedLayer>;
  release(): Promise<void>;
}

/** What every graph of a block takes, beside weights and parameters by their names. */
type BlockInputs = TracedInputs<Record<'x' | 'cos' | 'sin' | 'mask', readonly number[]>>;

const GRADIENT = 'd:';
const TENSOR = 'fused:';

/** The programs of a model's layers, compiled when they are first asked for. */
export function layerPrograms(executor: Executor, options: LayerProgramsOptions): LayerPrograms {
  const { config, weights, recipe, ranges, targets, queryChunk = 128 } = options;
  const { conventions } = recipe;
  const programs = programCache(executor);
  const context = contextCache(config);

  const resolveIn =
    (layer: number): ResolveSite =>
    (site) =>
      options.resolve(`model.layers.${layer}.${site}`);
  const shapesOf = (layer: number) => layerShapes(weights, layer);
  const rangesIn = (layer: number): Map<string, Range> => {
    const prefix = `model.layers.${layer}.`;
    return new Map(
      [...ranges].flatMap(([site, range]) => (site.startsWith(prefix) ? [[site.slice(prefix.length), range]] : [])),
    );
  };
  /** Layers with equal keys share graphs: the same tensors, the same specs at every site. */
  const keyOf = (layer: number, learnables: LayerLearnables): string => {
    const resolve = resolveIn(layer);
    const specs = [...rangesIn(layer).keys(), ...Object.keys(shapesOf(layer))].map((site) => resolve(site) ?? null);
    return JSON.stringify([
      shapesOf(layer),
      specs,
      Object.keys(learnables.parameters),
      Object.keys(learnables.constants),
    ]);
  };

  /** The layer with given tensors, quantized as its inputs say. */
  const simulated = (layer: number, inputs: BlockInputs, tensors: Tensors): tf.Tensor => {
    const tap = learningTap(inputs, { resolve: resolveIn(layer), conventions, targets });
    return block(inputs.x, tensors, inputs, config, { tap, queryChunk }).x;
  };

  /** The quantized layer as a function of its tensors and parameters. */
  const quantized = (layer: number, inputs: BlockInputs): tf.Tensor => {
    const own = picked(inputs, Object.keys(shapesOf(layer)));
    const options = { normBias: conventions === 'exact' || config.norm === 'layer' };
    return simulated(layer, inputs, applyTransform(own, transformOf(inputs, conventions), config, options));
  };

  const specs = (layer: number, tokens: number, learnables?: LayerLearnables) => ({
    x: [tokens, config.hidden],
    ...specsOf(context(tokens, layer)),
    ...shapesOf(layer),
    ...specsOf({ ...learnables?.parameters, ...learnables?.constants }),
  });
  const feeds = async (layer: number, x: Value, learnables?: LayerLearnables): Promise<Values> => ({
    ...context(x.shape[0] as number, layer),
    ...(await readLayer(weights, layer)),
    ...learnables?.parameters,
    ...learnables?.constants,
    x,
  });

  const self: LayerPrograms = {
    learnables: (layer) =>
      initialLearnables(shapesOf(layer), rangesIn(layer), { config, conventions, targets, resolve: resolveIn(layer) }),

    async float(layer, x) {
      const tokens = x.shape[0] as number;
      const program = await programs.program(
        `float ${tokens} ${JSON.stringify(shapesOf(layer))}`,
        () => specs(layer, tokens),
        (inputs) => ({ y: block(inputs.x, inputs, inputs, config, { queryChunk }).x }),
      );
      return (await program.run(await feeds(layer, x))).y;
    },

    async forward(layer, x, learnables) {
      const tokens = x.shape[0] as number;
      const program = await programs.program(
        `forward ${tokens} ${keyOf(layer, learnables)}`,
        () => specs(layer, tokens, learnables),
        (inputs) => ({ y: quantized(layer, inputs) }),
      );
      return (await program.run(await feeds(layer, x, learnables))).y;
    },

    async vjp(layer, x, dy, learnables) {
      const tokens = x.shape[0] as number;
      const names = [...Object.keys(learnables.parameters), 'x'];
      const program = await programs.program(
        `vjp ${tokens} ${keyOf(layer, learnables)}`,
        () => ({ ...specs(layer, tokens, learnables), dy: [tokens, config.hidden] }),
        (inputs) => {
          const f = (...tensors: tf.Tensor[]) => quantized(layer, { ...inputs, ...named(names, tensors) });
          return prefixed(GRADIENT, named(names, tf.grads(f)(valuesAt(inputs, names), inputs.dy)));
        },
      );
      const { x: dx, ...gradients } = gradientsOf(await program.run({ ...(await feeds(layer, x, learnables)), dy }));
      return { dx: { data: dx as Float32Array, shape: x.shape }, gradients };
    },

    async loss(layer, x, aims, learnables) {
      const tokens = x.shape[0] as number;
      const names = Object.keys(learnables.parameters);
      const aimed = Object.fromEntries(aims.map((aim, i) => [`target${i}`, aim]));
      const program = await programs.program(
        `loss ${aims.length} ${tokens} ${keyOf(layer, learnables)}`,
        () => ({ ...specs(layer, tokens, learnables), ...specsOf(aimed) }),
        (inputs) => {
          const f = (...tensors: tf.Tensor[]): tf.Scalar => {
            const y = quantized(layer, { ...inputs, ...named(names, tensors) });
            const errors = valuesAt(inputs, Object.keys(aimed)).map(
              (aim): tf.Scalar => tf.mean(tf.square(tf.sub(y, aim))),
            );
            return errors.reduce((sum, error) => tf.add(sum, error));
          };
          const { value, grads } = tf.valueAndGrads(f)(valuesAt(inputs, names));
          return { loss: value, ...prefixed(GRADIENT, named(names, grads)) };
        },
      );
      const results = await program.run({ ...(await feeds(layer, x, learnables)), ...aimed });
      return { loss: results.loss.data[0] as number, gradients: gradientsOf(results) };
    },

    async stored(layer, learnables) {
      if (conventions === 'exact') return (x) => self.forward(layer, x, learnables); // nothing is clamped: the same function
      const { tensors } = await self.fuse(layer, learnables);
      const ranges = Object.fromEntries(
        Object.entries(learnables.parameters).filter(([name]) => parameterGroup(name) === 'lrl'),
      );
      return async (x) => {
        const values = { ...tensors, ...ranges, ...learnables.constants, ...context(x.shape[0] as number, layer), x };
        const program = await programs.program(
          `stored ${x.shape} ${Object.keys(tensors)} ${keyOf(layer, learnables)}`,
          () => specsOf(values),
          (inputs) => ({ y: simulated(layer, inputs, picked(inputs, Object.keys(tensors))) }),
        );
        return (await program.run(values)).y;
      };
    },

    async fuse(layer, learnables) {
      const shapes = shapesOf(layer);
      const program = await programs.program(
        `fuse ${keyOf(layer, learnables)}`,
        () => ({ ...shapes, ...specsOf(learnables.parameters) }),
        (inputs) => {
          const own = picked(inputs, Object.keys(shapes));
          const transformed = applyTransform(own, transformOf(inputs, conventions), config);
          return fusedTensors(transformed, inputs, resolveIn(layer), conventions);
        },
      );
      const results = await program.run({ ...(await readLayer(weights, layer)), ...learnables.parameters });
      const fused: Record<string, Value> = {};
      const clipping = new Map<string, { min: Float32Array; max: Float32Array }>();
      for (const [name, value] of Object.entries(results)) {
        if (name.startsWith(TENSOR)) fused[name.slice(TENSOR.length)] = value;
        else if (name.endsWith(':min')) {
          const site = name.slice(0, -':min'.length);
          clipping.set(site, { min: value.data as Float32Array, max: results[`${site}:max`]?.data as Float32Array });
        }
      }
      return { tensors: fused, clipping };
    },

    release: () => programs.release(),
  };
  return self;
}

const named = (names: readonly string[], tensors: readonly tf.Tensor[]): Tensors =>
  Object.fromEntries(names.map((name, i) => [name, tensors[i] as tf.Tensor]));
const valuesAt = (tensors: Tensors, names: readonly string[]): tf.Tensor[] =>
  names.map((name) => tensors[name] as tf.Tensor);
const picked = (tensors: Tensors, names: readonly string[]): Tensors => named(names, valuesAt(tensors, names));
const prefixed = (prefix: string, tensors: Tensors): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, t]) => [prefix + name, t]));

const gradientsOf = (results: Values): Gradients =>
  Object.fromEntries(
    Object.entries(results).flatMap(([name, { data }]) =>
      name.startsWith(GRADIENT) ? [[name.slice(GRADIENT.length), data as Float32Array]] : [],
    ),
  );

/**
 * What is stored of a layer. The reference clamps the weights to [min', max'] and quantizes what is left. Here weights stay
 * as they are, the same float function, and the clipping goes into their encodings.
 */
function fusedTensors(transformed: Tensors, inputs: Tensors, resolve: ResolveSite, conventions: Conventions): Tensors {
  const results: Record<string, tf.Tensor> = {};
  for (const [name, w] of Object.entries(transformed)) {
    const spec = name.endsWith('.weight') ? resolve(name) : undefined;
    if (!spec) {
      results[TENSOR + name] = w;
      continue;
    }
    const { min, max } = clippingRange(name, w, spec, inputs, conventions);
    const rows = spec.granularity.kind === 'group' ? tf.reshape(w, [-1, spec.granularity.size]) : w;
    results[TENSOR + name] =
      conventions === 'reference' ? tf.reshape(tf.minimum(tf.maximum(rows, min), max), w.shape) : w;
    results[`${name}:min`] = min;
    results[`${name}:max`] = max;
  }
  return results;
}
