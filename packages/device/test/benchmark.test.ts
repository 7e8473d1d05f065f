import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findSoc } from '../src/index.ts';
import { type BenchmarkOptions, benchmark, connectPhone } from '../src/node.ts';
import { callsIn, fakePhone, fakeProgram, fakeRuntime, fakeSdk, scratch } from './fakes.ts';

/** A phone, and what is to be measured on it. */
function setUp({ soc = 'SM8650' } = {}) {
  const folder = scratch();
  const remote = join(scratch('phone-'), 'mobilequant');
  const sdk = fakeSdk(folder);
  fakeRuntime(sdk, 75);
  const phone = fakePhone(folder);
  phone.install(
    'getprop',
    `echo "$(case "$1" in ro.soc.model) echo '${soc}';; ro.product.model) echo 'Test Phone';; esac)"`,
  );
  for (const name of ['model.bin', 'hidden states.raw', 'mask.raw', 'token.raw'])
    writeFileSync(join(folder, name), name);
  const options: BenchmarkOptions = {
    env: { PATH: process.env['PATH'] ?? '' },
    sdk: sdk.root,
    soc: findSoc('SM8650'),
    binaries: [{ path: join(folder, 'model.bin'), graphs: ['prefill', 'decode'] }],
    graphs: [
      {
        graph: 'prefill',
        tokens: 128,
        inputs: [
          { name: 'hidden_states', path: join(folder, 'hidden states.raw') },
          { name: 'mask', path: join(folder, 'mask.raw') },
        ],
      },
      { graph: 'decode', tokens: 1, inputs: [{ path: join(folder, 'token.raw') }] },
    ],
    out: join(folder, 'results here'),
    inferences: 4,
    remote,
    batteryInterval: 20,
  };
  return { folder, remote, sdk, phone, options };
}

/** A battery that gives 1 W, and 4 W while the runner runs, which does so until it was looked at three times. */
function addBattery({ folder, sdk, phone }: ReturnType<typeof setUp>, status: string): void {
  const [running, looks] = [join(folder, 'running'), join(folder, 'looks')];
  phone.install(
    'cat',
    `case "$1" in
  */status) echo '${status}';;
  */current_now) if [ -e '${running}' ]; then echo -1000000; else echo -250000; fi;;
  */voltage_now) if [ -e '${running}' ]; then echo look >> '${looks}'; fi; echo 4000000;;
esac`,
  );
  const runner = join(sdk.root, 'bin/aarch64-android/qnn-net-run');
  const wait = `fs.rmSync('${looks}', { force: true });
fs.writeFileSync('${running}', '');
const looks = () => (fs.existsSync('${looks}') ? fs.readFileSync('${looks}', 'utf8').split('\\n').length - 1 : 0);
while (looks() < 3) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
fs.rmSync('${running}');`;
  writeFileSync(
    runner,
    `${readFileSync(runner, 'utf8')}${wait}
`,
  );
}

test('graphs are run in burst mode, one after another, and measured', async () => {
  const setting = setUp();
  addBattery(setting, 'Discharging');
  const { phone, options, sdk, remote } = setting;
  const result = await benchmark(await connectPhone(phone), options);
  expect(result).toMatchObject({ phone: 'Test Phone', soc: 'SM8650' });
  const [prefill, decode] = result.graphs;
  // 2, 4, 6, 8 ms behind the first
  expect(prefill).toMatchObject({ graph: 'prefill', inferences: 4, latency: { mean: 5, median: 5, p90: 8 } });
  expect(prefill?.tokensPerSecond).toBe(25600);
  expect(decode).toMatchObject({ graph: 'decode', tokensPerSecond: 200, accelerator: { mean: 2.5 } });
  if (decode?.power.kind !== 'known') expect.fail('power is not known');
  expect(decode.power).toMatchObject({ idle: 1 });
  expect(decode.power.running).toBeGreaterThan(1);
  expect(decode.power.running).toBeLessThanOrEqual(4);
  expect(decode.energyPerToken).toBeCloseTo((decode.power.running - 1) * 0.005, 12);

  const runs = callsIn(sdk.record).filter(({ program }) => program === 'qnn-net-run');
  expect(runs.map(({ args }) => args.join(' '))).toEqual(
    ['prefill.txt,__', '__,decode.txt'].map(
      (lists, i) =>
        `--backend libQnnHtp.so --retrieve_context prefill-decode.bin --input_list ${lists} --output_dir output-${['prefill', 'decode'][i]} ` +
        '--use_native_input_files --use_native_output_files --num_inferences 5 --keep_num_outputs 1 --perf_profile burst ' +
        '--profiling_level basic --config_file tool.json',
    ),
  );
  expect(readFileSync(join(remote, 'prefill.txt'), 'utf8')).toBe('hidden_states:=prefill-0.raw mask:=prefill-1.raw\n');
  expect(readFileSync(join(remote, 'decode.txt'), 'utf8')).toBe('decode-0.raw\n');
  expect(readFileSync(join(remote, 'libQnnHtpV75Skel.so'), 'utf8')).toBe('libQnnHtpV75Skel.so');
  expect(readFileSync(join(options.out, 'prefill.log'), 'utf8')).toBe(`ran ${remote} ${remote}\n`);
});

