/** Whether two models are one function: their logits on the same text, and those of the second to look at elsewhere. */
import { writeSafetensors } from '@mobilequant/checkpoint/node';
import type { LanguageModel } from '@mobilequant/core';

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
 * Compares two models of one vocabulary on texts `[tokens]`.
 *
 * @param each is given the logits `[tokens, vocab]` of the second model on each text.
 */
export async function compareLogits(
  original: LanguageModel,
  other: LanguageModel,
  texts: readonly Int32Array[],
  each: (text: number, logits: Float32Array) => void = () => {},
): Promise<LogitComparison> {
  const { vocab } = original;
  let [apart, largest, squares, equal, tokens] = [0, 0, 0, 0, 0];
  for (const [index, text] of texts.entries()) {
    const [a, b] = [await original.logits(text), await other.logits(text)];
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
