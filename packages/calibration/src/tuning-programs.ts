/**
 * The graphs of tuning: a quantized layer with its gradient, and the head with the divergence from the float model.
 *
 * Both compute what is deployed (`simulatedReading`), bit for bit. What is tuned takes part where its gradient is cheap: the scale of an
 * output channel is a factor of 1 on the product, so that no gradient is as large as a weight.
 */
import {
  block,
  contextCache,
  type DecoderConfig,
  type FakeQuantizeAttributes,
  type FloatModel,
  headRows,
  logits,
  type Part,
  type QuantizedModel,
  quantizeAs,
  readHead,
  readLayer,
  simulatedReading,
  siteName,
  specsOf,
  type Tap,
} from '@mobilequant/core';
import { dequantize, type Encoding, quantize, splitSite } from '@mobilequant/quantizer';
import { type Executor, programCache, type Value, type Values } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import type { Tree } from './adamw.ts';
import { divergence } from './divergence.ts';
import { movedBy } from './learned-rounding.ts';
import type { TunedInput } from './tuning-parameters.ts';

type Tensors = Readonly<Record<string, tf.Tensor>>;

/** A layer whose weights are read. */
export interface TuningLayer {
  /** `[tokens, hidden]` → the same. */
  forward(x: Value): Promise<Value>;
  /** From the gradient in the layer's output, that in its input and in its parameters, by full name. */
  vjp(x: Value, dy: Value): Promise<{ readonly dx: Float32Array; readonly gradients: Tree }>;
}

/** The head, its weights read. Everything is added up over the tokens. */
export interface TuningHead {
  /**
   * KL(float ‖ quantized) in nats.
   * @param x the quantized model's output of the last block, `[tokens, hidden]`
   * @param target the float model's
   */
  divergence(x: Float32Array, target: Float32Array): Promise<number>;
  /** The same, with its gradient in x and in the parameters. */
  vjp(
    x: Float32Array,
    target: Float32Array,
  ): Promise<{ readonly divergence: number; readonly dx: Float32Array; readonly gradients: Tree }>;
}

export interface TuningPrograms {
  /** @param moves values that its gradient needs beside the weights, by name in the layer */
  layer(model: QuantizedModel, layer: number, moves?: Values): Promise<TuningLayer>;
  head(model: QuantizedModel): Promise<TuningHead>;
  release(): Promise<void>;
}

const GRADIENT = 'd:';
const FLOAT = 'float:';
const QUERY_CHUNK = 128;
const HEAD_WEIGHT = 'lm_head.weight';

/** Where the head's tensors have their sites. */
const HEAD_NAMES = {
  'norm.weight': 'model.norm.weight',
  'norm.bias': 'model.norm.bias',
  'head.weight': HEAD_WEIGHT,
  'head.bias': 'lm_head.bias',
} as const;

/**
 * The programs of a model in all its states, compiled when they are first asked for.
 *
 * @param config the quantized model's
 * @param tuned what a part is differentiated by
 */
