/** Whether two float models are one function: their logits on the same text, and those of the second to look at elsewhere. */
import { writeSafetensors } from '@mobilequant/checkpoint/node';
import { createDecoder, languageModel } from '@mobilequant/core';
import type { Runtime } from '@mobilequant/tracer';
import type { Model } from './read-model.ts';

export interface LogitComparison {
  /** The largest difference, relative to the largest logit. NaN where one is. */
  readonly relativeError: number;
  /** Mean of squared differences. */
  readonly squaredError: number;
  /** Share of positions at which both find the same token likeliest. */
  readonly agreement: number;
  /** Positions compared. */
  readonly tokens: number;
}

/**
 * Compares two models of one vocabulary on texts `[tokens]`. Weights are read for each text anew, so that a layer of each model
 * is in memory at a time.
 *
 * @param each is given the logits `[tokens, vocab]` of the second model on each text.
 */
export async function compareLogits(
  runtime: Runtime,
  original: Pick<Model, 'config' | 'weights'>,
  other: Pick<Model, 'config' | 'weights'>,
  texts: readonly Int32Array[],
  each: (text: number, logits: Float32Array) => void = () => {},
): Promise<LogitComparison> {
  const models = [original, other].map(({ config, weights }) => languageModel(createDecoder(runtime, config, weights)));
  const { vocab } = original.config;
  let [apart, largest, squares, equal, tokens] = [0, 0, 0, 0, 0];
  for (const [index, text] of texts.entries()) {
    const [a, b] = [await models[0]?.logits(text), await models[1]?.logits(text)] as [Float32Array, Float32Array];
    each(index, b);
    for (let position = 0; position < text.length; position++) {
      let [bestA, bestB] = [position * vocab, position * vocab];
      for (let i = position * vocab; i < (position + 1) * vocab; i++) {
        const [x, y] = [a[i] as number, b[i] as number];
        apart = Math.max(apart, Math.abs(x - y)); // NaN stays NaN
        largest = Math.max(largest, Math.abs(x));
        squares += (x - y) ** 2;
        if (x > (a[bestA] as number)) bestA = i;
        if (y > (b[bestB] as number)) bestB = i;
      }
      if (bestA === bestB) equal++;
    }
    tokens += text.length;
  }
  for (const model of models) await model.release?.();
  return {
    relativeError: apart / largest,
    squaredError: squares / (tokens * vocab),
    agreement: equal / tokens,
    tokens,
  };
}

/** Writes texts `input_ids` int32 `[texts, tokens]` and their `logits` float32 `[texts, tokens, vocab]`. */
export async function writeLogits(
  file: string,
  texts: readonly Int32Array[],
  logits: readonly Float32Array[],
): Promise<void> {
  const tokens = texts[0]?.length ?? 0;
  const ids = new Int32Array(texts.length * tokens);
  texts.forEach((text, i) => {
    ids.set(text, i * tokens);
  });
  const all = new Float32Array(logits.reduce((sum, { length }) => sum + length, 0));
  logits.forEach((values, i) => {
    all.set(values, i * values.length);
  });
  await writeSafetensors(file, [
    { name: 'input_ids', dtype: 'int32', shape: [texts.length, tokens], data: () => ids },
    { name: 'logits', dtype: 'float32', shape: [texts.length, tokens, all.length / ids.length], data: () => all },
  ]);
}
