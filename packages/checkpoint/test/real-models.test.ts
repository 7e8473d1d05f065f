/** Models and texts outside the repository: the golden checkpoints, and a small trained one. */
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../src/checkpoint.ts';
import { readSafetensors } from '../src/safetensors-file.ts';

const golden = process.env.MOBILEQUANT_GOLDEN;
const shared = process.env.MOBILEQUANT_SHARED;

const cases = golden ? globSync('*/float.safetensors', { cwd: golden }).map((path) => join(golden, dirname(path))) : [];

describe.skipIf(cases.length === 0)('golden checkpoints (MOBILEQUANT_GOLDEN names their folder)', () => {
  test.each(cases)('%s opens, with every tensor of the shape that its config says', async (directory) => {
    const { config, weights } = await openCheckpoint(directory);
    const [hidden, ffn] = [config.hidden_size as number, config.intermediate_size as number];
    expect(weights.shape('model.layers.0.mlp.gate_proj.weight')).toEqual([ffn, hidden]);
    expect(weights.shape('model.layers.0.mlp.down_proj.weight')).toEqual([hidden, ffn]);
    const tied = config.tie_word_embeddings ?? /^gemma/.test(config.model_type as string);
    expect(weights.has('lm_head.weight')).toBe(!tied);
    for (const name of weights.names()) expect((await weights.read(name)).every(Number.isFinite)).toBe(true);
  });

  test.each(cases)('the embedding of the golden ids is the golden input of the first layer: %s', async (directory) => {
    const { config, weights } = await openCheckpoint(directory);
    const { tensors } = await readSafetensors(join(directory, 'float.safetensors'));
    const ids = tensors.get('input_ids.eval')?.data as Int32Array;
    const factor = /^gemma/.test(config.model_type as string) ? Math.sqrt(config.hidden_size as number) : 1;
    const rows = (await weights.readRows('model.embed_tokens.weight', ids)).map((x) => x * factor);
    const stored = tensors.get('hidden.embed')?.data as Float32Array;
    expect(rows).toHaveLength(stored.length);
    const tolerance = factor === 1 ? 0 : 1e-6;
    expect(rows.every((x, i) => Math.abs(x - (stored[i] as number)) <= tolerance * Math.abs(x))).toBe(true);
  });
});

describe.skipIf(!shared)('a trained model (MOBILEQUANT_SHARED names the folder with models/stories260k)', () => {
  test('stories260k opens, weights and tokenizer', async () => {
    const { weights, tokenizer } = await openCheckpoint(join(shared as string, 'models', 'stories260k'));
    const sizes = await Promise.all(weights.names().map(async (name) => (await weights.read(name)).length));
    expect(sizes.reduce((sum, size) => sum + size)).toBe(260_032);

    const { encode, decode, vocabSize, bosId, eosId } = await tokenizer();
    expect({ vocabSize, bosId, eosId }).toEqual({ vocabSize: 512, bosId: 1, eosId: 2 });
    const text = 'Once upon a time, there was a little girl named Lily.';
    expect(decode(encode(text))).toBe(text);
    expect(encode(text, { addSpecialTokens: true })).toEqual(Int32Array.of(1, ...encode(text)));
  });

  test('300 kB of text without any pre-tokenizer is encoded in one go', async () => {
    const { tokenizer } = await openCheckpoint(join(shared as string, 'models', 'stories260k'));
    const text = (await readFile(join(shared as string, 'data', 'wikitext-2', 'test.part1.raw'), 'utf8')).slice(
      0,
      300_000,
    );
    const { encode, decode } = await tokenizer();
    expect(decode(encode(text))).toBe(text);
  });
});
