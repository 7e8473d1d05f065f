/**
 * How likely a model finds a text, token by token, whether the model computes that itself or hands out logits.
 */
import type { LanguageModel } from '@mobilequant/core';

/** `-log p(tokens[i + 1] | tokens[0 … i])` in nats, `[tokens - 1]`; through the logits where the model does not compute it. */
export async function negativeLogLikelihood(model: LanguageModel, tokens: Int32Array): Promise<Float32Array> {
  if (model.negativeLogLikelihood) return model.negativeLogLikelihood(tokens);
  return negativeLogLikelihoodFromLogits(await model.logits(tokens), tokens.subarray(1));
}

/**
 * The same from logits, in float64.
 *
 * @param logits `[tokens, vocab]`; what the last row predicts is not known
 * @param targets the token that follows each other row, `[tokens - 1]`
 */
export function negativeLogLikelihoodFromLogits(logits: Float32Array, targets: Int32Array): Float32Array {
  const vocab = logits.length / (targets.length + 1);
  return Float32Array.from(targets, (target, i) => {
    const row = logits.subarray(i * vocab, (i + 1) * vocab);
    return logSumExp(row) - (row[target] as number);
  });
}

/** log Σ exp(x), in float64, without overflow. */
export function logSumExp(x: Float32Array): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (const value of x) if (value > highest) highest = value;
  let sum = 0;
  for (const value of x) sum += Math.exp(value - highest);
  return highest + Math.log(sum);
}
