/**
 * The document of results: quantizes models by every row of `results/rows.ts`, measures each on texts, some on tasks too, and writes
 * `docs/results.md`.
 *
 *     pnpm bench results [CONFIG] [--path NAME=DIR]… [--model NAME]… [--only ROW,ROW] [--width W8A8|W4A8]
 *         [--on texts|tasks] [--windows N] [--limit N] [--work DIR] [--records DIR] [--out FILE] [--threads N] [--keep] [--markdown]
 *
 * CONFIG (default `bench/results.config.json`) says which models, texts, tasks and rows; `--path` where the folders lie that it calls `$NAME`.
 * `--on tasks` makes the tables of tasks alone, `--on texts` all others. `--windows` of a text and `--limit` of a task's items lower what CONFIG says.
 * What is done is kept in the folder of records, a JSON file for each, so the command can be stopped and called again; quantized
 * models, which lie in the work folder, are removed once they are measured, unless `--keep`. `--markdown` writes the document of what is
 * there, and measures nothing. Records (default `bench/results/records`) belong to the repository: the document is made of them, and a row that
 * was measured elsewhere need not be measured again.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { QUANTIZATION_FILE, readQuantized } from 'mobilequant';
import { runChild } from './child.ts';
import { circumstances, fileHash, modelHash } from './results/circumstances.ts';
import { type Config, ConfigError, checkRows, pathOf, readConfig } from './results/config.ts';
import { jobsOf, MEASURED_ON, type ModelJobs, type QuantizationJob, quantizeArguments } from './results/jobs.ts';
import { type Reference, resultsMarkdown } from './results/markdown.ts';
import type { MeasureInput } from './results/measure.ts';
import {
  type AskedMeasurement,
  type AskedTask,
  type AskedText,
  type MeasurementRecord,
  type QuantizationRecord,
  recordName,
  recordStore,
  type Subject,
  type TaskRecord,
} from './results/record.ts';
import { meaningOf, WIDTHS } from './results/rows.ts';
import { sourceFile } from './results/source-file.ts';
import { taskHashes, taskResultOf } from './results/tasks.ts';
import { type TimeLeft, timeLeft } from './results/time-left.ts';

const { positionals, values } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    path: { type: 'string', multiple: true, default: [] },
    model: { type: 'string', multiple: true },
    only: { type: 'string' },
    width: { type: 'string', multiple: true },
    on: { type: 'string' },
    windows: { type: 'string' },
    limit: { type: 'string' },
    work: { type: 'string', default: 'out/results' },
    records: { type: 'string', default: fileURLToPath(new URL('./results/records', import.meta.url)) },
    out: { type: 'string', default: 'docs/results.md' },
    threads: { type: 'string', default: '2' },
    keep: { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
  },
});
const configFile = positionals[0] ?? fileURLToPath(new URL('./results.config.json', import.meta.url));
const config = await readConfig(configFile);
const folders = Object.fromEntries(values.path.map((given) => given.split(/=(.*)/s).slice(0, 2) as [string, string]));
const only = values.only?.split(',');
if (only) checkRows(only, '--only');
const windows = countFrom('windows');
const limit = countFrom('limit');
const work = resolve(values.work);
const threads = Number(values.threads);
const failures: string[] = [];
const store = recordStore(values.records);

const STATUS_SECONDS = 20;
const CLI = fileURLToPath(new URL('../packages/mobilequant/src/cli.ts', import.meta.url));
const MEASURE = fileURLToPath(new URL('./results/measure.ts', import.meta.url));

async function measureModel({ entry, floats, quantizations }: ModelJobs, clock: TimeLeft): Promise<void> {
  const source = (data: string, every?: number) => sourceFile(pathOf(data, folders), join(work, 'texts'), every);
  const model = pathOf(entry.model, folders);
  const { hash, bytes } = await modelHash(model);
  const { calibration } = entry;
  const files = {
    calibration: await source(calibration.data),
    ...(calibration.learn !== undefined && { learn: await source(calibration.learn) }),
  };
  const calibrated = await Promise.all(Object.values(files).map(fileHash));

  const measured = async (asked: AskedMeasurement, subject: Subject): Promise<Subject> => ({
    ...subject,
    ...('task' in asked
      ? { data: await taskHashes(asked.task.name, pathOf(asked.task.data, folders)) }
      : { text: await fileHash(await source(asked.text.data, asked.text.every)) }),
  });
  const isKnown = async (asked: AskedMeasurement, subject: Subject): Promise<boolean> =>
    (await ('task' in asked
      ? store.find<TaskRecord>({ kind: 'task', asked, subject })
      : store.find<MeasurementRecord>({ kind: 'measurement', asked, subject }))) !== undefined;

  async function measure(asked: AskedMeasurement, subject: Subject, quantized?: string): Promise<void> {
    await ('task' in asked ? measureTask(asked, subject, quantized) : measureText(asked, subject, quantized));
    await writeDocument(config);
  }

  const labelOf = ({ quantization, form }: AskedMeasurement, on: string): string =>
    `${[entry.name, quantization?.recipe, quantization?.method].filter(Boolean).join(' ')}, ${on}, ${form}`;

  async function measureText(asked: AskedText, subject: Subject, quantized?: string): Promise<void> {
    const { text, form } = asked;
    const input: MeasureInput = {
      model,
      id: hash.slice(0, 12),
      ...(quantized !== undefined && { quantized }),
      form,
      data: await source(text.data, text.every),
      tokens: text.tokens,
      ...(text.windows !== undefined && { windows: text.windows }),
      threads,
      kept: join(work, 'float'),
    };
    const made = await circumstances(threads);
    const { stdout, peak } = await clock.run(asked, () =>
      runChild(MEASURE, [JSON.stringify(input)], say(labelOf(asked, text.name), clock)),
    );
    const result = { ...(JSON.parse(stdout) as Omit<MeasurementRecord['result'], 'peak'>), peak };
    await store.save({ kind: 'measurement', asked, subject, made, result });
  }

  async function measureTask(asked: AskedTask, subject: Subject, quantized = model): Promise<void> {
    const { task, form } = asked;
    const data = pathOf(task.data, folders);
    const args = ['evaluate', quantized, '--tasks', task.name, '--data-dir', data, '--limit', `${task.limit}`];
    const made = await circumstances(threads);
    const { stdout, seconds, peak } = await clock.run(asked, () =>
      runChild(
        CLI,
        [...args, '--form', form, '--threads', `${threads}`, '--json'],
        say(labelOf(asked, task.name), clock),
      ),
    );
    const result = { ...taskResultOf(JSON.parse(stdout), task.name), seconds, peak };
    await store.save({ kind: 'task', asked, subject, made, result });
  }

  async function quantize({ asked }: QuantizationJob, subject: Subject, directory: string): Promise<void> {
    await rm(directory, { recursive: true, force: true }); // of a run that was interrupted: its time would not be whole
    const args = ['quantize', model, ...quantizeArguments(asked, files), '--out', directory, '--threads', `${threads}`];
    const made = await circumstances(threads);
    const { stdout, peak } = await clock.run(asked, () =>
      runChild(
        CLI,
        [...args, '--json'],
        say([entry.name, asked.recipe, asked.method, ...Object.entries(asked.options).flat()].join(' '), clock),
      ),
    );
    const { seconds, steps, sizes } = JSON.parse(stdout);
    const { prefix } = (await readQuantized(directory)).config;
    const result = { seconds, ...(steps && { steps }), peak, prefix, size: sizes.quantized };
    await store.save({ kind: 'quantization', asked, subject, means: meaningOf(asked), made, result });
  }

  for (const asked of floats) {
    const subject = await measured(asked, { model: hash, bytes });
    if (await isKnown(asked, subject)) clock.skip(asked);
    else await measure(asked, subject);
  }
  for (const job of quantizations) {
    const subject: Subject = { model: hash, bytes, calibration: calibrated };
    const wanted = { kind: 'quantization', asked: job.asked, subject } as const;
    const missing: [AskedMeasurement, Subject][] = [];
    for (const asked of job.measurements) {
      const own = await measured(asked, subject);
      if (await isKnown(asked, own)) clock.skip(asked);
      else missing.push([asked, own]);
    }
    const made = await store.find<QuantizationRecord>(wanted);
    if (made && missing.length === 0) {
      clock.skip(job.asked);
      continue;
    }
    const directory = join(work, 'models', recordName(wanted));
    try {
      if (made && existsSync(join(directory, QUANTIZATION_FILE))) clock.skip(job.asked);
      else await quantize(job, subject, directory);
      for (let next = missing.shift(); next; next = missing.shift()) await measure(...next, directory);
    } catch (error) {
      failures.push(`${recordName(wanted)}: ${(error as Error).message}`); // the other rows do not need this one
      console.error(failures.at(-1));
      for (const [asked] of missing) clock.skip(asked);
    }
    if (!values.keep) await rm(directory, { recursive: true, force: true });
  }
}

/** Says what is being done, then now and then how far that is, and how long all of it will take. */
function say(label: string, clock: TimeLeft): (line: string) => void {
  console.error(`${label} (${clock.state()})`);
  let last = performance.now();
  return (line) => {
    if (performance.now() - last < STATUS_SECONDS * 1000) return;
    last = performance.now();
    console.error(`${label}: ${line} (${clock.state()})`);
  };
}

