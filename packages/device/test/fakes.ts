/** Stand-ins for Qualcomm's programs and for a phone: scripts in a temporary folder that write down how they were called. */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A folder with a space in its name, gone after the test. */
export function scratch(name = 'with space-'): string {
  const folder = mkdtempSync(join(tmpdir(), name));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Call {
  readonly program: string;
  readonly args: readonly string[];
}

/** The calls that programs wrote down in a file. */
export const callsIn = (record: string): Call[] =>
  existsSync(record)
    ? readFileSync(record, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    : [];

/** A program that writes down its call and then does `body`, in which `args`, `fs`, `path` and `after(option)` are known. */
export function fakeProgram(file: string, record: string, body: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(
    file,
    `#!${process.execPath}
const fs = require('node:fs');
const path = require('node:path');
const args = process.argv.slice(2);
const after = (option) => args[args.indexOf(option) + 1];
const write = (file) => { fs.mkdirSync(path.dirname(file), { recursive: true }); fs.writeFileSync(file, 'made by ${basename(file)}'); };
fs.appendFileSync(${JSON.stringify(record)}, JSON.stringify({ program: ${JSON.stringify(basename(file))}, args }) + '\\n');
${body}
`,
  );
  chmodSync(file, 0o755);
}

export interface FakeSdk {
  readonly root: string;
  readonly record: string;
  readonly bin: string;
}

/** An SDK whose tools write what they are asked for. */
export function fakeSdk(folder: string): FakeSdk {
  const root = join(folder, 'sdk root');
  const record = join(folder, 'calls.jsonl');
  const bin = join(root, 'bin/x86_64-linux-clang');
  const tool = (name: string, body: string) => fakeProgram(join(bin, name), record, body);
  tool('qairt-converter', `write(after('--output_path')); console.log('converted');`);
  tool('qairt-quantizer', `fs.readFileSync(after('--input_dlc')); write(after('--output_dlc'));`);
  tool('qnn-onnx-converter', `const f = after('--output_path'); write(f); write(f.replace(/cpp$/, 'bin'));`);
  tool(
    'qnn-model-lib-generator',
    `fs.readFileSync(after('-c')); fs.readFileSync(after('-b')); write(path.join(after('-o'), after('-t'), 'lib' + after('-l') + '.so'));`,
  );
  tool(
    'qnn-context-binary-generator',
    `JSON.parse(fs.readFileSync(after('--config_file'))); write(path.join(after('--output_dir'), after('--binary_file') + '.bin'));`,
  );
  tool('qnn-profile-viewer', `fs.copyFileSync(after('--input_log'), after('--output'));`);
  return { root, record, bin };
}

/** What the runner and its libraries are on a phone: the runner reads what it is given and leaves a profile. */
export function fakeRuntime({ root, record }: FakeSdk, arch: number): void {
  fakeProgram(
    join(root, 'bin/aarch64-android/qnn-net-run'),
    record,
    `
for (const list of after('--input_list').split(',').filter((list) => list !== '__'))
  for (const entry of fs.readFileSync(list, 'utf8').trim().split(' ')) fs.readFileSync(entry.split(':=').at(-1));
fs.readFileSync(after('--retrieve_context'));
JSON.parse(fs.readFileSync(JSON.parse(fs.readFileSync(after('--config_file'))).backend_extensions.config_file_path));
const count = Number(after('--num_inferences'));
const rows = ['Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier'];
for (let i = 0; i < count; i++) {
  if (after('--profiling_level') === 'detailed') rows.push('1,EXECUTE,7,CYCLES,BACKEND,SUB-EVENT,lm_head:OpId_9 (cycles)');
  rows.push('1,EXECUTE,' + (i === 0 ? 90000 : 1000 * i) + ',US,BACKEND,ROOT,Accelerator (execute) time');
  rows.push('1,EXECUTE,' + (i === 0 ? 99000 : 2000 * i) + ',US,BACKEND,ROOT,QNN (execute) time');
}
fs.mkdirSync(after('--output_dir'), { recursive: true });
fs.writeFileSync(path.join(after('--output_dir'), 'qnn-profiling-data_0.log'), rows.join('\\n') + '\\n');
console.log('ran', process.env.LD_LIBRARY_PATH, process.env.ADSP_LIBRARY_PATH);`,
  );
  const libraries = ['libQnnHtp.so', 'libQnnSystem.so', 'libQnnHtpNetRunExtensions.so', `libQnnHtpV${arch}Stub.so`];
  for (const file of [
    ...libraries.map((library) => join(root, 'lib/aarch64-android', library)),
    join(root, `lib/hexagon-v${arch}/unsigned/libQnnHtpV${arch}Skel.so`),
  ]) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, basename(file));
  }
}

function script(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
}