test('a phone on its cable is measured without energy', async () => {
  const setting = setUp({ soc: '' });
  addBattery(setting, 'Charging');
  const { phone, options } = setting;
  const graphs = options.graphs.slice(1);
  const result = await benchmark(await connectPhone(phone), { ...options, graphs, inferences: 1, warmUp: 0 });
  expect(result.graphs[0]).toMatchObject({
    latency: { mean: 99 },
    power: { kind: 'unknown', reason: expect.stringContaining('Charging') },
  });
  expect(result.graphs[0]).not.toHaveProperty('energyPerToken');
});

test('with details, the costs of operators come along', async () => {
  const { phone, options, sdk } = setUp();
  const graphs = options.graphs.slice(1);
  const result = await benchmark(await connectPhone(phone), { ...options, graphs, profiling: 'detailed' });
  expect(result.graphs[0]?.operators).toEqual([{ name: 'lm_head', id: 9, cycles: 35, executions: 5 }]);
  const args = callsIn(sdk.record).find(({ program }) => program === 'qnn-net-run')?.args ?? [];
  expect(args[args.indexOf('--profiling_level') + 1]).toBe('detailed');
});

test('a graph may be run several times, each with its log and profile', async () => {
  const { phone, options, sdk } = setUp();
  const graphs = options.graphs.slice(1);
  const result = await benchmark(await connectPhone(phone), { ...options, graphs, repeat: 2 });
  expect(result.graphs[0]).toMatchObject({ inferences: 8, latency: { mean: 5 }, runs: [5, 5] });
  expect(callsIn(sdk.record).filter(({ program }) => program === 'qnn-net-run')).toHaveLength(2);
  const logs = readdirSync(options.out).filter((name) => name.endsWith('.log'));
  expect(logs).toEqual(expect.arrayContaining(['decode-1.log', 'decode-2.log', 'decode-2-profile.log']));
});

test('another chip, and files that are missing, are told before anything is pushed', async () => {
  const { phone, options, sdk } = setUp({ soc: 'SM8550-AB' });
  const adb = await connectPhone(phone);
  await expect(benchmark(adb, options)).rejects.toThrow(
    'R5CT: expected a phone with SM8650 (Snapdragon 8 Gen 3), got SM8550-AB',
  );
  rmSync(join(sdk.root, 'lib/hexagon-v75'), { recursive: true });
  await expect(benchmark(adb, options)).rejects.toThrow(/got no .*libQnnHtpV75Skel\.so\. Compile first/);
  rmSync(join(sdk.bin, 'qnn-profile-viewer'));
  await expect(benchmark(adb, options)).rejects.toThrow('got no qnn-profile-viewer');
  expect(phone.calls().filter((args) => args.includes('push'))).toEqual([]);
});

test('a runner that fails says what it printed', async () => {
  const { phone, options, sdk } = setUp();
  const runner = join(sdk.root, 'bin/aarch64-android/qnn-net-run');
  fakeProgram(runner, sdk.record, `console.error('Failed to load the skel'); process.exit(14);`);
  await expect(benchmark(await connectPhone(phone), options)).rejects.toThrow(
    'adb shell: expected to succeed, got exit code 14. It said:\nFailed to load the skel',
  );
});

test('a run without a profile is no measurement', async () => {
  const { phone, options, sdk } = setUp();
  const runner = join(sdk.root, 'bin/aarch64-android/qnn-net-run');
  fakeProgram(runner, sdk.record, `write(path.join(after('--output_dir'), 'Result_0'));`);
  await expect(benchmark(await connectPhone(phone), options)).rejects.toThrow(
    'prefill on R5CT: expected a profile in its output, got Result_0',
  );
});

test('a viewer that fails is told with its log', async () => {
  const { phone, options, sdk } = setUp();
  fakeProgram(join(sdk.bin, 'qnn-profile-viewer'), sdk.record, `console.log('bad log'); process.exit(2);`);
  await expect(benchmark(await connectPhone(phone), options)).rejects.toThrow(
    /qnn-profile-viewer: expected a profile, got exit code 2.*bad log/s,
  );
});

test('options that could not be meant are refused', async () => {
  const { phone, options } = setUp();
  const adb = await connectPhone(phone);
  const refused = (changes: Partial<BenchmarkOptions>) => expect(benchmark(adb, { ...options, ...changes })).rejects;
  await refused({ remote: '/data/../etc' }).toThrow('a folder on the phone');
  await refused({ remote: '/' }).toThrow('a folder on the phone');
  await refused({ remote: '/data/a b' }).toThrow('a folder on the phone');
  await refused({ inferences: 0 }).toThrow('got 0');
  await refused({ repeat: 0 }).toThrow('at least 1 run, got 0');
  await refused({ graphs: [] }).toThrow('got none');
  await refused({ graphs: [{ graph: 'other', tokens: 1, inputs: [] }] }).toThrow(
    "the graph 'other', got prefill, decode",
  );
  const path = join(options.out, 'x');
  mkdirSync(options.out, { recursive: true });
  const inputs = [{ name: 'a', path }, { path }];
  await refused({ graphs: [{ graph: 'decode', tokens: 1, inputs }] }).toThrow('got 1 names, 2 inputs');
  await refused({ graphs: [{ graph: 'decode', tokens: 1, inputs: [{ name: 'a b', path }] }] }).toThrow("got 'a b'");
});
