/**
 * GPTQ: weights rounded so that the errors of a linear's columns cancel on the inputs that it gets.
 *
 * Layer by layer, over the hidden states that the quantized layers before it put out; within a layer q, k, v → o → w1, w3 → w2,
 * each seeing what the rounded ones before it make of them. A stage needs one value of the block, so it runs the block with a tap
 * that reports this value, and that gives back others already known: the graph in front of those falls away.
 */
import {
  block,
  contextCache,
  type DecoderConfig,
  embed,
  layerShapes,
  type Reading,
  readLayer,
  simulatedReading,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import {
  dequantize,
  type Encoding,
  encodingFromRanges,
  quantize,
  type Ranges,
  resolveRecipe,
  type UnsignedLevels,
} from '@mobilequant/quantizer';
import { type Executor, type ProgramCache, programCache, type Value, type Values } from '@mobilequant/tracer';
import type * as tf from '@tensorflow/tfjs';
import { clipByError } from './clip-by-error.ts';
import { addInputs, emptyHessian, feedbackOf } from './hessian.ts';
import { type OnProgress, progressOf } from './progress.ts';
import { type QuantizeInput, quantizeModel } from './quantize-model.ts';
import { roundWithFeedback } from './round-with-feedback.ts';

export interface GptqInput extends QuantizeInput {
  /** Token ids, each a text of its own; samples of equal length share graphs. */
  readonly samples: readonly Int32Array[];
}

export interface GptqOptions {
  /** Added to the diagonal of each Hessian, as a part of its mean. Default 0.01. */
  readonly damping?: number;
  /** Columns that are worked on at once. Default 128. */
  readonly block?: number;
  /** `nearest` chooses the same scales and rounds without feedback, for comparison. Default `gptq`. */
  readonly rounding?: 'gptq' | 'nearest';
  readonly onProgress?: OnProgress;
  /** Looked at before each layer; an aborted one throws its reason. */
  readonly signal?: AbortSignal;
}

/** What `quantizeModel` takes, with weights that lie on the grids that it makes of `clipping`. */
export type GptqResult = Required<QuantizeInput>;

/** Linears that have one input, in the order in which values pass them; `cut` where the block can go on from that input alone. */
const STAGES: readonly { readonly modules: readonly string[]; readonly cut: boolean }[] = [
  { modules: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'], cut: false },
  { modules: ['self_attn.o_proj'], cut: true },
  { modules: ['mlp.w1', 'mlp.w3'], cut: false },
  { modules: ['mlp.w2'], cut: true },
];

/**
 * Rounds the quantized linears of all layers. What a weight keeps is what `clipping` says, or else chosen by Hessian-weighted error.
 *
 * @throws RecipeError when a site of the recipe has no range, before anything is computed.
 */
export async function gptq(
  executor: Executor,
  { samples, ...input }: GptqInput,
  { damping = 0.01, block = 128, rounding = 'gptq', onProgress, signal }: GptqOptions = {},
): Promise<GptqResult> {
  const { config, recipe } = input;
  const resolve = resolveRecipe(recipe);
  const { model } = await quantizeModel(input);
  const rounded = new Map<string, Rounded>();
  const weights = roundedWeights(input.weights, rounded);
  const programs = programCache(executor);
  const simulated = layerRunner(programs, config, weights, simulatedReading(withoutLinears(model.encodings)));
  const progress = progressOf('gptq', config.layers, onProgress);

  let hidden: Value[] = await Promise.all(samples.map((sample) => embed(config, weights, sample)));
  for (let layer = 0; layer < config.layers; layer++) {
    signal?.throwIfAborted();
    const known: Record<string, Value>[] = hidden.map(() => ({}));
    for (const { modules, cut } of STAGES) {
      const quantized = modules.flatMap((module) => {
        const site = `model.layers.${layer}.${module}.weight`;
        const spec = weights.has(site) && resolve(site);
        return spec ? [{ site, spec }] : [];
      });
      if (quantized.length === 0) continue;

      const site = `${modules[0]}.input`;
      const tensors = await readLayer(weights, layer);
      let hessian: Value | undefined;
      for (const [i, x] of hidden.entries()) {
        const value = await simulated(layer, tensors, x, known[i] as Values, site);
        hessian = await addInputs(programs, hessian ?? emptyHessian(value.shape[1] as number), value);
        if (cut) (known[i] as Record<string, Value>)[site] = value;
      }
      if (!hessian) continue;

      const feedback = await feedbackOf(programs, hessian, { damping, block });
      for (const { site, spec } of quantized) {
        const weight: Value = { data: await weights.read(site), shape: weights.shape(site) };
        const ranges =
          input.clipping?.get(site) ??
          clipByError(weight, spec, rounding === 'gptq' ? feedback.pivots : feedback.diagonal, site);
        const { encoding } = encodingFromRanges(ranges, spec, { site });
        const levels =
          rounding === 'gptq'
            ? await roundWithFeedback(programs, weight, encoding, feedback)
            : quantize(weight.data as Float32Array, encoding, { site });
        rounded.set(site, { levels, encoding, ranges });
      }
    }
    const tensors = await readLayer(weights, layer);
    const next: Value[] = [];
    for (const [i, x] of hidden.entries()) next.push(await simulated(layer, tensors, x, known[i] as Values));
    hidden = next;
    progress.step();
  }
  await programs.release();
  const kept = [...rounded].map(([site, { ranges }]) => [site, ranges] as const);
  return { ...input, weights, clipping: new Map([...(input.clipping ?? []), ...kept]) };
}

/** A weight as integers: a quarter of the memory, and the same reals whenever they are asked for. */
interface Rounded {
  readonly levels: UnsignedLevels;
  readonly encoding: Encoding;
  readonly ranges: Ranges;
}

const roundedWeights = (weights: Weights, rounded: ReadonlyMap<string, Rounded>): Weights => ({
  names: () => weights.names(),
  has: (name) => weights.has(name),
  shape: (name) => weights.shape(name),
  readRows: (name, rows) => weights.readRows(name, rows),
  async read(name) {
    const own = rounded.get(name);
    return own ? dequantize(own.levels, own.encoding) : weights.read(name);
  },
});

/** Encodings of everything but the layers' linears, whose weights lie on their grids when they are used. */
function withoutLinears(encodings: ReadonlyMap<string, Encoding>): Map<string, Encoding> {
  const linears = new Set(STAGES.flatMap(({ modules }) => modules.map((module) => `${module}.weight`)));
  return new Map([...encodings].filter(([site]) => !linears.has(site.replace(/^model\.layers\.\d+\./, ''))));
}

const KNOWN = 'known:';

/**
 * Runs a layer, quantized but for its linears' weights, as far as a site if one is named, or to its end.
 *
 * @returns `[tokens, channels]` as it is behind the site's quantizer.
 */
function layerRunner(
  programs: ProgramCache,
  config: DecoderConfig,
  weights: Weights,
  reading: Reading,
): (layer: number, tensors: Values, x: Value, known: Values, site?: string) => Promise<Value> {
  const context = contextCache(config);
  return async (layer, tensors, x, known, wanted) => {
    const tokens = x.shape[0] as number;
    const given = Object.fromEntries(Object.entries(known).map(([site, value]) => [KNOWN + site, value]));
    const values: Values = { ...context(tokens, layer), ...tensors, ...reading.values(layer), ...given, x };
    const program = await programs.program(
      `layer ${tokens} ${wanted} ${Object.keys(known)} ${JSON.stringify(layerShapes(weights, layer))} ${reading.key(layer)}`,
      () => specsOf(values),
      (inputs) => {
        const quantized = reading.tap(layer, inputs);
        let found: tf.Tensor | undefined;
        const tap: Tap = {
          weight: quantized.weight,
          activation(site, x, hint) {
            const y = inputs[KNOWN + site] ?? quantized.activation(site, x, hint);
            if (site === wanted) found = y;
            return y;
          },
        };
        const named = inputs as Readonly<Record<'x' | 'cos' | 'sin' | 'mask', tf.Tensor>> & typeof inputs;
        const end = block(named.x, named, named, config, { tap, queryChunk: 128 }).x;
        return { y: found ?? end };
      },
    );
    return (await program.run(values)).y;
  };
}