async function writeDocument(all: Config): Promise<void> {
  const references = new Map<string, Reference>();
  for (const { reference } of all.models)
    if (reference !== undefined)
      references.set(reference, JSON.parse(await readFile(join(dirname(configFile), reference), 'utf8')) as Reference);
  await mkdir(dirname(values.out), { recursive: true });
  await writeFile(values.out, resultsMarkdown(all, await store.all(), references, { windows, limit }));
}

/** Finds out now, not after hours, that a model, a text or a task's data are not where they should be. */
async function checkPaths(jobs: readonly ModelJobs[]): Promise<void> {
  const sources = jobs.flatMap(({ entry: { model, calibration, texts } }) => [
    model,
    calibration.data,
    ...(calibration.learn === undefined ? [] : [calibration.learn]),
    ...texts.map(({ data }) => data),
  ]);
  for (const source of sources) {
    const path = pathOf(source, folders).replace(/(\.safetensors):.+$/, '$1');
    if (!path.startsWith('tiny-llama:') && !existsSync(path))
      throw new ConfigError(source, `something at ${path}`, 'nothing', 'Give its folder as --path NAME=DIR.');
  }
  for (const asked of jobs.flatMap(({ floats }) => floats))
    if ('task' in asked) await taskHashes(asked.task.name, pathOf(asked.task.data, folders));
}