export function tuningPrograms(
  executor: Executor,
  config: DecoderConfig,
  float: FloatModel,
  tuned: (part: Part) => readonly TunedInput[],
): TuningPrograms {
  const programs = programCache(executor);
  const context = contextCache(config);
  const headOnGrid = headRounding();

  return {
    async layer({ weights, encodings }, layer, moves = {}) {
      const own = await readLayer(weights, layer);
      const reading = simulatedReading(encodings);
      const key = `${JSON.stringify(specsOf(own))} ${reading.key(layer)}`;
      const feeds = (x: Value): Values => ({
        ...context(x.shape[0] as number, layer),
        ...own,
        ...reading.values(layer),
        x,
      });
      const run = (inputs: Tensors): tf.Tensor => {
        const tap = tuningTap((site) => encodings.get(siteName(layer, site)), specsOf(own), inputs);
        const { cos, sin, mask, x } = inputs as Record<'cos' | 'sin' | 'mask' | 'x', tf.Tensor>;
        const tensors = withoutLinearBiases(inputs, specsOf(own));
        return block(x, tensors, { cos, sin, mask }, config, { tap, queryChunk: QUERY_CHUNK }).x;
      };
      return {
        async forward(x) {
          const program = await programs.program(
            `forward ${x.shape} ${key}`,
            () => specsOf(feeds(x)),
            (inputs) => ({ y: run(inputs) }),
          );
          return (await program.run(feeds(x))).y;
        },
        async vjp(x, dy) {
          const all = { ...feeds(x), ...moves, dy };
          const program = await programs.program(
            `vjp ${x.shape} ${key}`,
            () => specsOf(all),
            (inputs) => differentiated(run, inputs, tuned(layer), inputs.dy).gradients,
          );
          return gradientsOf(layer, await program.run(all));
        },
      };
    },

    async head({ weights, encodings }) {
      const own = Object.fromEntries(
        Object.entries(await readHead(weights)).map(([name, value]) => [
          HEAD_NAMES[name as keyof typeof HEAD_NAMES],
          name === 'head.weight' ? headOnGrid(value, encodings.get(HEAD_WEIGHT)) : value,
        ]),
      );
      const aim = Object.fromEntries(
        Object.entries(await readHead(float.weights)).map(([name, value]) => [FLOAT + name, value]),
      );
      const reading = simulatedReading(encodings);
      const given = { ...own, ...aim, ...reading.values('head') };
      const key = `${JSON.stringify(specsOf(given))} ${reading.key('head')}`;

      const run = (inputs: Tensors): tf.Tensor => {
        const theirs = Object.fromEntries(
          Object.keys(aim).map((name) => [name.slice(FLOAT.length), inputs[name] as tf.Tensor]),
        );
        const ours = Object.fromEntries(
          Object.entries(HEAD_NAMES).flatMap(([name, site]): [string, tf.Tensor][] => {
            const tensor = name === 'head.bias' ? undefined : inputs[site]; // the tap adds it
            return tensor ? [[name, tensor]] : [];
          }),
        );
        const tap = tuningTap((site) => encodings.get(site), specsOf(own), inputs);
        const { x, target } = inputs as Record<'x' | 'target', tf.Tensor>;
        return tf.sum(divergence(logits(target, theirs, float.config), logits(x, ours, config, tap)));
      };
      const vjp = (inputs: Tensors) => {
        const { value, gradients } = differentiated(run, inputs, tuned('head'));
        return { y: value, ...gradients };
      };

      /** Some rows at a time, each chunk's results in turn. */
      async function* chunks(x: Float32Array, target: Float32Array, kind: 'value' | 'vjp') {
        const tokens = x.length / config.hidden;
        const rowsOf = (data: Float32Array, from: number, rows: number): Value => {
          const columns = data.length / tokens;
          return { data: data.subarray(from * columns, (from + rows) * columns), shape: [rows, columns] };
        };
        const most = headRows(config);
        for (let from = 0; from < tokens; from += most) {
          const rows = Math.min(most, tokens - from);
          const feeds = { ...given, x: rowsOf(x, from, rows), target: rowsOf(target, from, rows) };
          const program = await programs.program(
            `${kind} ${rows} ${key}`,
            () => specsOf(feeds),
            kind === 'vjp' ? vjp : (inputs) => ({ y: run(inputs) }),
          );
          yield { from, results: await program.run(feeds) };
        }
      }

      return {
        async divergence(x, target) {
          let sum = 0;
          for await (const { results } of chunks(x, target, 'value')) sum += results.y.data[0] as number;
          return sum;
        },
        async vjp(x, target) {
          let sum = 0;
          const all = new Float32Array(x.length);
          const added: Record<string, Float32Array> = {};
          for await (const { from, results } of chunks(x, target, 'vjp')) {
            const { dx, gradients } = gradientsOf('head', results);
            sum += results.y.data[0] as number;
            all.set(dx, from * config.hidden);
            addTo(added, gradients);
          }
          return { divergence: sum, dx: all, gradients: added };
        },
      };
    },

    release: () => programs.release(),
  };
}

/** Rounds the head's weight to its grid, again only for another grid: while the head is not tuned, all states of the model have the same. */
function headRounding(): (weight: Value, grid: Encoding | undefined) => Value {
  let last: { readonly grid: Encoding; readonly rounded: Value } | undefined;
  return (weight, grid) => {
    if (!grid) return weight;
    if (last?.grid !== grid) {
      const levels = quantize(weight.data as Float32Array, grid, { signed: true, site: HEAD_WEIGHT });
      last = { grid, rounded: { ...weight, data: dequantize(levels, grid) } };
    }
    return last.rounded;
  };
}

/** Adds a tree to another, in place, `factor` times. */
export function addTo(sum: Record<string, Float32Array>, tree: Tree, factor = 1): void {
  for (const [name, values] of Object.entries(tree)) {
    sum[name] ??= new Float32Array(values.length);
    const total = sum[name];
    for (let i = 0; i < total.length; i++) total[i] = (total[i] as number) + factor * (values[i] as number);
  }
}

