/**
 * Measures compiled graphs on a phone: pushes them with Qualcomm's runner, lets it run them many times as fast as the phone can, and reads
 * its profile and, meanwhile, the battery.
 */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Adb, remoteQuote } from './adb.ts';
import { BATTERY_COMMAND, type BatterySample, batteryPower, parseBattery } from './battery.ts';
import { type BenchmarkResult, type GraphResult, type GraphRun, graphResult } from './benchmark-result.ts';
import { DeviceError, printable } from './errors.ts';
import { findTools, sdkEnvironment, sdkRoot, type ToolOptions } from './find-tools.ts';
import { htpRunConfig, jsonText, toolConfig } from './htp-config.ts';
import { runLogged, tailOf } from './process.ts';
import { acceleratorTimes, executionTimes, parseProfile } from './profile.ts';
import type { ContextBinary } from './sdk-commands.ts';
import type { Soc } from './socs.ts';

/** A graph to measure. */
export interface BenchmarkGraph {
  readonly graph: string;
  /** That one inference reads (prefill) or makes (decode: 1). */
  readonly tokens: number;
  /** Its inputs, as the raw bytes of their integers: by name, or all without names in the graph's order. */
  readonly inputs: readonly { readonly name?: string; readonly path: string }[];
}

export interface BenchmarkOptions extends ToolOptions {
  readonly soc: Soc;
  readonly binaries: readonly ContextBinary[];
  readonly graphs: readonly BenchmarkGraph[];
  /** Folder for logs and profiles. */
  readonly out: string;
  /** Of each graph, behind the first ones. Default 100. */
  readonly inferences?: number;
  /** How often each graph is run anew, so many inferences each time. Default 1. */
  readonly repeat?: number;
  /** First inferences that are run and not measured. Default 1. */
  readonly warmUp?: number;
  /** `detailed` counts cycles of operators too, and takes time. Default `basic`. */
  readonly profiling?: 'basic' | 'detailed';
  /** Folder on the phone. Default `/data/local/tmp/mobilequant`. */
  readonly remote?: string;
  /** Milliseconds between looks at the battery. Default 500. */
  readonly batteryInterval?: number;
  readonly signal?: AbortSignal;
}

const REMOTE = '/data/local/tmp/mobilequant';
const IDLE_SAMPLES = 5;

/**
 * Runs graphs on a phone, one after another.
 *
 * @throws DeviceError for files that are missing here, a phone with another chip, and a run or a profile that fails.
 */
export async function benchmark(adb: Adb, options: BenchmarkOptions): Promise<BenchmarkResult> {
  checkOptions(options);
  const { soc, remote = REMOTE } = options;
  const viewer = (await findTools(['qnn-profile-viewer'], options))['qnn-profile-viewer'];
  const runtime = runtimeFiles(options);
  await checkFiles([...runtime, ...options.binaries.map(({ path }) => path), ...inputFiles(options.graphs)]);
  const phone = await checkPhone(adb, soc);

  await mkdir(options.out, { recursive: true });
  await adb.shell(`mkdir -p ${remoteQuote(remote)}`);
  for (const path of runtime) await adb.push(path, `${remote}/${basename(path)}`);
  await adb.shell(`chmod 755 ${remoteQuote(`${remote}/qnn-net-run`)}`);
  await pushText(adb, options, 'htp.json', jsonText(htpRunConfig(soc)));
  await pushText(adb, options, 'tool.json', jsonText(toolConfig('libQnnHtpNetRunExtensions.so', 'htp.json')));
  for (const binary of options.binaries) await adb.push(binary.path, `${remote}/${remoteBinary(binary)}`);

  const graphs: GraphResult[] = [];
  for (const graph of options.graphs) graphs.push(await benchmarkGraph(adb, graph, viewer, options));
  return { phone, soc: soc.name, graphs };
}

async function benchmarkGraph(
  adb: Adb,
  run: BenchmarkGraph,
  viewer: string,
  options: BenchmarkOptions,
): Promise<GraphResult> {
  const { remote = REMOTE, warmUp = 1, repeat = 1 } = options;
  const { graph, tokens, inputs } = run;
  for (const [i, { path }] of inputs.entries()) await adb.push(path, `${remote}/${remoteInput(graph, i)}`);
  const entries = inputs.map(({ name }, i) => (name === undefined ? '' : `${name}:=`) + remoteInput(graph, i));
  await pushText(adb, options, `${graph}.txt`, `${entries.join(' ')}\n`);
  const runs: GraphRun[] = [];
  while (runs.length < repeat) {
    options.signal?.throwIfAborted();
    runs.push(await runGraph(adb, run, viewer, options, repeat > 1 ? `${graph}-${runs.length + 1}` : graph));
  }
  return graphResult({ graph, tokens, warmUp, runs });
}

