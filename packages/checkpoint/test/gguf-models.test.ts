/**
 * Real GGUF files against the Hugging Face directories that another program (the `gguf` package) made of them. `MOBILEQUANT_MODELS`
 * names a folder with pairs of both: `NAME.gguf` and `NAME/`, its matrices in float16.
 */
import { existsSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../src/checkpoint.ts';
import { toFloat16 } from '../src/float16.ts';
import { openSafetensors } from '../src/safetensors-file.ts';

const folder = process.env.MOBILEQUANT_MODELS;
const pairs = folder
  ? globSync('*.gguf', { cwd: folder }).map((file) => join(folder, file.slice(0, -'.gguf'.length)))
  : [];
const found = pairs.filter((path) => existsSync(join(path, 'model.safetensors')));
const models = found.length ? found : ['a GGUF file']; // which is then skipped, and counted

const TEXTS = [
  'The quick brown fox jumps over the lazy dog.',
  '  Two spaces, 3.14159 and 1234567 digits;\ttabs\n\nand lines  \n',
  "def f(x):\n    return x**2  # it's squared; they'll see\n",
  'Größe, naïve, 東京タワー, العربية, 🙂👩‍🚀, \u200b\ufeff',
  '= Robert Boulter =\n Robert Boulter is an English film , television and theatre actor .',
  '<bos><s> not special here </s><eos>',
];

describe.skipIf(found.length === 0)('real GGUF files (MOBILEQUANT_MODELS names their folder)', () => {
  test.each(models)('%s has every tensor of its twin, in float16', { timeout: 120_000 }, async (path) => {
    const { weights, config } = await openCheckpoint(`${path}.gguf`);
    const twin = await openSafetensors(join(path, 'model.safetensors'));
    expect([...weights.names()].sort()).toEqual([...twin.tensors.keys()].sort());
    for (const [name, { shape }] of twin.tensors) {
      expect(weights.shape(name)).toEqual(shape);
      const { bits } = toFloat16(await weights.read(name));
      expect(Buffer.compare(Buffer.from(bits.buffer), Buffer.from((await twin.readStored(name)).buffer)), name).toBe(0);
    }
    expect((await openCheckpoint(path)).config).toMatchObject(config);
  });

  test.each(models)('%s has the tokenizer of its twin', { timeout: 120_000 }, async (path) => {
    const [ours, theirs] = await Promise.all(
      [`${path}.gguf`, path].map(async (at) => (await openCheckpoint(at)).tokenizer()),
    );
    for (const text of TEXTS) {
      const expected = theirs?.encode(text, { addSpecialTokens: true }) as Int32Array;
      expect(ours?.encode(text, { addSpecialTokens: true })).toEqual(expected);
      expect(ours?.decode(expected)).toBe(theirs?.decode(expected));
    }
    expect([ours?.bosId, ours?.eosId, ours?.vocabSize]).toEqual([theirs?.bosId, theirs?.eosId, theirs?.vocabSize]);
  });
});
