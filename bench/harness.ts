/**
 * How fast items are scored, beside lm-evaluation-harness in PyTorch on the same items and threads, one after the other in this run.
 *
 *     pnpm bench harness MODEL DATA PYTHON [ITEMS] [ROUNDS] [TASK,…]
 *
 * PYTHON has scripts/lm-eval/requirements.txt. Rounds alternate, so that a busy machine is busy for both; the harness is given one text at a
 * time (its default) and eight. Opening the model and preparing tasks are not counted, tokenizing is.
 */
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { readTokenizer } from '@mobilequant/checkpoint/node';
import { alignedTable, blocksOf, evaluateBlock, modelScorer, selectTasks } from '@mobilequant/evaluator';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { openForm, readTaskData } from 'mobilequant';

const BATCHES = [1, 8];
const TOKENS = 2048;

const [model, data, python, items = '8', rounds = '2', tasks = 'arc_challenge,hellaswag,lambada_openai'] =
  process.argv.slice(2);
if (!model || !data || !python) {
  console.error('bench harness: expected MODEL, DATA and PYTHON.');
  process.exit(2);
}
const threads = Math.min(2, availableParallelism());
const script = fileURLToPath(new URL('../scripts/lm-eval/make_fixtures.py', import.meta.url));

const language = await openForm(nodeRuntime({ threads }), model, 'float', { tokens: TOKENS });
const coder = await readTokenizer(model);

/** Seconds of our own on a task. */
async function ours(task: string): Promise<number> {
  const loaded = await readTaskData(data as string, selectTasks([task]).tasks, false);
  const blocks = blocksOf(loaded.tasks, { limit: Number(items) });
  const scorer = modelScorer(language, { length: TOKENS });
  const start = performance.now();
  for (const block of blocks) await evaluateBlock(block, scorer, coder);
  return (performance.now() - start) / 1000;
}

/** Seconds of the harness on a task. */
function theirs(task: string, batch: number): number {
  const args = [script, model as string, data as string, '--tasks', task, '--limit', items, '--softmax', 'float32'];
  const env = { ...process.env, HF_HUB_OFFLINE: '1', HF_DATASETS_OFFLINE: '1' };
  const out = execFileSync(python as string, [...args, '--batch', `${batch}`, '--threads', `${threads}`], {
    encoding: 'utf8',
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return (JSON.parse(out.trim().split('\n').at(-1) ?? '') as { seconds: number }).seconds;
}

const rows = [];
for (const task of tasks.split(',')) {
  await ours(task); // programs are compiled
  const found = { ours: Infinity, theirs: BATCHES.map(() => Infinity) };
  for (let round = 0; round < Number(rounds); round++) {
    found.ours = Math.min(found.ours, await ours(task));
    BATCHES.forEach((batch, i) => {
      found.theirs[i] = Math.min(found.theirs[i] as number, theirs(task, batch));
    });
  }
  const rate = Number(items) / found.ours;
  rows.push({ name: task, cells: [rate, ...found.theirs.map((seconds) => seconds / found.ours)] });
  console.log(
    `${task}: ${found.ours.toFixed(2)} s, ${found.theirs.map((seconds) => seconds.toFixed(2)).join(' s, ')} s`,
  );
}
await language.release?.();
const columns = ['items/s', ...BATCHES.map((batch) => `times as fast, batch ${batch}`)];
console.log(`\n${alignedTable({ corner: `best of ${rounds}, ${threads} threads`, columns, rows })}`);
