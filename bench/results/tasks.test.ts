import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunResult } from '@mobilequant/evaluator';
import { expect, test } from 'vitest';
import { mainMetrics, taskHashes, taskMeaning, taskResultOf } from './tasks.ts';

test('a task is known by the metric that the harness’s users quote', () => {
  const names = ['wikitext', 'arc_challenge', 'hellaswag', 'mmlu', 'mmlu_anatomy', 'lambada_openai', 'lambada'];
  expect(names.map(mainMetrics)).toEqual([
    ['word_perplexity'],
    ['acc_norm'],
    ['acc_norm'],
    ['acc'],
    ['acc'],
    ['perplexity', 'acc'],
    ['perplexity', 'acc'],
  ]);
});

test('names mean the same only if they stand for the same', () => {
  expect(taskMeaning('lambada')).toBe(taskMeaning('lambada_openai'));
  expect(new Set(['mmlu', 'mmlu_stem', 'mmlu_anatomy', 'wikitext'].map(taskMeaning)).size).toBe(4);
});

test('of a group what all of it came to is kept, of a task what it is called by is no matter', () => {
  const metrics = { acc: { value: 0.5, standardError: 0.1 } };
  const run: RunResult = {
    mobilequant: '1',
    harness: 'h',
    model: {},
    tokens: 64,
    fewshot: 0,
    seed: 1,
    block: 16,
    data: {},
    results: {
      mmlu_anatomy: { items: 5, metrics: { acc: { value: 1 } } },
      mmlu: { items: 25, metrics },
      lambada_openai: { version: 1, items: 3, cut: 2, metrics },
    },
    timing: {},
  };
  expect(taskResultOf(run, 'mmlu')).toEqual({ items: 25, metrics, tokens: 64, harness: 'h' });
  expect(taskResultOf(run, 'lambada')).toEqual({ items: 3, cut: 2, metrics, tokens: 64, harness: 'h' });
});

test('data are told by their contents, and looked for before anything is measured', async () => {
  const folders = await Promise.all([1, 2, 3].map(() => mkdtemp(join(tmpdir(), 'mobilequant-tasks-'))));
  const hashes = [];
  for (const [i, folder] of folders.entries()) {
    await mkdir(join(folder, 'lambada_openai'));
    const line = JSON.stringify({ text: i < 2 ? 'once more' : 'once less' });
    await writeFile(join(folder, 'lambada_openai/test.jsonl'), line);
    hashes.push(await taskHashes('lambada_openai', folder));
  }
  expect(hashes[0]).toEqual({ 'lambada_openai/test.jsonl': expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect(hashes[1]).toEqual(hashes[0]);
  expect(hashes[2]).not.toEqual(hashes[0]);
  await expect(taskHashes('hellaswag', folders[0] as string)).rejects.toThrow('hellaswag/validation.jsonl');
});