export interface FakePhone {
  /** The program to call. */
  readonly adb: string;
  /** The arguments of its calls so far. */
  readonly calls: () => string[][];
  /** What `adb devices` answers. */
  readonly answerDevices: (text: string) => void;
  /** Makes a verb fail from now on. */
  readonly fail: (verb: string) => void;
  /** A program on the phone's own PATH, as a line of its shell. */
  readonly install: (name: string, text: string) => void;
}

/** A phone whose shell is this computer's, with its own programs in front; files are copied here and there. */
export function fakePhone(folder: string): FakePhone {
  const adb = join(folder, 'platform tools/adb');
  const record = join(folder, 'adb.calls');
  const bin = join(folder, 'phone/bin');
  const devices = join(folder, 'devices.txt');
  writeFileSync(devices, 'List of devices attached\nR5CT\tdevice\n\n');
  script(
    adb,
    `call=$(printf '%s\\037' "$@")
printf '%s\\036' "$call" >> '${record}'
if [ "$1" = -s ]; then shift 2; fi
if [ -e '${folder}'/fail-"$1" ]; then printf 'error: closed\\033[31m\\n' >&2; exit 1; fi
case "$1" in
  devices) cat '${devices}';;
  push | pull) cp "$2" "$3" && echo "1 file $1ed";;
  shell) PATH='${bin}':"$PATH" exec sh -c "$2";;
esac`,
  );
  return {
    adb,
    calls: () =>
      readFileSync(record, 'utf8')
        .split('\x1e')
        .slice(0, -1)
        .map((call) => call.split('\x1f').slice(0, -1)),
    answerDevices: (text) => writeFileSync(devices, text),
    fail: (verb) => appendFileSync(join(folder, `fail-${verb}`), ''),
    install: (name, text) => script(join(bin, name), text),
  };
}

export interface FakePython {
  /** The program to call. */
  readonly python: string;
  readonly record: string;
  /** Which versions it has from now on. */
  readonly have: (versions: Readonly<Record<string, string | null>>) => void;
  /** What its scripts do from now on: `request` and `answer(kind, facts)` are known. */
  readonly does: (body: string) => void;
}

/** The versions that this package pins. */
export const pinnedVersions = (): Record<string, string> =>
  Object.fromEntries(
    readFileSync(new URL('../python/requirements.txt', import.meta.url), 'utf8')
      .split('\n')
      .filter((line) => line.includes('=='))
      .map((line) => line.split('==')),
  );

/** A Python whose compiler writes what it is asked for, and whose NPU agrees with the processor in all but the last token. */
export function fakePython(folder: string): FakePython {
  const python = join(folder, 'my env/python');
  const record = join(folder, 'python.calls');
  const versions = join(folder, 'versions.json');
  const script = join(folder, 'script.cjs');
  const have = (found: Readonly<Record<string, string | null>>) => writeFileSync(versions, JSON.stringify(found));
  const does = (body: string) =>
    writeFileSync(
      script,
      `const fs = require('node:fs');
const path = require('node:path');
const request = JSON.parse(fs.readFileSync(0, 'utf8'));
const answer = (kind, facts) => console.log(JSON.stringify({ kind, ...facts }));
${body}`,
    );
  have(pinnedVersions());
  does(`if (request.out) {
  const made = request.graphs.map(({ name, model }, done) => {
    answer('progress', { graph: name, done, total: request.graphs.length });
    fs.readFileSync(model);
    fs.writeFileSync(path.join(request.out, name + '.onnx'), 'context of ' + name);
    return { name, file: name + '.onnx', nodes: 10, operators: 4, counts: { FullyConnected: 4 }, weights: { 8: 100 }, floats: [], seconds: 1 };
  });
  const binary = request.graphs[0].name + '_qnn.bin';
  fs.writeFileSync(path.join(request.out, binary), 'binary for ' + request.soc.socModel);
  answer('result', { graphs: made, binary, bytes: 13, peakBytes: 1000 });
} else {
  answer('progress', { stage: 'read, npu', done: 0, total: 1 });
  const losses = request.windows.map((window) => window.slice(1).map(() => 2));
  const said = { processor: Array(request.tokens).fill(3), npu: [...Array(request.tokens - 1).fill(3), 4], stepDifference: [0.1] };
  const read = { processor: losses, npu: losses.map((each) => each.map((x, i) => x + (i % 2))), meanDifference: 0.1, largestDifference: 0.5, equalTokens: 0.9 };
  answer('result', { read: request.windows.length > 0 ? read : null, said: request.prompt.length > 0 ? said : null });
}`);
  fakeProgram(
    python,
    record,
    `if (args[0] === '-c') console.log(fs.readFileSync(${JSON.stringify(versions)}, 'utf8'));
else require(${JSON.stringify(script)});`,
  );
  return { python, record, have, does };
}
