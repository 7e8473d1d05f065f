/**
 * Trains the tokenizer on a piece of the training text and writes its files into `model/`.
 *
 *     node examples/tiny-llama/make-tokenizer.ts
 */
import { tokenizerFiles, trainBytePairs } from './byte-pair-encoding.ts';
import { readJson, writeJson } from './files.ts';
import { generateText, SPLITS } from './generator.ts';

const config = readJson('config.json') as { vocab_size: number; max_position_embeddings: number };
const text = generateText({ seed: SPLITS.train, characters: 2_000_000 });
const encoding = trainBytePairs(text, { vocab: config.vocab_size, special: ['<|endoftext|>'] });
for (const [name, content] of Object.entries(tokenizerFiles(encoding, config.max_position_embeddings)))
  writeJson(name, content);
