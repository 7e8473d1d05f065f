/**
 * transformers.js goes on with a prompt, greedily, from what `mobilequant export --target transformers-js` wrote.
 *
 *     node generate-transformers.mjs DIR --prompt TEXT [--tokens N] [--same-as FILE]
 *
 * FILE is what `mobilequant generate … --json` printed; other tokens than its are an error.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { AutoModelForCausalLM, AutoTokenizer, env } from '@huggingface/transformers';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompt: { type: 'string' },
    tokens: { type: 'string', default: '24' },
    'same-as': { type: 'string' },
  },
});
const [directory] = positionals;
if (directory === undefined || values.prompt === undefined)
  throw new Error('usage: node generate-transformers.mjs DIR --prompt TEXT [--tokens N] [--same-as FILE]');
env.allowRemoteModels = false;
env.localModelPath = '/';

const tokenizer = await AutoTokenizer.from_pretrained(resolve(directory));
const model = await AutoModelForCausalLM.from_pretrained(resolve(directory));
const prompt = tokenizer(values.prompt, { add_special_tokens: false });
const start = performance.now();
const made = await model.generate({ ...prompt, max_new_tokens: Number(values.tokens), do_sample: false });
const seconds = (performance.now() - start) / 1000;
const tokens = Array.from(made.data, Number).slice(prompt.input_ids.dims[1]);
if ([model.generation_config.eos_token_id].flat().includes(tokens.at(-1))) tokens.pop(); // it ends the text, and is no part of it
const cache = model.sessions.model.inputMetadata.find(({ name }) => name === 'past_key_values.0.key')?.type;
console.log(JSON.stringify({ text: tokenizer.decode(tokens), tokens, seconds, cache }));

if (values['same-as'] !== undefined) {
  const wanted = JSON.parse(readFileSync(values['same-as'], 'utf8')).tokens;
  if (JSON.stringify(wanted) !== JSON.stringify(tokens))
    throw new Error(`expected the tokens ${wanted}, got ${tokens}.`);
}