/** One run of the runner, and its profile; `label` names its files. */
async function runGraph(
  adb: Adb,
  run: BenchmarkGraph,
  viewer: string,
  options: BenchmarkOptions,
  label: string,
): Promise<GraphRun> {
  const { remote = REMOTE, batteryInterval = 500, out } = options;
  const { graph } = run;
  const folder = `${remote}/output-${graph}`;
  await adb.shell(`rm -rf ${remoteQuote(folder)}`);
  const idle = await idleSamples(adb, batteryInterval);
  const { result: said, samples } = await whileSampling(adb, batteryInterval, adb.shell(runLine(run, options)));
  await writeFile(join(out, `${label}.log`), said);

  const files = (await adb.shell(`ls -1 ${remoteQuote(folder)}`)).split('\n').map((line) => line.trim());
  const profile = files.filter((file) => /^qnn-profiling-data[\w.-]*\.log$/.test(file)).sort()[0];
  if (profile === undefined) {
    const received = printable(files.filter((file) => file !== '').join(', ')).slice(0, 200) || 'nothing';
    throw new DeviceError(
      `${graph} on ${adb.serial}`,
      'a profile in its output',
      received,
      `See ${join(out, `${label}.log`)}.`,
    );
  }
  const log = join(out, `${label}-profile.log`);
  const csv = join(out, `${label}-profile.csv`);
  await adb.pull(`${folder}/${profile}`, log);
  await viewProfile(viewer, log, csv, options);
  const parsed = parseProfile(await readFile(csv, 'utf8'), csv);
  return {
    executions: executionTimes(parsed, csv),
    accelerator: acceleratorTimes(parsed),
    operators: parsed.operators,
    power: batteryPower(idle, samples),
  };
}

/** The line that runs a graph on the phone. The other graphs of its binary are passed over by a list of the name `__`. */
function runLine({ graph }: BenchmarkGraph, options: BenchmarkOptions): string {
  const { remote = REMOTE, inferences = 100, warmUp = 1, profiling = 'basic' } = options;
  const binary = binaryOf(graph, options.binaries) as ContextBinary;
  const args = [
    ...['--backend', 'libQnnHtp.so', '--retrieve_context', remoteBinary(binary)],
    ...['--input_list', binary.graphs.map((other) => (other === graph ? `${graph}.txt` : '__')).join(',')],
    ...['--output_dir', `output-${graph}`, '--use_native_input_files', '--use_native_output_files'],
    ...['--num_inferences', String(inferences + warmUp), '--keep_num_outputs', '1'],
    ...['--perf_profile', 'burst', '--profiling_level', profiling, '--config_file', 'tool.json'],
  ];
  const folder = remoteQuote(remote);
  const environment = `LD_LIBRARY_PATH=${folder} ADSP_LIBRARY_PATH=${folder}`;
  return `cd ${folder} && ${environment} ./qnn-net-run ${args.map(remoteQuote).join(' ')} 2>&1`;
}

const remoteBinary = ({ graphs }: ContextBinary): string => `${graphs.join('-')}.bin`;
const remoteInput = (graph: string, i: number): string => `${graph}-${i}.raw`;
const binaryOf = (graph: string, binaries: readonly ContextBinary[]): ContextBinary | undefined =>
  binaries.find(({ graphs }) => graphs.includes(graph));

/** The runner and its libraries for the phone: the backend, its stub, and the code for the NPU itself. */
function runtimeFiles(options: BenchmarkOptions): string[] {
  const root = sdkRoot(options);
  if (root === undefined) {
    throw new DeviceError('benchmark', 'the folder of the SDK', 'none', 'Set QNN_SDK_ROOT, or say `sdk`.');
  }
  const arch = options.soc.htpArch;
  const libraries = ['libQnnHtp.so', 'libQnnSystem.so', 'libQnnHtpNetRunExtensions.so', `libQnnHtpV${arch}Stub.so`];
  return [
    join(root, 'bin/aarch64-android/qnn-net-run'),
    ...libraries.map((library) => join(root, 'lib/aarch64-android', library)),
    join(root, `lib/hexagon-v${arch}/unsigned/libQnnHtpV${arch}Skel.so`),
  ];
}

const inputFiles = (graphs: readonly BenchmarkGraph[]): string[] =>
  graphs.flatMap(({ inputs }) => inputs.map(({ path }) => path));

async function checkFiles(paths: readonly string[]): Promise<void> {
  const isThere = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        (entry) => entry.isFile(),
        () => false,
      ),
    ),
  );
  const missing = paths.filter((_, i) => !isThere[i]);
  if (missing.length === 0) return;
  const advice = 'Compile first; the runner and its libraries come with the SDK.';
  throw new DeviceError('benchmark', 'files to push', `no ${missing.join(', ')}`, advice);
}

