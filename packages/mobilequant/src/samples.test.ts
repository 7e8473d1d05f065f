import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tokenizer } from '@mobilequant/checkpoint';
import { writeSafetensors } from '@mobilequant/checkpoint/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { allTokens, evenSamples, randomSamples, readTokens, type TokenSource } from './samples.ts';

let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-samples-'));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

const text = (length: number): TokenSource => ({ kind: 'text', tokens: Int32Array.from({ length }, (_, i) => i) });
const starts = (samples: readonly Int32Array[]) => samples.map((sample) => sample[0]);

/** One id a character. */
const tokenizer = async () =>
  ({ encode: (content: string) => Int32Array.from(content, (c) => c.charCodeAt(0)) }) as Tokenizer;
const never = () => Promise.reject(new Error('not to be called'));

const write = async (name: string, content: string): Promise<string> => {
  await writeFile(join(directory, name), content);
  return join(directory, name);
};

test('even samples start at i · ⌊length / samples⌋', () => {
  const samples = evenSamples(text(103), { samples: 10, tokens: 10 });
  expect(starts(samples)).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
  expect(samples.every((sample) => sample.length === 10)).toBe(true);
});

test('in a short text even samples overlap and the last one ends in it', () => {
  const samples = evenSamples(text(20), { samples: 4, tokens: 8 });
  expect(starts(samples)).toEqual([0, 4, 8, 12]);
  expect(samples.at(-1)).toHaveLength(8);
});

test('random samples are the same for the same seed, others for another, and all of full length', () => {
  const options = { samples: 20, tokens: 8 };
  const samples = randomSamples(text(12), { ...options, seed: 3 });
  expect(randomSamples(text(12), { ...options, seed: 3 })).toEqual(samples);
  expect(randomSamples(text(12), { ...options, seed: 4 })).not.toEqual(samples);
  expect(samples.every((sample) => sample.length === 8)).toBe(true);
  expect(new Set(starts(samples))).toEqual(new Set([0, 1, 2, 3, 4])); // the last possible place too
});

test('a text that is shorter than a sample is an error', () => {
  expect(() => evenSamples(text(7), { samples: 1, tokens: 8 })).toThrow('expected a text of at least 8 tokens, got 7');
});

test('documents are read one a line and joined by blank lines', async () => {
  const file = await write('documents.jsonl', '{"text":"ab","id":1}\n\n{"text":"c"}\n');
  expect(String.fromCharCode(...allTokens(await readTokens([file], tokenizer)))).toBe('ab\n\nc');
});

test('several texts are one after another', async () => {
  const files = [await write('a.txt', 'ab'), await write('b.raw', 'c')];
  expect(String.fromCharCode(...allTokens(await readTokens(files, tokenizer)))).toBe('abc');
});

test('ids are taken as they are, without a tokenizer', async () => {
  const file = join(directory, 'ids.safetensors');
  const data = Int32Array.of(1, 2, 3, 4, 5, 6);
  await writeSafetensors(file, [{ name: 'calib', dtype: 'int32', shape: [2, 3], data: () => data }]);
  const source = await readTokens([`${file}:calib`], never);
  expect(evenSamples(source, { samples: 1, tokens: 2 })).toEqual([Int32Array.of(1, 2)]);
  expect(randomSamples(source, { samples: 2, tokens: 3, seed: 1 })).toEqual([
    Int32Array.of(1, 2, 3),
    Int32Array.of(4, 5, 6),
  ]);
  expect(() => evenSamples(source, { samples: 3, tokens: 3 })).toThrow('expected at least 3 rows of 3 ids, got 2 of 3');
  await expect(readTokens([`${file}:train`], never)).rejects.toThrow(
    "expected an int32 matrix 'train', got none. The file has calib.",
  );
});

test('files that hold no text are refused with what would do', async () => {
  await expect(readTokens([await write('a.pdf', 'x')], tokenizer)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[SampleError: a.pdf: expected a file that holds text, got '.pdf'. Give a text (.txt, .raw, .md), documents (.jsonl), or ids (FILE.safetensors:NAME).]`,
  );
  await expect(readTokens([await write('b.jsonl', '{"text":"a"}\n{"story":"b"}')], tokenizer)).rejects.toThrow(
    'b.jsonl, line 2',
  );
});
