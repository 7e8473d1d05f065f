import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mulberry32 } from '@mobilequant/core';
import type { RunResult } from '@mobilequant/evaluator';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';

const random = mulberry32(7);
const words = (count: number): string =>
  Array.from({ length: count }, () =>
    tinyText(3 + Math.floor(random() * 4), Math.floor(random() * 1000)).replaceAll(' ', 'o'),
  ).join(' ');

const jsonl = (items: readonly unknown[]): string => items.map((item) => `${JSON.stringify(item)}\n`).join('');
const some = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-tasks-'));
  const model = join(directory, 'model');
  await writeTinyModel(model);
  await writeFile(join(model, 'tokenizer_config.json'), JSON.stringify({ bos_token: '<s>' }));
  await writeFile(join(directory, 'calibration.txt'), tinyText(400, 1));
  const files: Record<string, readonly unknown[]> = {
    'arc_easy/test.jsonl': some(37, () => ({
      question: words(3),
      choices: { text: some(4, () => words(2)), label: ['A', 'B', 'C', 'D'] },
      answerKey: 'B',
    })),
    'arc_easy/train.jsonl': some(30, () => ({
      question: words(2),
      choices: { text: some(3, () => words(1)), label: ['A', 'B', 'C'] },
      answerKey: 'C',
    })),
    'lambada_openai/test.jsonl': some(20, () => ({ text: words(5) })),
    'wikitext/test.jsonl': some(3, () => ({ page: `${words(20)} . \n` })),
    'mmlu/test.jsonl': some(8, (i) => ({
      question: words(2),
      subject: i < 5 ? 'marketing' : 'virology',
      choices: some(4, () => words(1)),
      answer: i % 4,
    })),
  };
  for (const [name, items] of Object.entries(files)) {
    const path = join(directory, 'data', name);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, jsonl(items));
  }
  const own = {
    kind: 'choice',
    name: 'words',
    version: 1,
    files: ['lambada_openai/test.jsonl'],
    prompt: '{text}',
    choices: ['the end', 'more'],
    gold: 'right', // no item has it
    metrics: ['acc'],
  };
  await writeFile(join(directory, 'words.json'), JSON.stringify(own));
  await writeFile(join(directory, 'wrong.json'), JSON.stringify({ ...own, metrics: ['perplexity'] }));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

const evaluate = (...args: string[]) =>
  run(directory, ['evaluate', 'model', '--form', 'float', '--data-dir', 'data', '--threads', '1', '--json', ...args]);

const counted = (out: string): Omit<RunResult, 'timing'> => {
  const { timing, ...result } = JSON.parse(out) as RunResult;
  return result;
};

const TASKS = ['--tasks', 'arc_easy,lambada,wikitext', '--tokens', '48'];