/** The value of a part, and its gradients in x and in what is tuned; factors are 1, so that only gradients know of them. */
function differentiated(
  run: (inputs: Tensors) => tf.Tensor,
  inputs: Tensors,
  tuned: readonly TunedInput[],
  dy?: tf.Tensor,
): { value: tf.Tensor; gradients: Record<string, tf.Tensor> } {
  const gains = tuned.flatMap(({ name, shape }) => (name.endsWith('.gain') ? [[name, tf.ones([...shape])]] : []));
  const all: Tensors = { ...inputs, ...Object.fromEntries(gains) };
  const names = ['x', ...tuned.map(({ name }) => name)];
  const f = (...tensors: tf.Tensor[]): tf.Scalar =>
    run({ ...all, ...Object.fromEntries(names.map((name, i) => [name, tensors[i] as tf.Tensor])) }) as tf.Scalar;
  const { value, grads } = tf.valueAndGrads(f)(
    names.map((name) => all[name] as tf.Tensor),
    dy as tf.Scalar | undefined,
  );
  return { value, gradients: Object.fromEntries(names.map((name, i) => [GRADIENT + name, grads[i] as tf.Tensor])) };
}

function gradientsOf(part: Part, results: Values): { dx: Float32Array; gradients: Tree } {
  const gradients: Record<string, Float32Array> = {};
  for (const [name, { data }] of Object.entries(results)) {
    if (name.startsWith(GRADIENT)) gradients[siteName(part, name.slice(GRADIENT.length))] = data as Float32Array;
  }
  const { [siteName(part, 'x')]: dx, ...rest } = gradients;
  return { dx: dx as Float32Array, gradients: rest };
}

const isLinear = (module: string, shapes: Readonly<Record<string, readonly number[]>>): boolean =>
  shapes[`${module}.weight`]?.length === 2;

/** A layer's tensors but for the biases that the tap adds itself, behind the factors of the scales. */
const withoutLinearBiases = (inputs: Tensors, shapes: Readonly<Record<string, readonly number[]>>): Tensors =>
  Object.fromEntries(
    Object.keys(shapes).flatMap((name): [string, tf.Tensor][] => {
      const { module, port } = splitSite(name);
      return port === 'bias' && isLinear(module, shapes) ? [] : [[name, inputs[name] as tf.Tensor]];
    }),
  );

/**
 * What is deployed at each site, with the factors: of norms and of groups at the weight, of other linears at their product. The weights of
 * linears come rounded, and are rounded again only where something moved them. Gradients go straight through that: weights never leave
 * their grids.
 */
function tuningTap(
  encodingOf: (site: string) => Encoding | undefined,
  shapes: Readonly<Record<string, readonly number[]>>,
  inputs: Tensors,
): Tap {
  const quantized = (site: string, x: tf.Tensor, attributes: Partial<FakeQuantizeAttributes>): tf.Tensor => {
    const spec = encodingOf(site)?.spec;
    if (!spec) return x;
    const { [`${site}.scale`]: scale, [`${site}.offset`]: offset } = inputs;
    return quantizeAs(spec, x, scale as tf.Tensor, offset as tf.Tensor, attributes);
  };
  const atProduct = (module: string): boolean =>
    isLinear(module, shapes) && encodingOf(`${module}.weight`)?.spec.granularity.kind !== 'group';
  const gained = (module: string, x: tf.Tensor): tf.Tensor => {
    const gain = inputs[`${module}.weight.gain`];
    if (!gain) return x;
    return gain.rank < 2
      ? tf.mul(x, gain)
      : tf.reshape(tf.mul(tf.reshape(x, [gain.shape[0] as number, -1]), gain), x.shape);
  };
  const moved = (site: string, w: tf.Tensor): tf.Tensor => {
    const { [`${site}.up`]: up, [`${site}.down`]: down, [`${site}.scale`]: scale } = inputs;
    return up && down && scale ? movedBy(w, scale, up, down) : w;
  };
  return {
    weight(site, weight) {
      const { module } = splitSite(site);
      const w = moved(site, weight);
      const own = atProduct(module) ? w : gained(module, w);
      const isRounded = w === weight && isLinear(module, shapes);
      return isRounded ? own : quantized(site, own, { signed: true, fixed: true });
    },
    activation(site, x, hint) {
      const { module, port } = splitSite(site);
      let y = x;
      if (port === 'output' && isLinear(module, shapes)) {
        if (atProduct(module)) y = gained(module, y);
        const bias = inputs[`${module}.bias`];
        if (bias) y = tf.add(y, bias);
      }
      const fixed = encodingOf(site)?.spec.range !== undefined; // never left
      return quantized(site, y, { nonnegative: hint?.nonnegative ?? false, fixed });
    },
  };
}
