/**
 * One pass of the float model over calibration text, layer by layer for each sample, with something to look at at every site.
 *
 * What an observer reports of a value is computed in the graph; what it collects is all that is kept of the pass.
 */
import {
  block,
  contextCache,
  type DecoderConfig,
  embed,
  headShapes,
  layerShapes,
  logits,
  type Part,
  readHead,
  readLayer,
  siteName,
  specsOf,
  type Tap,
  type Weights,
} from '@mobilequant/core';
import { type Executor, programCache, type Results, type Value, type Values } from '@mobilequant/tracer';
import type * as tf from '@tensorflow/tfjs';
import { type OnProgress, progressOf } from './progress.ts';

export interface Observer<Name extends string> {
  /** Named in progress. */
  readonly stage: string;
  /** Parts with equal keys report the same of the same sites, and share a graph. */
  key(part: Part): string;
  /** What is to be given out of the value at a site (full name): nothing, or always what `Name` says, and perhaps more. */
  report(
    site: string,
    x: tf.Tensor,
  ): (Readonly<Record<Name, tf.Tensor>> & Readonly<Record<string, tf.Tensor>>) | undefined;
  /** Called with it for every site of a sample that something is given out of, in the order of computation. */
  collect(site: string, reported: Results<Name>): void;
}

export interface ObserveOptions {
  /** Observe the final norm and the head too. Default true. */
  readonly head?: boolean;
  readonly onProgress?: OnProgress;
}

/** Outputs of a graph are named by the site in its part and the observer's name: `mlp.w2.input:min`. */
function observingTap<Name extends string>(
  observer: Observer<Name>,
  part: Part,
  outputs: Record<string, tf.Tensor>,
): Tap {
  return {
    weight: (_, w) => w,
    activation(site, x) {
      const reported = Object.entries(observer.report(siteName(part, site), x) ?? {});
      for (const [name, tensor] of reported) outputs[`${site}:${name}`] = tensor;
      return x;
    },
  };
}

/** Gives each site what its graph reported of it. */
function distribute<Name extends string>(observer: Observer<Name>, part: Part, results: Values): void {
  const sites = new Map<string, Record<string, Value>>();
  for (const [output, value] of Object.entries(results)) {
    const [site, name] = output.split(':') as [string, string?];
    if (name === undefined) continue;
    const reported = sites.get(site) ?? {};
    reported[name] = value;
    sites.set(site, reported);
  }
  for (const [site, reported] of sites) observer.collect(siteName(part, site), reported as Results<Name>);
}

/**
 * Runs the float model over samples, behind its prefix if it has one.
 *
 * @param samples token ids, each a text of its own; samples of equal length share graphs.
 * @throws what `onProgress` throws, to stop it.
 */
export async function observeModel<Name extends string>(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  samples: readonly Int32Array[],
  observer: Observer<Name>,
  { head = true, onProgress }: ObserveOptions = {},
): Promise<void> {
  const programs = programCache(executor);
  const context = contextCache(config);
  const progress = progressOf(observer.stage, samples.length, onProgress);

  try {
    for (const sample of samples) {
      let x: Value = await embed(config, weights, sample);
      for (let layer = 0; layer < config.layers; layer++) x = await observeLayer(layer, x, sample.length);
      if (head) await observeHead(x, sample.length);
      progress.step();
    }
  } finally {
    await programs.release();
  }

  async function observeLayer(layer: number, x: Value, tokens: number): Promise<Value> {
    const shapes = layerShapes(weights, layer);
    const program = await programs.program(
      `block ${tokens} ${observer.key(layer)} ${JSON.stringify(shapes)}`,
      () => ({ x: [tokens, config.hidden], ...specsOf(context(tokens, layer)), ...shapes }),
      (inputs) => {
        const outputs: Record<string, tf.Tensor> = {};
        const tap = observingTap(observer, layer, outputs);
        return { y: block(inputs.x, inputs, inputs, config, { tap }).x, ...outputs };
      },
    );
    const { y, ...results } = await program.run({
      ...context(tokens, layer),
      ...(await readLayer(weights, layer)),
      x,
    });
    distribute(observer, layer, results);
    return y;
  }

  async function observeHead(x: Value, tokens: number): Promise<void> {
    const program = await programs.program(
      `head ${tokens} ${observer.key('head')}`,
      () => ({ x: [tokens, config.hidden], ...headShapes(weights) }),
      (inputs) => {
        const outputs: Record<string, tf.Tensor> = {};
        logits(inputs.x, inputs, config, observingTap(observer, 'head', outputs));
        return outputs;
      },
    );
    distribute(observer, 'head', await program.run({ x, ...(await readHead(weights)) }));
  }
}