describe('evaluate --tasks', () => {
  test('tells metrics with their errors, and all that they depend on', async () => {
    const { status, out, reports } = await evaluate(...TASKS, '--limit', '20');
    expect(status).toBe(0);
    expect(reports).toBe('arc_easy: 1 of 20 items are longer than 48 tokens; their beginnings were cut off.');
    const result = counted(out);
    expect(result).toMatchObject({
      harness: 'lm_eval 0.4.13',
      model: { name: 'model', form: 'float', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
      tokens: 48,
      fewshot: 0,
      limit: 20,
      data: { 'arc_easy/test.jsonl': expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    expect(Object.keys(result.results)).toEqual(['arc_easy', 'lambada_openai', 'wikitext']);
    expect(Object.keys(result.results.wikitext?.metrics ?? {})).toEqual([
      'word_perplexity',
      'byte_perplexity',
      'bits_per_byte',
      'token_perplexity',
    ]);
    expect(result.results.arc_easy?.items).toBe(20);
    const { value = 0, standardError = 0 } = result.results.arc_easy?.metrics.acc ?? {};
    expect(standardError).toBeCloseTo(Math.sqrt((value * (1 - value)) / 19), 12);
    // a character is a token: perplexity of the 31 that there are, by a random model
    const { token_perplexity, byte_perplexity } = result.results.wikitext?.metrics ?? {};
    expect(token_perplexity?.value).toBeGreaterThan(5);
    expect(byte_perplexity?.value).toBeGreaterThan(5);
  });

  test('shards come to what one run comes to, to the last digit', async () => {
    const whole = await evaluate(...TASKS, '--fewshot', '1', '--records', 'whole.jsonl');
    for (const i of [0, 1, 2]) {
      const part = await evaluate(...TASKS, '--fewshot', '1', '--records', `part-${i}.jsonl`, '--shard', `${i}/3`);
      expect(part.status).toBe(0);
    }
    const parts = [2, 0, 1].map((i) => `part-${i}.jsonl`);
    const merged = await run(directory, ['merge', ...parts, '--json', '--out', 'merged.jsonl']);
    expect(merged).toMatchObject({ status: 0, reports: '' });
    expect(counted(merged.out)).toEqual(counted(whole.out));
    const again = await run(directory, ['merge', 'merged.jsonl', '--json']);
    expect(again.out).toBe(merged.out);
    expect((await run(directory, ['merge', 'merged.jsonl'])).out).toMatch(/^task +items +metric +value +error\n/);
    const missing = await run(directory, ['merge', ...parts.slice(1)]);
    expect(missing).toMatchObject({ status: 1, reports: expect.stringContaining('Give the files of all shards') });
    const twice = await run(directory, ['merge', ...parts, 'part-1.jsonl']);
    expect(twice.status).toBe(0); // a name given twice is one file
    await writeFile(join(directory, 'copy.jsonl'), await readFile(join(directory, 'part-1.jsonl')));
    const doubled = await run(directory, ['merge', ...parts, 'copy.jsonl']);
    expect(doubled).toMatchObject({ status: 1, reports: expect.stringContaining('items that no other file has') });
  });

  test('a run goes on from its records, also where they end within a line', async () => {
    const args = ['--tasks', 'arc_easy', '--records', 'records.jsonl'];
    const first = await evaluate(...args);
    const text = await readFile(join(directory, 'records.jsonl'), 'utf8');
    const lines = text.split('\n');
    // the first block is whole, the second lacks items, and one was being written
    await writeFile(join(directory, 'records.jsonl'), `${lines.slice(0, 20).join('\n')}\n${lines[20]?.slice(0, 30)}`);
    const { out, statuses } = await evaluate(...args);
    expect(statuses[0]).toBe('arc_easy: 16 of 37 items');
    expect(counted(out)).toEqual(counted(first.out));
    const kept = (await readFile(join(directory, 'records.jsonl'), 'utf8')).split('\n');
    expect(kept).toHaveLength(lines.length);
    const other = await evaluate('--tasks', 'arc_easy', '--records', 'records.jsonl', '--limit', '5');
    expect(other).toMatchObject({ status: 1, reports: expect.stringContaining('records of this run') });
  });

  test('items that are scored together come to what each comes to alone', async () => {
    const likelihoods = async (block: string) => {
      const file = `block-${block}.jsonl`;
      await evaluate('--tasks', 'arc_easy', '--fewshot', '2', '--block', block, '--records', file);
      const lines = (await readFile(join(directory, file), 'utf8')).split('\n').slice(1, -1);
      return lines.flatMap((line) => (JSON.parse(line) as { logLikelihoods: number[] }).logLikelihoods);
    };
    const [together, alone] = [await likelihoods('16'), await likelihoods('1')];
    expect(together).toHaveLength(37 * 4);
    together.forEach((value, i) => {
      expect(value).toBeCloseTo(alone[i] as number, 4);
    });
  });

  test('a GGUF file is told by its name and what is in it', async () => {
    const gguf = fileURLToPath(new URL('../../checkpoint/test/fixtures/gguf/tiny.gguf', import.meta.url));
    const args = ['--form', 'float', '--data-dir', 'data', '--tasks', 'lambada', '--limit', '2', '--json'];
    const { out, reports } = await run(directory, ['evaluate', gguf, ...args]);
    expect(reports).toBe('');
    expect(counted(out).model).toEqual({
      name: 'tiny.gguf',
      form: 'float',
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  test('subjects are counted together', async () => {
    const { out } = await evaluate('--tasks', 'mmlu_marketing,mmlu_virology');
    const { results } = counted(out);
    expect(Object.entries(results).map(([name, { items }]) => [name, items])).toEqual([
      ['mmlu_marketing', 5],
      ['mmlu_virology', 3],
    ]);
    const whole = await evaluate('--tasks', 'mmlu_other');
    expect(whole).toMatchObject({ status: 1, reports: expect.stringContaining('business_ethics') });
  });

  test('all forms of a quantized model', async () => {
    const calibration = ['--calibration', 'calibration.txt', '--samples', '4', '--tokens', '16', '--threads', '1'];
    await run(directory, [
      'quantize',
      'model',
      '--recipe',
      'w8a8',
      '--method',
      'minmax',
      '--out',
      'quantized',
      ...calibration,
    ]);
    const args = ['--data-dir', 'data', '--tasks', 'arc_easy', '--limit', '6', '--threads', '1', '--records'];
    const likelihoods = async (form: string) => {
      const { status } = await run(directory, ['evaluate', 'quantized', '--form', form, ...args, form]);
      expect(status).toBe(0);
      const lines = (await readFile(join(directory, form), 'utf8')).split('\n').slice(1, -1);
      return lines.flatMap((line) => (JSON.parse(line) as { logLikelihoods: number[] }).logLikelihoods);
    };
    const [float, simulated, integer] = [
      await likelihoods('float'),
      await likelihoods('simulated'),
      await likelihoods('integer'),
    ];
    simulated.forEach((value, i) => {
      expect(value).toBeCloseTo(integer[i] as number, 2);
    });
    expect(simulated).not.toEqual(float);
  });

  test('an exported file, as any file that maps ids to logits', async () => {
    await run(directory, ['export', 'quantized', '--target', 'onnx', '--out', 'exported', '--tokens', '48']);
    const args = ['--tasks', 'lambada', '--limit', '6', '--tokens', '48', '--records'];
    const likelihoods = async (file: string, ...more: string[]) => {
      const { status, reports } = await evaluate(...args, file, ...more);
      expect({ status, reports }).toEqual({ status: 0, reports: '' });
      const lines = (await readFile(join(directory, file), 'utf8')).split('\n').slice(1, -1);
      return lines.flatMap((line) => (JSON.parse(line) as { logLikelihoods: number[] }).logLikelihoods);
    };
    const onnx = await likelihoods('onnx.jsonl', '--onnx', 'exported/model.onnx');
    const float = await likelihoods('plain.jsonl');
    onnx.forEach((value, i) => {
      expect(Math.abs(value / (float[i] as number) - 1)).toBeLessThan(0.1);
    });
    expect(onnx).not.toEqual(float);
  });

  test.each([
    [['--tasks', 'arc_easy', '--data', 'test.txt'], '--data: expected no --tasks beside it'],
    [['--tasks', 'arc_easy', '--shard', '3/3'], "--shard: expected I/N with I from 0 to N - 1, got '3/3'."],
    [['--tasks', 'arc_easy', '--shard', '0/3'], '--records: expected FILE'],
    [['--tasks', 'nothing'], 'tasks: expected wikitext, arc_challenge'],
    [['--tasks', 'hellaswag'], 'hellaswag/validation.jsonl in'],
    [['--tasks', 'wrong.json'], 'wrong.json: metrics: expected some of acc, acc_norm, acc_bytes, exact_match'],
    [['--tasks', 'words.json'], 'right: expected one of 2 answers, got nothing.'],
    [['--tasks', 'arc_easy', '--fewshot', '31'], 'arc_easy: expected at least 31 solved items, got 30.'],
    [['--data', 'calibration.txt'], '--data-dir: expected --tasks beside it, got none.'],
    [['--tasks', 'arc_easy', '--server-model', 'x'], '--server-model: expected --server beside it'],
    [['--tasks', 'arc_easy', '--server', 'http://127.0.0.1:9/v1', '--server-model', 'x'], 'expected a server'],
  ])('%j is refused', async (args, message) => {
    const { status, reports } = await evaluate(...args);
    expect(status).not.toBe(0);
    expect(reports).toContain(message);
  });
});

describe('evaluate --server', () => {
  let server: Server;
  afterAll(() => server.close());

  test('measures what a server has, on the same items', async () => {
    server = createServer((request, response) => {
      let text = '';
      request.on('data', (part) => (text += String(part)));
      request.on('end', () => {
        const { prompt } = JSON.parse(text) as { prompt: number[][] };
        const choices = prompt.map((tokens, index) => {
          const own = [null, ...tokens.slice(1).map((token) => -token / 8), -1];
          return { index, logprobs: { token_logprobs: own, top_logprobs: own.map(() => ({ a: 0 })) } };
        });
        response.end(JSON.stringify({ choices }));
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
    const args = ['--tasks', 'wikitext,lambada', '--server', url, '--server-model', 'theirs', '--tokens', '32'];
    const { status, out, reports } = await evaluate(...args, '--records', 'server.jsonl');
    expect({ status, reports }).toEqual({ status: 0, reports: '' });
    const { model, results } = counted(out);
    expect(model).toEqual({ name: 'theirs', form: 'server' });
    expect(results.lambada_openai?.metrics.acc).toEqual({ value: 0, standardError: 0 });
    const [first] = (await readFile(join(directory, 'data/lambada_openai/test.jsonl'), 'utf8')).split('\n');
    const word = (JSON.parse(first ?? '') as { text: string }).text.split(' ').at(-1) ?? '';
    const letters = '<\x20\nabcdefghijklmnopqrstuvwxyz.,';
    const want = [...` ${word}`].reduce((sum, letter) => sum - letters.indexOf(letter) / 8, 0);
    const record = (await readFile(join(directory, 'server.jsonl'), 'utf8'))
      .split('\n')
      .map((line) => (line ? (JSON.parse(line) as { task: string; logLikelihoods: number[] }) : undefined))
      .find((line) => line?.task === 'lambada_openai');
    expect(record?.logLikelihoods[0]).toBeCloseTo(want, 9);
  });
});
