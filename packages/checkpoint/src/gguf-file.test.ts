import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { bytesOf, header, u32, value } from '../test/gguf-bytes.ts';
import { messageOf, temporaryDirectory } from '../test/temporary-directory.ts';
import { FormatError } from './errors.ts';
import { toFloat16 } from './float16.ts';
import { openGguf } from './gguf-file.ts';
import { openSafetensors } from './safetensors-file.ts';
import { createTokenizer } from './tokenizer.ts';

const fixture = (name: string): string => fileURLToPath(new URL(`../test/fixtures/gguf/${name}`, import.meta.url));

const TINY = fixture('tiny.gguf');

const readJson = async (path: string) => JSON.parse(await readFile(path, 'utf8'));

describe('a GGUF file', () => {
  test('has the config of the checkpoint that it was made from', async () => {
    expect((await openGguf(TINY)).config).toEqual(await readJson(fixture('tiny/config.json')));
  });

  test('has its tensors, q and k included, in all types of numbers', async () => {
    const { weights } = await openGguf(TINY);
    const twin = await openSafetensors(fixture('tiny/model.safetensors'));
    expect([...weights.names()].sort()).toEqual([...twin.tensors.keys()].sort());
    for (const [name, { shape }] of twin.tensors) {
      expect(weights.has(name)).toBe(true);
      expect(weights.shape(name)).toEqual(shape);
      expect(toFloat16(await weights.read(name)).bits).toEqual(await twin.readStored(name));
    }
  });

  test('gives rows as they are in the whole', async () => {
    const { weights } = await openGguf(TINY);
    const rows = [3, 4, 5, 0, 15, 3];
    for (const name of weights.names().filter((name) => weights.shape(name).length === 2)) {
      const whole = await weights.read(name);
      const columns = weights.shape(name)[1] as number;
      const expected = rows.flatMap((row) => [...whole.subarray(row * columns, (row + 1) * columns)]);
      expect([...(await weights.readRows(name, rows))]).toEqual(expected);
      expect(await weights.readRows(name, [])).toHaveLength(0);
    }
    await expect(weights.readRows('model.norm.weight', [0])).rejects.toThrow(RangeError);
    await expect(weights.readRows('model.embed_tokens.weight', [287])).rejects.toThrow(RangeError);
  });

  test('says what numbers came from', async () => {
    const { weights } = await openGguf(TINY);
    expect(weights.dtype('model.norm.weight')).toBe('float32');
    expect(weights.dtype('model.layers.0.mlp.down_proj.weight')).toBe('float16');
  });

  test('has its tokenizer', async () => {
    const { definition, config } = (await openGguf(TINY)).tokenizer();
    expect(definition).toEqual(await readJson(fixture('tiny/tokenizer.json')));
    const tokenizer = createTokenizer(definition, config);
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([1, 2]);
    expect(tokenizer.decode(tokenizer.encode('the hand and é'))).toBe('the hand and é');
  });

  test('does not give a tensor that it does not have', async () => {
    const { weights } = await openGguf(TINY);
    expect(weights.has('lm_head.weight')).toBe(false);
    expect(await messageOf(weights.read('lm_head.weight'), TINY)).toMatchInlineSnapshot(
      `"FormatError: DIR: weights: expected a tensor 'lm_head.weight', got none. Check that the weights belong to the config."`,
    );
  });

  test('is read to the end of its header, however long that is', async () => {
    const path = join(await temporaryDirectory(), 'long.gguf');
    const tiny = new Uint8Array(await readFile(TINY));
    const inserted = bytesOf('general.description', value.text('x'.repeat((5 << 20) + 8)));
    const padding = 32 - (inserted.length % 32);
    const entry = bytesOf('general.description', value.text('x'.repeat((5 << 20) + 8 + padding)));
    const entries = new DataView(tiny.buffer).getBigUint64(16, true);
    await writeFile(path, bytesOf(tiny.subarray(0, 16), entries + 1n, entry, tiny.subarray(24)));
    const { weights } = await openGguf(path);
    const { weights: expected } = await openGguf(TINY);
    const name = 'model.layers.1.mlp.down_proj.weight';
    expect(await weights.read(name)).toEqual(await expected.read(name));
  });
});

test('a file that changes, or ends too soon, is an error', async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, 'x.gguf');
  await writeFile(path, await readFile(TINY));
  const { weights } = await openGguf(path);
  await truncate(path, 50_000);
  expect(await messageOf(weights.read('model.norm.weight'), directory)).toContain(
    'expected the file that was opened, got a changed one',
  );
  expect(await messageOf(openGguf(path), directory)).toContain('its end within 50000 bytes');
  await writeFile(path, '');
  expect(await messageOf(openGguf(path), directory)).toMatchInlineSnapshot(
    `"FormatError: DIR/x.gguf: magic: expected 4 bytes at 0, got a file of 0. The file is damaged or not what it seems: get it again."`,
  );
});

test('large claims that a huge file allows cost no more than a header', async () => {
  const path = join(await temporaryDirectory(), 'sparse.gguf');
  for (const claim of [
    header({}, [], { tensorCount: 60_000n }),
    header({}, [], { entryCount: 60_000n }),
    header({ a: bytesOf(u32(9), u32(8), 1_000_000n) }),
    header({ a: bytesOf(u32(9), u32(0), 10_000_000n) }),
  ]) {
    await writeFile(path, claim);
    await truncate(path, 2 ** 36);
    await expect(openGguf(path)).rejects.toThrow(FormatError);
  }
});
