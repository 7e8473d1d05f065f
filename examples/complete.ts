/**
 * Goes on with a text, token by token, always the likeliest: a look at what a model of any covered architecture says.
 *
 *     pnpm exec node examples/complete.ts MODEL 'Once upon a time' [TOKENS]
 *
 * MODEL is a directory, a GGUF file, or a name on the Hugging Face hub. The whole text is computed for each token (no cache), padded
 * to one length on the right, where a causal decoder does not look.
 */
import { cachedWeights, createDecoder } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { readModel } from 'mobilequant';

/** `prompt` and what the model says after it, up to `count` tokens. */
export async function complete(name: string, prompt: string, count = 32): Promise<string> {
  const { checkpoint, config, weights } = await readModel(name);
  const tokenizer = await checkpoint.tokenizer();
  const begun = tokenizer.encode(prompt, { addSpecialTokens: true });
  const tokens = new Int32Array(begun.length + count);
  tokens.set(begun);

  const decoder = createDecoder(nodeRuntime({ threads: 2 }), config, cachedWeights(weights));
  let length = begun.length;
  while (length < tokens.length) {
    const hidden = await decoder.hidden(tokens);
    const logits = await decoder.logits(hidden.subarray((length - 1) * config.hidden, length * config.hidden));
    const likeliest = logits.reduce((best, value, id) => (value > (logits[best] as number) ? id : best), 0);
    if (likeliest === tokenizer.eosId) break;
    tokens[length++] = likeliest;
  }
  await decoder.release();
  return tokenizer.decode(tokens.subarray(0, length), { skipSpecialTokens: true });
}

if (import.meta.main) {
  const [name, prompt, count = '32'] = process.argv.slice(2);
  if (!name || !prompt) throw new Error('complete: expected MODEL TEXT [TOKENS].');
  console.log(await complete(name, prompt, Number(count)));
}
