/**
 * How far a part of a layer is from its float output when it is quantized: attention, the MLP, or both where one norm feeds them.
 *
 *     error = mean over tokens of ‖simulated - float‖² / ‖residual‖²
 *
 * Parts are cut out of the block by the tap: what enters the residual stream's site is given, and what the part adds to the stream is
 * caught; the rest of the graph falls away.
 */
import {
  block,
  contextCache,
  type DecoderConfig,
  layerShapes,
  rowDot,
  rowsOf,
  siteName,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import { layerSites, type Recipe, type ResolveSite } from '@mobilequant/quantizer';
import { type Executor, programCache, type Value, type Values } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { learningTap, type Pair } from './learnables.ts';
import { evenPlaces } from './numbers.ts';
import type { LayerObservation } from './observe-layer.ts';
import { applyTransform } from './transform.ts';
import { scaleTransform } from './transformed-weights.ts';

/** From where the residual stream is read to what is added to it. */
export interface Part {
  readonly input: string;
  readonly outputs: readonly string[];
  /** Tokens do not see each other. */
  readonly rowwise: boolean;
  /** Whether a site, named in its layer, lies in it. */
  readonly has: (site: string) => boolean;
}

/** A text, or rows of some: what enters a part and what its float outputs add up to, `[tokens, hidden]` both. */
export interface PartTokens {
  readonly x: Value;
  readonly target: Value;
}

const TINY = 1e-20; // against a residual of zeros

/** The part that a pair's scales change. */
export function partOf(pair: Pair, { residual, outputNorms }: DecoderConfig): Part {
  const parallel = residual === 'parallel';
  const normed = outputNorms && !parallel;
  const attention = normed ? 'attention_output_layernorm.output' : 'self_attn.o_proj.output';
  const mlp = normed ? 'mlp_output_layernorm.output' : 'mlp.w2.output';
  const input = 'input_layernorm.input';
  const isOfMlp = (site: string): boolean => /^(mlp|post_attention_layernorm)/.test(site);
  const isOfAttention = (site: string): boolean => !isOfMlp(site);
  if (parallel) {
    const outputs = { qkv: [attention, mlp], fc1: [mlp], fc2: [mlp], out: [attention], qkt: [attention] }[pair];
    return { input, outputs, rowwise: pair === 'fc1' || pair === 'fc2', has: () => true };
  }
  if (pair === 'fc1' || pair === 'fc2')
    return { input: 'post_attention_layernorm.input', outputs: [mlp], rowwise: true, has: isOfMlp };
  return { input, outputs: [attention], rowwise: false, has: isOfAttention };
}

/** At most `budget` tokens of what was observed, spread evenly: rows of all texts, or whole texts (at least one) where tokens see each other. */
export function tokensOf({ input, outputs, rowwise }: Part, observed: LayerObservation, budget: number): PartTokens[] {
  const xs = observed.values(input);
  const all = xs.map(
    (x, i): PartTokens => ({ x, target: sum(outputs.map((site) => observed.values(site)[i] as Value)) }),
  );
  const total = xs.reduce((n, { shape }) => n + (shape[0] as number), 0);
  if (!rowwise) {
    const count = Math.max(1, Math.floor((budget * all.length) / total));
    return count >= all.length ? all : evenPlaces(all.length, count).map((i) => all[i] as PartTokens);
  }
  const rows = evenPlaces(total, Math.min(budget, total));
  return [
    {
      x: rowsOfAll(xs, rows),
      target: rowsOfAll(
        all.map(({ target }) => target),
        rows,
      ),
    },
  ];
}

export interface PartErrorsInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** The recipe's, by full site name. */
  readonly resolve: ResolveSite;
}

export interface PartErrors {
  /**
   * The error of a part, averaged over all its tokens.
   *
   * @param given the layer's tensors, a scale for each pair (see `scaleValues`), and `<site>.scale`, `<site>.offset` of its quantized
   * activations. Weights are rounded as the recipe says, with ranges of what they hold after scaling.
   */
  error(layer: number, part: Part, tokens: readonly PartTokens[], given: Values): Promise<number>;
  release(): Promise<void>;
}

/** The simulated parts of a model's layers, compiled once for each shape. */
export function partErrors(executor: Executor, { config, weights, recipe, resolve }: PartErrorsInput): PartErrors {
  const programs = programCache(executor);
  const context = contextCache(config);
  const targets = { pairs: [], shifts: false, clipping: false, ranges: false };

  const errorOf = async (layer: number, part: Part, { x, target }: PartTokens, given: Values): Promise<number> => {
    const rows = x.shape[0] as number;
    const shapes = layerShapes(weights, layer);
    const specOf: ResolveSite = (site) => resolve(siteName(layer, site));
    const specs = layerSites(config).map((site) => specOf(site) ?? null);
    const values = { ...context(rows, layer), ...given, x, target };
    const program = await programs.program(
      JSON.stringify([part, rows, shapes, specs, Object.keys(given)]),
      () => specsOf(values),
      (inputs) => {
        const own = Object.fromEntries(Object.keys(shapes).map((name) => [name, inputs[name] as tf.Tensor]));
        const scaled = applyTransform(own, scaleTransform(inputs), config);
        const added: tf.Tensor[] = [];
        const tap = partTap(
          part,
          inputs.x,
          added,
          learningTap(inputs, { resolve: specOf, conventions: recipe.conventions, targets }),
        );
        block(inputs.x, scaled, inputs, config, { tap, queryChunk: 128 });
        const difference = tf.sub(
          added.reduce((a, b) => tf.add(a, b)),
          inputs.target,
        );
        const size = tf.maximum(rowDot(inputs.x, inputs.x), TINY);
        return { error: tf.mean(tf.div(rowDot(difference, difference), size)) };
      },
    );
    return (await program.run(values)).error.data[0] as number;
  };

  return {
    async error(layer, part, tokens, given) {
      let total = 0;
      let rows = 0;
      for (const own of tokens) {
        const count = own.x.shape[0] as number;
        total += count * (await errorOf(layer, part, own, given));
        rows += count;
      }
      return total / rows;
    },
    release: () => programs.release(),
  };
}

/** Puts the given residual in at the part's input, and takes out what the part adds to it. */
function partTap({ input, outputs }: Part, x: tf.Tensor, added: tf.Tensor[], tap: Tap): Tap {
  return {
    weight: tap.weight,
    activation(site, value, hint) {
      const y = tap.activation(site, site === input ? x : value, hint);
      if (outputs.includes(site)) added.push(y);
      return y;
    },
  };
}

function sum(values: readonly Value[]): Value {
  const [first, ...others] = values as [Value, ...Value[]];
  if (others.length === 0) return first;
  const data = Float32Array.from(first.data as Float32Array);
  for (const own of others) {
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + (own.data[i] as number);
  }
  return { data, shape: first.shape };
}

/** Rows of texts one after another. */
function rowsOfAll(texts: readonly Value[], rows: readonly number[]): Value {
  const columns = texts[0]?.shape[1] as number;
  const all = new Float32Array(texts.reduce((size, { data }) => size + data.length, 0));
  let at = 0;
  for (const { data } of texts) {
    all.set(data as Float32Array, at);
    at += data.length;
  }
  return { data: rowsOf(all, columns, rows), shape: [rows.length, columns] };
}
