/**
 * OmniQuant: learn layer by layer.
 *
 * The target of a layer is the float layer on float inputs; its input is what the quantized layers before it put out.
 * Learn the layer, go on with its quantized output.
 */
import { embed } from '@mobilequant/core';
import type { Executor, Value } from '@mobilequant/tracer';
import { checkSamples } from './check-samples.ts';
import type { LayerLearnables } from './learnables.ts';
import {
  checkLoss,
  type Learned,
  type LearningInput,
  type LearningOptions,
  mean,
  namesIn,
  startSession,
  treeOf,
} from './learning.ts';
import { progressOf } from './progress.ts';

/**
 * Learns every layer in turn, `epochs` times over the samples each.
 *
 * @throws StateMismatchError, InterruptedError, NonFiniteError (a loss that is no number; lower the rates), RangeError without samples.
 */
export async function learnLayerWise(
  executor: Executor,
  input: LearningInput,
  options: LearningOptions,
): Promise<Learned> {
  const { config, weights, samples } = input;
  const { epochs, extraLoss = false, onProgress } = options;
  checkSamples(samples, 'learnLayerWise');
  const session = startSession(executor, 'layer by layer', input, options);
  const { programs, learnables, optimizer } = session;
  const state = await session.resume();
  const steps = epochs * samples.length;
  const progress = progressOf(
    'layer by layer',
    config.layers * steps,
    onProgress,
    state ? state.layer * steps + state.step : 0,
  );

  // The hidden states of all samples, float and quantized, at the layer at work.
  let float: Value[] = await Promise.all(samples.map((sample) => embed(config, weights, sample)));
  const quantized: Value[] = [...float];
  const losses: number[] = [];

  try {
    for (let layer = 0; layer < config.layers; layer++) {
      const own = learnables[layer] as LayerLearnables;
      const targets: Value[] = [];
      for (const x of float) targets.push(await programs.float(layer, x));

      if (!state || layer >= state.layer) {
        const lastEpoch = await learnLayer(layer, own, targets);
        if (lastEpoch.length > 0) losses.push(mean(lastEpoch));
      }

      session.prepare(layer);
      const stored = await programs.stored(layer, own);
      for (let i = 0; i < samples.length; i++) quantized[i] = await stored(quantized[i] as Value);
      float = targets;
    }
  } catch (cause) {
    await programs.release();
    throw cause;
  }
  return { programs, learnables, losses };

  async function learnLayer(layer: number, own: LayerLearnables, targets: readonly Value[]): Promise<number[]> {
    const tree = treeOf(layer, own);
    const moments = session.moments(tree, layer === state?.layer ? state : undefined);
    const lastEpoch: number[] = [];
    for (let step = moments.step; step < steps; step++) {
      const i = step % samples.length;
      const x = quantized[i] as Value;
      const aims = extraLoss ? [targets[i] as Value, await programs.float(layer, x)] : [targets[i] as Value];
      session.prepare(layer);
      const { loss, gradients } = await programs.loss(layer, x, aims, own);
      checkLoss(loss, `OmniQuant, layer ${layer}, step ${step}`);
      optimizer.update(tree, namesIn(layer, gradients), moments, session.learningRate(step, steps));
      if (step >= steps - samples.length) lastEpoch.push(loss);
      progress.step(loss);
      await session.checkpoint(layer, step + 1, moments);
    }
    return lastEpoch;
  }
}
