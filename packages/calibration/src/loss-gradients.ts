/**
 * The gradients of the loss in what passes sites. The loss is the negative log-likelihood of the text, the model the float one: for each sample a pass
 * forward that keeps what enters each layer, and one back.
 */
import {
  block,
  contextCache,
  createDecoder,
  type DecoderConfig,
  floatTap,
  headRows,
  logits,
  readHead,
  readLayer,
  siteName,
  softmax,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import { layerSites } from '@mobilequant/quantizer';
import { type Executor, type ProgramCache, programCache, type Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { type OnProgress, progressOf } from './progress.ts';

export interface GradientsInput {
  readonly config: DecoderConfig;
  readonly weights: Weights;
  /** Token ids, each a text of its own. */
  readonly samples: readonly Int32Array[];
  /** Sites of the layers, by full name, that are asked about. */
  readonly asked: (site: string) => boolean;
}

const VALUE = 'value:';
const GRADIENT = 'gradient:';
const QUERY_CHUNK = 128;

/** What some tokens have at a site, and the loss's gradient in it: `[tokens, channels]`, or in attention `[heads, tokens, …]`. Equal shapes. */
export interface SiteGradient {
  /** Full name. */
  readonly site: string;
  readonly value: Value;
  readonly gradient: Value;
}

/**
 * Gives every site that is asked about to `each`, once a sample; scores and probabilities once for each chunk of its queries. In memory are the
 * states before each layer of one sample, and what the sites of one layer hold.
 *
 * @throws what `each` throws, and `onProgress`, to stop it.
 */
export async function lossGradients(
  executor: Executor,
  { config, weights, samples, asked }: GradientsInput,
  each: (found: SiteGradient, programs: ProgramCache) => void | Promise<void>,
  { onProgress }: { readonly onProgress?: OnProgress } = {},
): Promise<void> {
  const programs = programCache(executor);
  const context = contextCache(config);
  const decoder = createDecoder(executor, config, weights);
  const progress = progressOf('gradients', samples.length * config.layers, onProgress);

  const backward = async (layer: number, x: Value, dy: Value): Promise<Value> => {
    const own = await readLayer(weights, layer);
    const given = { ...context(x.shape[0] as number, layer), ...own, x, dy };
    const mine = (site: string): boolean => asked(siteName(layer, site));
    const program = await programs.program(
      `layer ${JSON.stringify([specsOf(given), layerSites(config).filter(mine)])}`,
      () => specsOf(given),
      (inputs) => {
        const caught: Record<string, tf.Tensor> = {};
        const { cos, sin, mask } = inputs as Record<'cos' | 'sin' | 'mask', tf.Tensor>;
        const f = (y: tf.Tensor): tf.Scalar =>
          block(y, inputs, { cos, sin, mask }, config, { tap: probe(mine, caught), queryChunk: QUERY_CHUNK })
            .x as tf.Scalar;
        const dx = tf.grad(f)(inputs.x as tf.Tensor, inputs.dy as tf.Tensor);
        return { dx, ...caught };
      },
    );
    const { dx, ...caught } = await program.run(given);
    for (const [name, value] of Object.entries(caught)) {
      if (!name.startsWith(VALUE)) continue;
      const passing = name.slice(VALUE.length);
      const site = siteName(layer, passing.slice(0, passing.indexOf(' ')));
      await each({ site, value, gradient: caught[GRADIENT + passing] as Value }, programs);
    }
    progress.step();
    return dx as Value;
  };

  try {
    for (const sample of samples) {
      const inputs: Value[] = [];
      const shape = [sample.length, config.hidden];
      let x = await decoder.embed(sample);
      for (let layer = 0; layer < config.layers; layer++) {
        inputs.push({ data: x, shape });
        x = await decoder.block(layer, x);
      }
      let dy: Value = { data: await headGradient(programs, config, weights, x, sample), shape };
      for (let layer = config.layers - 1; layer >= 0; layer--) dy = await backward(layer, inputs[layer] as Value, dy);
    }
  } finally {
    await programs.release();
    await decoder.release();
  }
}

/** Reports values of sites, and the gradients that come back to them, under `site n`: a block passes a site once or, in chunks, several times. */
function probe(asked: (site: string) => boolean, caught: Record<string, tf.Tensor>): Tap {
  const passed = new Map<string, number>();
  return {
    weight: floatTap.weight,
    activation(site, x) {
      if (!asked(site)) return x;
      const times = passed.get(site) ?? 0;
      passed.set(site, times + 1);
      const passing = `${site} ${times}`;
      caught[VALUE + passing] = tf.keep(tf.mul(x, 1));
      return tf.customGrad((y) => ({
        value: tf.mul(y as tf.Tensor, 1),
        gradFunc: (dy: tf.Tensor) => {
          caught[GRADIENT + passing] = tf.keep(tf.mul(dy, 1));
          return dy;
        },
      }))(x);
    },
  };
}

/**
 * The gradient of the negative log-likelihood of a text, of all its tokens but the first, in the output of the last block.
 *
 * @param x `[tokens, hidden]`
 */
async function headGradient(
  programs: ProgramCache,
  config: DecoderConfig,
  weights: Weights,
  x: Float32Array,
  text: Int32Array,
): Promise<Float32Array> {
  const { hidden, vocab } = config;
  const head = await readHead(weights);
  const result = new Float32Array(x.length); // the last token foretells nothing
  const most = headRows(config);
  for (let from = 0; from < text.length - 1; from += most) {
    const rows = Math.min(most, text.length - 1 - from);
    const given = { ...head, x: { data: x.subarray(from * hidden, (from + rows) * hidden), shape: [rows, hidden] } };
    const forward = await programs.program(
      `probabilities ${rows}`,
      () => specsOf(given),
      (inputs) => ({ p: softmax(logits(inputs.x as tf.Tensor, inputs, config)) }),
    );
    const dz = Float32Array.from((await forward.run(given)).p.data as Float32Array);
    for (let i = 0; i < rows; i++) {
      const target = i * vocab + (text[from + i + 1] as number);
      dz[target] = (dz[target] as number) - 1;
    }
    const all = { ...given, dz: { data: dz, shape: [rows, vocab] } };
    const backward = await programs.program(
      `head ${rows}`,
      () => specsOf(all),
      (inputs) => ({
        dx: tf.grad((y) => logits(y, inputs, config) as tf.Scalar)(inputs.x as tf.Tensor, inputs.dz as tf.Tensor),
      }),
    );
    result.set((await backward.run(all)).dx.data as Float32Array, from * hidden);
  }
  return result;
}
