/** The logits of a model, to look at elsewhere. */
import { writeSafetensors } from '@mobilequant/checkpoint/node';

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
