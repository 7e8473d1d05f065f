/**
 * The graphs that learning needs of one layer: forward, its gradient, a loss with its gradient, and what is stored.
 *
 * `vjp` recomputes the forward from the layer's input, so that between forward and backward only layer inputs are kept.
 * Weights, parameters and constants are inputs: all layers (with equal recipes) share the compiled graphs.
 */

import {
  type BlockContext,
  block,
  contextValues,
  type DecoderConfig,
  floatTap,
  layerTensorNames,
  readLayer,
  specsOf,
  type Weights,
} from '@mobilequant/core';
import type { Range, Recipe, ResolveSite } from '@mobilequant/quantizer';
import type { Executor, InputSpecs, Program, Traceable, Value, Values } from '@mobilequant/tracer';
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

type Tensors = Record<string, tf.Tensor>;

export interface Gradients {
  readonly [parameter: string]: Float32Array;
}

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
  /** Mean squared error of the quantized layer against `target` (and, if given, `target2` added), with its gradients. */
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

const GRADIENT = 'd:';
const TENSOR = 'fused:';

export function layerPrograms(executor: Executor, options: LayerProgramsOptions): LayerPrograms {
  const { config, weights, recipe, ranges, targets, queryChunk = 128 } = options;
  const { conventions } = recipe;
  const programs = new Map<string, Promise<Program>>();
  const contexts = new Map<number, Values>();

  const context = (tokens: number): Values => {
    let found = contexts.get(tokens);
    if (!found) contexts.set(tokens, (found = contextValues(config, tokens)));
    return found;
  };
  const resolveIn =
    (layer: number): ResolveSite =>
    (site) =>
      options.resolve(`model.layers.${layer}.${site}`);
  const shapesOf = (layer: number): Record<string, readonly number[]> =>
    Object.fromEntries(
      layerTensorNames(weights, layer).map((name) => [name, weights.shape(`model.layers.${layer}.${name}`)]),
    );
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

  const compiled = (key: string, specs: () => InputSpecs, fn: Traceable): Promise<Program> => {
    let program = programs.get(key);
    if (!program) programs.set(key, (program = executor.program(fn, specs())));
    return program;
  };

  /** The layer with given tensors, quantized as its inputs say. */
  const simulated = (layer: number, inputs: Tensors, tensors: Tensors): tf.Tensor => {
    const { x, cos, sin, mask } = inputs as Record<'x' | 'cos' | 'sin' | 'mask', tf.Tensor>;
    const tap = learningTap(inputs, { resolve: resolveIn(layer), conventions, targets });
    return block(x, tensors, { cos, sin, mask }, config, { tap, queryChunk }).x;
  };
  const pick = (inputs: Tensors, names: Iterable<string>): Tensors =>
    Object.fromEntries([...names].map((name) => [name, inputs[name] as tf.Tensor]));

  /** The quantized layer as a function of its tensors and parameters. */
  const quantized = (layer: number, inputs: Tensors): tf.Tensor => {
    const own = pick(inputs, Object.keys(shapesOf(layer)));
    return simulated(
      layer,
      inputs,
      applyTransform(own, transformOf(inputs, conventions), config, { normBias: conventions === 'exact' }),
    );
  };

  const specs = (layer: number, tokens: number, learnables: LayerLearnables, more: InputSpecs = {}): InputSpecs => ({
    x: [tokens, config.hidden],
    ...specsOf(context(tokens)),
    ...shapesOf(layer),
    ...specsOf(learnables.parameters),
    ...specsOf(learnables.constants),
    ...more,
  });
  const feeds = async (layer: number, x: Value, learnables?: LayerLearnables): Promise<Values> => ({
    ...context(x.shape[0] as number),
    ...(await readLayer(weights, layer)),
    ...learnables?.parameters,
    ...learnables?.constants,
    x,
  });

  const gradientsOf = (results: Record<string, Value>): Gradients =>
    Object.fromEntries(
      Object.entries(results).flatMap(([name, { data }]) =>
        name.startsWith(GRADIENT) ? [[name.slice(GRADIENT.length), data as Float32Array]] : [],
      ),
    );
  const named = (names: readonly string[], tensors: readonly tf.Tensor[]): Tensors =>
    Object.fromEntries(names.map((name, i) => [name, tensors[i] as tf.Tensor]));
  const prefixed = (prefix: string, tensors: Tensors): Tensors =>
    Object.fromEntries(Object.entries(tensors).map(([name, t]) => [prefix + name, t]));

  const own: LayerPrograms = {
    learnables: (layer) =>
      initialLearnables(shapesOf(layer), rangesIn(layer), { config, conventions, targets, resolve: resolveIn(layer) }),

    async float(layer, x) {
      const tokens = x.shape[0] as number;
      const program = await compiled(
        `float ${tokens} ${JSON.stringify(shapesOf(layer))}`,
        () => ({ x: [tokens, config.hidden], ...specsOf(context(tokens)), ...shapesOf(layer) }),
        (inputs) => ({
          y: block(inputs['x'] as tf.Tensor, inputs, inputs as Tensors & BlockContext, config, {
            tap: floatTap,
            queryChunk,
          }).x,
        }),
      );
      return (await program.run(await feeds(layer, x)))['y'] as Value;
    },

    async forward(layer, x, learnables) {
      const tokens = x.shape[0] as number;
      const program = await compiled(
        `forward ${tokens} ${keyOf(layer, learnables)}`,
        () => specs(layer, tokens, learnables),
        (inputs) => ({ y: quantized(layer, inputs) }),
      );
      return (await program.run(await feeds(layer, x, learnables)))['y'] as Value;
    },

    async vjp(layer, x, dy, learnables) {
      const tokens = x.shape[0] as number;
      const names = [...Object.keys(learnables.parameters), 'x'];
      const program = await compiled(
        `vjp ${tokens} ${keyOf(layer, learnables)}`,
        () => specs(layer, tokens, learnables, { dy: [tokens, config.hidden] }),
        (inputs) => {
          const f = (...tensors: tf.Tensor[]) => quantized(layer, { ...inputs, ...named(names, tensors) });
          const gradients = tf.grads(f)(
            names.map((name) => inputs[name] as tf.Tensor),
            inputs['dy'] as tf.Tensor,
          );
          return prefixed(GRADIENT, named(names, gradients));
        },
      );
      const { x: dx, ...gradients } = gradientsOf(await program.run({ ...(await feeds(layer, x, learnables)), dy }));
      return { dx: { data: dx as Float32Array, shape: x.shape }, gradients };
    },

    async loss(layer, x, targets, learnables) {
      const tokens = x.shape[0] as number;
      const names = Object.keys(learnables.parameters);
      const targetNames = targets.map((_, i) => `target${i}`);
      const program = await compiled(
        `loss ${targets.length} ${tokens} ${keyOf(layer, learnables)}`,
        () =>
          specs(
            layer,
            tokens,
            learnables,
            Object.fromEntries(targetNames.map((name) => [name, [tokens, config.hidden]])),
          ),
        (inputs) => {
          const f = (...tensors: tf.Tensor[]): tf.Scalar => {
            const y = quantized(layer, { ...inputs, ...named(names, tensors) });
            const errors = targetNames.map(
              (name) => tf.mean(tf.square(tf.sub(y, inputs[name] as tf.Tensor))) as tf.Scalar,
            );
            return errors.reduce((sum, error) => tf.add(sum, error));
          };
          const { value, grads } = tf.valueAndGrads(f)(names.map((name) => inputs[name] as tf.Tensor));
          return { loss: value, ...prefixed(GRADIENT, named(names, grads)) };
        },
      );
      const given = Object.fromEntries(targetNames.map((name, i) => [name, targets[i] as Value]));
      const results = await program.run({ ...(await feeds(layer, x, learnables)), ...given });
      return { loss: results['loss']?.data[0] as number, gradients: gradientsOf(results) };
    },

    async stored(layer, learnables) {
      if (conventions === 'exact') return (x) => own.forward(layer, x, learnables); // nothing is clamped: the same function
      const { tensors } = await own.fuse(layer, learnables);
      const ranges = Object.fromEntries(
        Object.entries(learnables.parameters).filter(([name]) => parameterGroup(name) === 'lrl'),
      );
      const given = { ...tensors, ...ranges, ...learnables.constants };
      return async (x) => {
        const feeds = { ...context(x.shape[0] as number), ...given, x };
        const program = await compiled(
          `stored ${x.shape} ${Object.keys(tensors)} ${keyOf(layer, learnables)}`,
          () => specsOf(feeds),
          (inputs) => ({ y: simulated(layer, inputs, pick(inputs, Object.keys(tensors))) }),
        );
        return (await program.run(feeds))['y'] as Value;
      };
    },

    async fuse(layer, learnables) {
      const shapes = shapesOf(layer);
      const resolve = resolveIn(layer);
      const tensors = await readLayer(weights, layer);
      const program = await compiled(
        `fuse ${keyOf(layer, learnables)}`,
        () => ({ ...shapes, ...specsOf(learnables.parameters) }),
        (inputs) => {
          return fusedTensors(
            applyTransform(pick(inputs, Object.keys(shapes)), transformOf(inputs, conventions), config),
            inputs,
            resolve,
            conventions,
          );
        },
      );
      const results = await program.run({ ...tensors, ...learnables.parameters });
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

    async release() {
      for (const program of programs.values()) await (await program).release();
      programs.clear();
    },
  };
  return own;
}

/**
 * What is stored of a layer. The reference clamps the weights to [min', max'] and quantizes what is left. Here weights stay
 * as they are, the same float function, and the clipping goes into their encodings.
 */
function fusedTensors(transformed: Tensors, inputs: Tensors, resolve: ResolveSite, conventions: Conventions): Tensors {
  const results: Tensors = {};
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
