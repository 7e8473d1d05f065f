/**
 * What comes of model files that were changed at random? Each must be read or refused (`FormatError`, `CheckpointError`), soon, and
 * in little memory. Fails otherwise, and says the number of the case: `pnpm bench fuzz 1 SEED NUMBER` runs it alone.
 *
 *     pnpm bench fuzz [count] [seed] [first]
 */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { fuzzFiles } from './fuzz-files.ts';
import { atMost, printGoals } from './measure.ts';

const PATIENCE = 20_000; // milliseconds until a case counts as never ending

if (isMainThread) {
  const [count = 10_000, seed = 1, first = 0] = process.argv.slice(2).map(Number);
  const current = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL(import.meta.url), { workerData: { count, seed, first, current } });
  let seen = -1;
  const watch = setInterval(() => {
    const now = Atomics.load(current, 0);
    if (now === seen) {
      console.error(`bench fuzz: case ${now} of seed ${seed} has not ended after ${PATIENCE / 1000} s.`);
      process.exit(1);
    }
    seen = now;
  }, PATIENCE);
  worker.on('error', (error) => {
    console.error(`bench fuzz: case ${Atomics.load(current, 0)} of seed ${seed} ended the process.`, error);
    process.exitCode = 1;
  });
  worker.on('exit', (code) => {
    clearInterval(watch);
    process.exitCode ||= code;
  });
} else {
  const { count, seed, first, current } = workerData;
  const start = performance.now();
  const { outcomes, wrong, slowest, growth } = await fuzzFiles({
    count,
    seed,
    first,
    onCase: (number) => Atomics.store(current, 0, number),
  });
  console.log('| files | read | refused | anything else |\n|---|---|---|---|');
  for (const [kind, { read, refused, wrong }] of Object.entries(outcomes))
    console.log(`| ${kind} | ${read} | ${refused} | ${wrong} |`);
  for (const { number, kind, error } of wrong.slice(0, 5)) console.error(`\ncase ${number} (${kind}):`, error);
  const goals = [
    atMost('files that were neither read nor refused', wrong.length, 0),
    atMost(`slowest file (${slowest.number}, ${slowest.kind}), seconds`, slowest.milliseconds / 1000, 1),
    atMost('growth of the process, megabytes', growth / 1e6, 200),
  ];
  printGoals(goals);
  console.log(`\n${count} files in ${((performance.now() - start) / 1000).toFixed(0)} s.`);
  if (goals.some(({ met }) => !met)) process.exitCode = 1;
}