/** A binary belongs to its chip. @returns what the phone calls itself. */
async function checkPhone(adb: Adb, soc: Soc): Promise<string> {
  const property = async (name: string): Promise<string> => printable(await adb.shell(`getprop ${name}`)).trim();
  const model = await property('ro.soc.model'); // since Android 12
  if (model !== '' && !model.toUpperCase().startsWith(soc.name)) {
    throw new DeviceError(
      adb.serial,
      `a phone with ${soc.name} (${soc.chip})`,
      model,
      'Compile for the chip that it has.',
    );
  }
  return (await property('ro.product.model')) || adb.serial;
}

async function pushText(adb: Adb, { out, remote }: BenchmarkOptions, name: string, text: string): Promise<void> {
  const path = join(out, name);
  await writeFile(path, text);
  await adb.push(path, `${remote ?? REMOTE}/${name}`);
}

async function viewProfile(viewer: string, log: string, csv: string, options: BenchmarkOptions): Promise<void> {
  const partial = `${csv}.partial`;
  const viewerLog = `${csv}.log`;
  const env = sdkEnvironment(options);
  const process = options.signal ? { env, signal: options.signal } : { env };
  const code = await runLogged(viewer, ['--input_log', log, '--output', partial], viewerLog, process);
  const isThere = await stat(partial).then(
    () => true,
    () => false,
  );
  if (code !== 0 || !isThere) {
    const received = code === 0 ? 'none' : code === null ? 'a signal' : `exit code ${code}`;
    throw new DeviceError(
      'qnn-profile-viewer',
      'a profile',
      received,
      `The end of ${viewerLog}:\n${await tailOf(viewerLog)}`,
    );
  }
  await rename(partial, csv);
}

/** One look at the battery; nothing where a phone shows it to nobody. That the phone is gone is for the run to tell. */
const readBattery = (adb: Adb): Promise<BatterySample | undefined> =>
  adb.shell(BATTERY_COMMAND).then(parseBattery, () => undefined);

async function idleSamples(adb: Adb, interval: number): Promise<BatterySample[]> {
  const samples: BatterySample[] = [];
  while (samples.length < IDLE_SAMPLES) {
    const sample = await readBattery(adb);
    if (!sample) break;
    samples.push(sample);
    await sleep(interval);
  }
  return samples;
}

/** Looks at the battery until a task is done. */
async function whileSampling<T>(
  adb: Adb,
  interval: number,
  task: Promise<T>,
): Promise<{ readonly result: T; readonly samples: BatterySample[] }> {
  const samples: BatterySample[] = [];
  let running = true;
  const stop = (): void => {
    running = false;
  };
  const done = task.then(stop, stop);
  while (running) {
    await Promise.race([done, sleep(interval)]);
    const sample = running ? await readBattery(adb) : undefined;
    if (running && sample) samples.push(sample);
  }
  return { result: await task, samples };
}

function checkOptions(options: BenchmarkOptions): void {
  const { graphs, binaries, inferences = 100, repeat = 1, warmUp = 1, remote = REMOTE } = options;
  const fail = (expected: string, received: string, advice: string): never => {
    throw new DeviceError('benchmark', expected, received, advice);
  };
  if (!Number.isInteger(inferences) || inferences < 1)
    fail('a number of inferences of at least 1', String(inferences), 'Correct it.');
  if (!Number.isInteger(repeat) || repeat < 1) fail('at least 1 run', String(repeat), 'Correct it.');
  if (!Number.isInteger(warmUp) || warmUp < 0) fail('a number of first inferences', String(warmUp), 'Correct it.');
  if (!/^(\/[\w.-]+)+$/.test(remote) || /\/\.\.?(\/|$)/.test(remote))
    fail('a folder on the phone of letters, digits, _, . and -', `'${remote}'`, 'It is written to, and cleared.');
  if (graphs.length === 0) fail('graphs to measure', 'none', 'Name at least one.');
  for (const { graph, tokens, inputs } of graphs) {
    const known = binaries.flatMap((binary) => binary.graphs);
    if (!known.includes(graph)) fail(`a binary with the graph '${graph}'`, known.join(', ') || 'none', 'Compile it.');
    if (!Number.isInteger(tokens) || tokens < 1) fail(`a number of tokens of ${graph}`, String(tokens), 'Correct it.');
    const names = inputs.flatMap(({ name }) => (name === undefined ? [] : [name]));
    if (inputs.length === 0 || (names.length > 0 && names.length < inputs.length))
      fail(
        `inputs of ${graph}, all with names or none`,
        `${names.length} names, ${inputs.length} inputs`,
        'Name them.',
      );
    const wrong = names.find((name) => !/^[^\s:=]+$/.test(name));
    if (wrong !== undefined) fail('names without spaces, : and =', `'${wrong}'`, 'The runner would not find it.');
  }
}
