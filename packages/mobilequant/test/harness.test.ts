/**
 * Parity with lm-evaluation-harness: its own answers on the same items, in `fixtures/lm-eval`, written by `scripts/lm-eval`. Wants the model that they are of and
 * the data, in the folders that MOBILEQUANT_HARNESS_MODEL and MOBILEQUANT_HARNESS_DATA name; MOBILEQUANT_HARNESS_FIXTURES may name others.
 */
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readTokenizer } from '@mobilequant/checkpoint/node';
import {
  blocksOf,
  HARNESS,
  type MetricResult,
  modelScorer,
  resultOf,
  selectTasks,
  type Task,
} from '@mobilequant/evaluator';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { beforeAll, describe, expect, test } from 'vitest';
import { evaluateTasks } from '../src/evaluate-tasks.ts';
import { openForm } from '../src/forms.ts';
import { readTaskData } from '../src/task-data.ts';

interface Fixture {
  readonly model: { readonly sha256: string };
  readonly versions: { readonly lm_eval: string };
  readonly data: Readonly<Record<string, string>>;
  readonly tokens: number;
  readonly fewshot: number;
  readonly seed: number;
  readonly limit: number;
  readonly tasks: Readonly<
    Record<
      string,
      { readonly items: readonly (readonly number[])[]; readonly metrics: Readonly<Record<string, MetricResult>> }
    >
  >;
  readonly groups: Readonly<Record<string, Readonly<Record<string, MetricResult>>>>;
}

const from = (variable: string): string | undefined => {
  const path = process.env[variable];
  return path && resolve(process.env['INIT_CWD'] ?? '.', path);
};
const [model, data] = [from('MOBILEQUANT_HARNESS_MODEL'), from('MOBILEQUANT_HARNESS_DATA')];
const fixtures = from('MOBILEQUANT_HARNESS_FIXTURES') ?? fileURLToPath(new URL('fixtures/lm-eval', import.meta.url));

/** The harness draws solved items from training splits, whose place other files take in the fixtures. */
function withShotsOfFixture(task: Task): Task {
  if (task.kind !== 'choice' || !task.shots) return task;
  const files = task.shots.files.map((file) => file.replace('train.jsonl', 'validation.jsonl'));
  return { ...task, shots: { ...task.shots, files } };
}

function expectFourDigits(got: number | undefined, want: number, what: string): void {
  expect(Math.abs((got ?? Number.NaN) - want), `${what}: ${got} for ${want}`).toBeLessThanOrEqual(
    5e-5 * Math.abs(want),
  );
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

describe.skipIf(!(model && data))(
  'as lm-evaluation-harness (skipped without MOBILEQUANT_HARNESS_MODEL and MOBILEQUANT_HARNESS_DATA)',
  () => {
    const [modelDirectory, dataDirectory] = [model as string, data as string];
    let digest = '';
    beforeAll(() => {
      digest = sha256(join(modelDirectory, 'model.safetensors'));
    });

    test.each(
      globSync(join(fixtures, '*.json'))
        .sort()
        .map((path) => [basename(path, '.json'), path]),
    )('%s', { timeout: 3_600_000 }, async (_, path) => {
      const fixture = JSON.parse(readFileSync(path, 'utf8')) as Fixture;
      expect(digest).toBe(fixture.model.sha256);
      expect(HARNESS).toBe(`lm_eval ${fixture.versions.lm_eval}`);
      for (const [file, hash] of Object.entries(fixture.data)) expect(sha256(join(dataDirectory, file))).toBe(hash);

      const { tokens, fewshot, seed, limit } = fixture;
      const { tasks, groups } = selectTasks([...Object.keys(fixture.tasks), ...Object.keys(fixture.groups)]);
      const loaded = await readTaskData(dataDirectory, tasks.map(withShotsOfFixture), fewshot > 0);
      const blocks = blocksOf(loaded.tasks, { limit, fewshot, seed });
      const language = await openForm(nodeRuntime({ threads: 2 }), modelDirectory, 'float', { tokens });
      const header = {
        ...{ mobilequant: '', harness: HARNESS, model: {}, tokens, fewshot, seed, limit, block: 16, data: {} },
        tasks: tasks.map(({ name, version, metrics }) => ({ name, version, metrics, items: limit })),
        groups,
      };
      const coder = await readTokenizer(modelDirectory);
      const found = await evaluateTasks({ header, blocks, scorer: modelScorer(language, { length: tokens }), coder });
      await language.release?.();

      let farthest = 0;
      for (const [name, { items }] of Object.entries(fixture.tasks)) {
        const own = found.records.filter(({ task }) => task === name);
        expect(own.map(({ item }) => item)).toEqual(items.map((_, i) => i));
        for (const { item, logLikelihoods } of own) {
          // the harness keeps the sum of a document's windows
          const want = items[item] as readonly number[];
          const got = want.length === 1 ? [logLikelihoods.reduce((a, b) => a + b)] : logLikelihoods;
          expect(got).toHaveLength(want.length);
          got.forEach((value, i) => {
            const scale = name === 'wikitext' ? Math.abs(want[i] as number) / 100 : 1; // of thousands of tokens
            const distance = Math.abs(value - (want[i] as number)) / scale;
            expect(distance, `${name}, item ${item}, choice ${i}: ${value} for ${want[i]}`).toBeLessThan(1e-3);
            farthest = Math.max(farthest, distance);
          });
        }
      }
      const { results } = resultOf(found);
      const wanted = {
        ...Object.fromEntries(Object.entries(fixture.tasks).map(([name, { metrics }]) => [name, metrics])),
        ...fixture.groups,
      };
      let compared = 0;
      for (const [name, metrics] of Object.entries(wanted)) {
        const got = results[name]?.metrics as Readonly<Record<string, MetricResult>>;
        for (const [metric, { value, standardError }] of Object.entries(metrics)) {
          expectFourDigits(got[metric]?.value, value, `${name} ${metric}`);
          if (standardError !== undefined)
            expectFourDigits(got[metric]?.standardError, standardError, `${name} ${metric}, error`);
          compared++;
        }
      }
      expect(compared).toBeGreaterThan(0);
      console.info(
        `${basename(path)}: ${found.records.length} items, ${compared} metrics, log-likelihoods within ${farthest.toExponential(1)}`,
      );
    });
  },
);
