/**
 * MobileQuant: learn all layers at once, end to end, by the error of the last layer's output.
 *
 * Forward through the quantized layers keeping only their inputs, the gradient of the loss, then each layer's own
 * gradient from the last to the first, recomputing its forward: memory is one layer's, however deep the model.
 */
import { createDecoder, type Decoder, embed } from '@mobilequant/core';
import type { Executor, Value } from '@mobilequant/tracer';
import { checkSamples } from './check-samples.ts';
import type { LayerLearnables } from './learnables.ts';
import {
  allParameters,
  checkLoss,
  type Learned,
  type LearningInput,
  type LearningOptions,
  mean,
  namesIn,
  type Session,
  startSession,
} from './learning.ts';
import { progressOf } from './progress.ts';

/** Targets are kept for all samples up to this size, and computed again each epoch beyond it. */
export const TARGET_BYTES: number = 512 * 2 ** 20;

/**
 * Learns `epochs` times over the samples, one step each.
 *
 * @throws StateMismatchError, InterruptedError, NonFiniteError (a loss that is no number; lower the rates), RangeError without samples.
 */
export async function learnEndToEnd(
  executor: Executor,
  input: LearningInput,
  options: LearningOptions,
): Promise<Learned> {
  const { config, weights, samples } = input;
  const { epochs, extraLoss = false, onProgress } = options;
  checkSamples(samples, 'learnEndToEnd');
  const session = startSession(executor, 'end to end', input, options);
  const { programs, learnables, optimizer } = session;
  const tree = allParameters(learnables);
  const moments = session.moments(tree, await session.resume());
  const steps = epochs * samples.length;
  const decoder = createDecoder(executor, config, weights);
  const targetOf = floatTargets(decoder, input);
  const progress = progressOf('end to end', steps, onProgress, moments.step);
  const losses: number[] = [];
  let epoch: number[] = [];

  try {
    for (let step = moments.step; step < steps; step++) {
      const sample = samples[step % samples.length] as Int32Array;
      const target = await targetOf(sample);
      const { loss, gradients } = await endToEndGradients(session, input, sample, target, extraLoss ? 2 : 1);
      checkLoss(loss, `MobileQuant, step ${step}`);
      optimizer.update(tree, gradients, moments, session.learningRate(step, steps));
      epoch.push(loss);
      if ((step + 1) % samples.length === 0) {
        losses.push(mean(epoch));
        epoch = [];
      }
      progress.step(loss);
      await session.checkpoint(0, step + 1, moments);
    }
  } catch (cause) {
    await programs.release();
    throw cause;
  } finally {
    await decoder.release();
  }
  return { programs, learnables, losses };
}

/**
 * The loss of one sample, `weight` times the mean squared error, and the gradient of every parameter (`<layer>/<name>`).
 *
 * @param target the float model's output of the last block, `[tokens, hidden]`
 * @returns with the quantized model's, likewise.
 */
export async function endToEndGradients(
  { programs, learnables, prepare }: Pick<Session, 'programs' | 'learnables' | 'prepare'>,
  { config, weights }: Pick<LearningInput, 'config' | 'weights'>,
  sample: Int32Array,
  target: Float32Array,
  weight = 1,
): Promise<{ loss: number; gradients: Record<string, Float32Array>; output: Float32Array }> {
  const inputs: Value[] = [];
  let x: Value = await embed(config, weights, sample);
  for (let layer = 0; layer < config.layers; layer++) {
    prepare(layer);
    inputs.push(x);
    x = await programs.forward(layer, x, learnables[layer] as LayerLearnables);
  }
  const output = x.data as Float32Array;
  const error = output.map((y, i) => y - (target[i] as number));
  const loss = (weight * error.reduce((sum, e) => sum + e * e, 0)) / error.length;

  let dy: Value = { data: error.map((e) => (2 * weight * e) / error.length), shape: x.shape };
  const gradients: Record<string, Float32Array> = {};
  for (let layer = config.layers - 1; layer >= 0; layer--) {
    const result = await programs.vjp(layer, inputs[layer] as Value, dy, learnables[layer] as LayerLearnables);
    Object.assign(gradients, namesIn(layer, result.gradients));
    dy = result.dx;
  }
  return { loss, gradients, output };
}

/** The float model's last hidden state of a sample, `[tokens, hidden]`. */
export function floatTargets(
  decoder: Decoder,
  { config, samples }: Pick<LearningInput, 'config' | 'samples'>,
): (sample: Int32Array) => Promise<Float32Array> {
  const bytes = samples.reduce((sum, sample) => sum + sample.length * config.hidden * 4, 0);
  if (bytes > TARGET_BYTES) return (sample) => decoder.hidden(sample);
  const kept = new Map<Int32Array, Promise<Float32Array>>();
  return (sample) => {
    let target = kept.get(sample);
    if (!target) kept.set(sample, (target = decoder.hidden(sample)));
    return target;
  };
}
