import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compilePlan, exportedGraphs, findSoc } from '../src/index.ts';
import { findTools, runPlan, sdkEnvironment, sdkRoot } from '../src/node.ts';
import { callsIn, fakeProgram, fakeSdk, scratch } from './fakes.ts';

function setUp(chain: 'qairt' | 'qnn' = 'qairt') {
  const folder = scratch();
  const sdk = fakeSdk(folder);
  const out = join(folder, 'my build');
  const logs = join(out, 'logs');
  const plan = compilePlan(exportedGraphs(join(folder, 'npu')), { soc: findSoc('SM8650'), sdk: sdk.root, out, chain });
  const env = { PATH: process.env['PATH'] ?? '' };
  return { folder, sdk, out, logs, plan, options: { env, sdk: sdk.root, logs } };
}

for (const chain of ['qairt', 'qnn'] as const) {
  test(`${chain}: tools run in order, and what they make is where the plan says`, async () => {
    const { sdk, plan, options, out } = setUp(chain);
    const seen: string[] = [];
    const binaries = await runPlan(plan, { ...options, onCommand: ({ tool }) => seen.push(tool) });
    expect(binaries).toEqual(plan.binaries);
    for (const path of plan.commands.flatMap(({ writes }) => writes)) expect(existsSync(path), path).toBe(true);
    const calls = callsIn(sdk.record);
    expect(calls.map(({ program }) => program)).toEqual(plan.commands.map(({ tool }) => tool));
    expect(seen).toEqual(plan.commands.map(({ tool }) => tool));
    for (const [i, { args, target }] of plan.commands.entries()) {
      const at = args.indexOf(target);
      const given = calls[i]?.args ?? [];
      expect(given.toSpliced(at, 1)).toEqual(args.toSpliced(at, 1));
      expect(given[at]).toContain(`${target}.partial`);
      expect(given[at]?.endsWith('.partial') || given[at]?.split('/').at(-1) === target.split('/').at(-1)).toBe(true);
    }
    expect(readdirSync(out, { recursive: true }).filter((name) => String(name).includes('.partial'))).toEqual([]);
    expect(JSON.parse(readFileSync(join(out, 'model-htp.json'), 'utf8')).devices[0].soc_model).toBe(57);
  });
}

test('each tool has its log', async () => {
  const { plan, options, logs } = setUp();
  await runPlan(plan, options);
  expect(readdirSync(logs)).toEqual([
    '01-qairt-converter.log',
    '02-qairt-quantizer.log',
    '03-qairt-converter.log',
    '04-qairt-quantizer.log',
    '05-qnn-context-binary-generator.log',
  ]);
  expect(readFileSync(join(logs, '01-qairt-converter.log'), 'utf8')).toBe('converted\n');
});

test('the first failure ends it, with the end of its log', async () => {
  const { sdk, plan, options, out } = setUp();
  const body = `for (let i = 1; i <= 30; i++) console.log('line ' + i); console.error('\\u001b[31mNo encoding\\u001b[0m'); process.exit(3);`;
  fakeProgram(join(sdk.bin, 'qairt-quantizer'), sdk.record, `write(after('--output_dlc')); ${body}`);
  const error: Error = await runPlan(plan, options).then(
    () => expect.fail('it succeeded'),
    (error) => error,
  );
  expect(error.message).toContain('qairt-quantizer: expected to succeed, got exit code 3. The end of ');
  expect(error.message).toContain('02-qairt-quantizer.log:\nline 12\n');
  expect(error.message.endsWith('line 30\nNo encoding')).toBe(true);
  expect(callsIn(sdk.record)).toHaveLength(2);
  // What it had begun is not there, neither under its name nor under another.
  expect(existsSync(join(out, 'converted/prefill.dlc'))).toBe(true);
  expect(existsSync(join(out, 'quantized')) ? readdirSync(join(out, 'quantized')) : []).toEqual([]);
});

test('a tool that says it succeeded but wrote nothing has failed; what was there before stays', async () => {
  const { sdk, plan, options, out } = setUp();
  mkdirSync(join(out, 'quantized'), { recursive: true });
  writeFileSync(join(out, 'quantized/prefill.dlc'), 'before');
  fakeProgram(join(sdk.bin, 'qairt-quantizer'), sdk.record, '');
  await expect(runPlan(plan, options)).rejects.toThrow('expected it to write prefill.dlc, got no such file');
  expect(readFileSync(join(out, 'quantized/prefill.dlc'), 'utf8')).toBe('before');
});

test('missing tools are named before anything runs', async () => {
  const { sdk, plan, options, out } = setUp();
  rmSync(join(sdk.bin, 'qairt-quantizer'));
  rmSync(join(sdk.bin, 'qnn-context-binary-generator'));
  await expect(runPlan(plan, options)).rejects.toThrow(
    `got no qairt-quantizer, qnn-context-binary-generator in ${sdk.bin} or on the PATH. Install Qualcomm's AI Engine Direct SDK`,
  );
  expect(callsIn(sdk.record)).toEqual([]);
  expect(existsSync(out)).toBe(false);
});

test('a run can be stopped', async () => {
  const { sdk, plan, options } = setUp();
  fakeProgram(join(sdk.bin, 'qairt-converter'), sdk.record, 'setTimeout(() => {}, 60_000);');
  const stop = new AbortController();
  const run = runPlan(plan, { ...options, signal: stop.signal, onCommand: () => setTimeout(() => stop.abort(), 100) });
  await expect(run).rejects.toThrow('aborted');
});

test('tools are found in the SDK that the environment names, else on the PATH', async () => {
  const folder = scratch();
  const sdk = fakeSdk(folder);
  const other = join(folder, 'other bin');
  fakeProgram(join(other, 'adb'), sdk.record, '');
  fakeProgram(join(other, 'qairt-converter'), sdk.record, '');
  const names = ['qairt-converter', 'adb'] as const;
  expect(await findTools(names, { env: { QAIRT_SDK_ROOT: sdk.root, PATH: other } })).toEqual({
    'qairt-converter': join(sdk.bin, 'qairt-converter'),
    adb: join(other, 'adb'),
  });
  expect((await findTools(names, { env: { PATH: other } }))['qairt-converter']).toBe(join(other, 'qairt-converter'));
  chmodSync(join(sdk.bin, 'qairt-converter'), 0o644); // a file that does not run is no tool
  const beside = await findTools(names, { env: { QNN_SDK_ROOT: sdk.root, PATH: other } });
  expect(beside['qairt-converter']).toBe(join(other, 'qairt-converter'));
  await expect(findTools(['adb'], { env: { PATH: '' } })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[DeviceError: tools: expected adb, got no adb on the PATH (QNN_SDK_ROOT is not set). Install Android's platform-tools and put them on the PATH.]`,
  );
});

test("the environment is as the SDK's own script sets it", () => {
  const env = { QNN_SDK_ROOT: '/sdk', PATH: '/bin', PYTHONPATH: '' };
  expect(sdkRoot({ env })).toBe('/sdk');
  expect(sdkRoot({ env: {} })).toBeUndefined();
  expect(sdkEnvironment({ env })).toEqual({
    QNN_SDK_ROOT: '/sdk',
    QAIRT_SDK_ROOT: '/sdk',
    PATH: '/sdk/bin/x86_64-linux-clang:/bin',
    LD_LIBRARY_PATH: '/sdk/lib/x86_64-linux-clang',
    PYTHONPATH: '/sdk/lib/python',
  });
});