/** The number that an option gives, if it does. */
function countFrom(option: 'windows' | 'limit'): number | undefined {
  const given = values[option];
  if (given === undefined || /^[1-9]\d*$/.test(given)) return given === undefined ? undefined : Number(given);
  throw new ConfigError(`--${option}`, 'a number from 1 on', `'${given}'`, 'Leave it out for what the config says.');
}

if (!values.markdown) {
  const unknown = values.model?.find((name) => !config.models.some((entry) => entry.name === name));
  if (unknown !== undefined)
    throw new ConfigError('--model', config.models.map(({ name }) => name).join(', '), unknown, 'Give a whole name.');
  const widths = values.width?.map((given) => {
    const width = WIDTHS.find((known) => known === given);
    if (!width) throw new ConfigError('--width', WIDTHS.join(' or '), `'${given}'`, 'Leave it out for both.');
    return width;
  });
  const on = MEASURED_ON.find((known) => known === values.on);
  if (values.on !== undefined && !on)
    throw new ConfigError('--on', MEASURED_ON.join(' or '), `'${values.on}'`, 'Leave it out for both.');
  const jobs = jobsOf(config, { only, models: values.model, widths, on, windows, limit });
  await checkPaths(jobs);
  const clock = timeLeft(jobs);
  for (const job of jobs) await measureModel(job, clock);
}
await writeDocument(config);
console.log(`${values.out} is written; what was measured lies in ${values.records}.`);
if (failures.length > 0) {
  console.error(`${failures.length} rows failed:\n${failures.join('\n')}`);
  process.exitCode = 1;
}
