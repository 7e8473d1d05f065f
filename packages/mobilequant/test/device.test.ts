import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { callsIn, fakePhone, fakePython, fakeRuntime, fakeSdk, scratch } from '../../device/test/fakes.ts';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';
const mobilequant = (...args: string[]) => run(directory, args);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-device-'));
  await writeTinyModel(join(directory, 'model'));
  await writeFile(join(directory, 'text.txt'), tinyText(400, 1));
  const calibration = ['--calibration', 'text.txt', '--samples', '4', '--tokens', '16', '--threads', '1'];
  const { reports } = await mobilequant(
    'quantize',
    'model',
    '--out',
    'quantized',
    '--method',
    'minmax',
    ...calibration,
  );
  expect(reports).toBe('');
  await mobilequant('export', 'quantized', '--target', 'qnn-qdq', '--out', 'npu', '--tokens', '16', '--context', '32');
});

afterAll(() => rm(directory, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

/** A copy of the exported directory, for a test of its own. */
async function exported(name: string): Promise<string> {
  await cp(join(directory, 'npu'), join(directory, name), { recursive: true });
  return join(directory, name);
}

const json = async (...args: string[]) => {
  const { status, out, reports } = await mobilequant(...args, '--json');
  expect({ status, reports }).toMatchObject({ status: 0 });
  return JSON.parse(out);
};

describe('export --target qnn-context', () => {
  const args = ['export', 'quantized', '--target', 'qnn-context', '--tokens', '16', '--context', '32'];

  test('writes the graphs, and compiles them for each chip', async () => {
    const { python } = fakePython(scratch());
    const { compiled, files } = await json(
      ...args,
      '--soc',
      'SM8650',
      '8 gen 2',
      '--python',
      python,
      '--out',
      'context',
    );
    expect(Object.keys(files)).toContain('decode.onnx');
    expect(compiled.SM8650.graphs[1]).toMatchObject({ name: 'decode', floats: [] });
    expect((await readdir(join(directory, 'context/SM8550'))).sort()).toEqual([
      'compiled.json',
      'decode.onnx',
      'prefill.onnx',
      'prefill_qnn.bin',
    ]);
    const { out, reports } = await mobilequant(...args, '--soc', 'SM8650', '--python', python, '--out', 'context');
    expect({ out, reports }).toMatchObject({
      out: expect.stringContaining('no tensor in floating point'),
      reports: '',
    });
  });

  test('needs a chip, and a Python before anything is written', async () => {
    expect(await mobilequant(...args, '--out', 'never')).toMatchObject({
      status: 2,
      reports: expect.stringContaining('--soc: expected CHIP'),
    });
    const python = await mobilequant(...args, '--soc', 'SM8650', '--python', '/nowhere', '--out', 'never');
    expect(python).toMatchObject({ status: 1, reports: expect.stringContaining('pip install') });
    expect(existsSync(join(directory, 'never'))).toBe(false);
    const other = await mobilequant('export', 'quantized', '--out', 'never', '--soc', 'SM8650');
    expect(other).toMatchObject({ status: 2, reports: expect.stringContaining('expected the target qnn-context') });
  });
});

test('a directory holds the export of one target', async () => {
  const { status, reports } = await mobilequant('export', 'quantized', '--target', 'onnx', '--out', 'npu');
  expect({ status, reports }).toMatchObject({
    status: 1,
    reports: expect.stringContaining('expected a directory without the model of another target, got prefill.onnx.'),
  });
});

describe('device compile', () => {
  test('prints the commands of the SDK, and does nothing', async () => {
    vi.stubEnv('QNN_SDK_ROOT', '');
    vi.stubEnv('QAIRT_SDK_ROOT', '');
    const args = ['device', 'compile', 'npu', '--soc', 'SM8650', '--dry-run'];
    const { out, status } = await mobilequant(...args);
    expect(status).toBe(0);
    expect(out).toContain(`qairt-converter --input_network ${directory}/npu/prefill.onnx`);
    expect(out).toContain('--backend $QNN_SDK_ROOT/lib/x86_64-linux-clang/libQnnHtp.so');
    expect((await mobilequant(...args, '--chain', 'qnn')).out).toContain('qnn-model-lib-generator -c');
    expect((await json(...args)).commands).toHaveLength(5);
    expect((await mobilequant(...args, '--chain', 'onnxruntime')).status).toBe(2);
    expect(existsSync(join(directory, 'npu/SM8650'))).toBe(false);
    expect(await mobilequant('device', 'compile', 'npu', '--soc', 'SM8650')).toMatchObject({
      status: 1,
      reports: expect.stringContaining("expected the folder of Qualcomm's SDK, got none."),
    });
  });

  test('runs the tools where they are', async () => {
    const sdk = fakeSdk(scratch());
    const npu = await exported('with-sdk');
    await writeFile(join(npu, 'decode.encodings'), '{}');
    const args = ['device', 'compile', 'with-sdk', '--soc', 'SM8650', '--sdk', sdk.root];
    const { binaries } = await json(...args);
    expect(binaries).toMatchObject([{ path: join(npu, 'SM8650/context/model.bin'), graphs: ['prefill', 'decode'] }]);
    const converters = callsIn(sdk.record).filter(({ program }) => program === 'qairt-converter');
    expect(converters.map(({ args }) => args.includes('--quantization_overrides'))).toEqual([false, true]);
    expect((await json(...args, '--apart')).binaries).toHaveLength(2);
    expect(await mobilequant('device', 'compile', 'model', '--soc', 'SM8650', '--sdk', sdk.root)).toMatchObject({
      status: 1,
      reports: expect.stringContaining('Export with --target qnn-qdq first'),
    });
  });

  test('needs no SDK with the chain onnxruntime', async () => {
    const { python } = fakePython(scratch());
    await exported('without-sdk');
    const args = ['device', 'compile', 'without-sdk', '--soc', 'SM8750', '--chain', 'onnxruntime', '--python', python];
    expect(await json(...args)).toMatchObject({ soc: 'SM8750', binaries: [{ graphs: ['prefill', 'decode'] }] });
  });
});

describe('device emulate', () => {
  const emulate = ['device', 'emulate', 'npu', '--soc', 'SM8650'];

  test('says perplexities, how far they are apart, and what both say', async () => {
    const { python } = fakePython(scratch());
    const given = ['--data', 'text.txt', '--windows', '2', '--prompt', 'to a', '--tokens', '3', '--python', python];
    const { read, said } = await json(...emulate, ...given);
    // the stand-in: 2 nats on the processor, 2 or 3 in turn on the NPU
    expect(read.tokens).toBe(30);
    expect(read.processor).toEqual({ perplexity: expect.closeTo(Math.exp(2), 10), standardError: 0 });
    expect(Math.log(read.ratio)).toBeCloseTo(14 / 30, 10);
    const deviation = Math.sqrt((14 * (16 / 30) ** 2 + 16 * (14 / 30) ** 2) / 29);
    expect(read.standardError).toBeCloseTo(deviation / Math.sqrt(30), 10);
    expect(said).toMatchObject({ processor: [3, 3, 3], npu: [3, 3, 4], equal: 2 });
    const { out } = await mobilequant(...emulate, ...given);
    expect(out).toMatch(/^processor: perplexity 7\.389 ± 0\.00 over 30 tokens\nNPU: perplexity 11\.78 ± /);
    expect(out).toContain('the first 2 of 3 tokens are equal');
  });

  test.each([
    [[], 2, 'expected --data FILE or --prompt TEXT'],
    [['--prompt', 'abcdefghijklmnopq'], 2, 'expected at most 16 tokens, which prefill takes, got 17'],
    [['--prompt', 'a', '--soc', 'SM1'], 2, 'expected one value'],
  ])('%j is called wrongly', async (args, status, message) => {
    const outcome = await mobilequant(...emulate, ...args);
    expect(outcome).toMatchObject({ status, reports: expect.stringContaining(message) });
  });

  test('of something else than an export for an NPU is refused', async () => {
    const outcome = await mobilequant('device', 'emulate', 'model', '--soc', 'SM8650', '--prompt', 'a');
    expect(outcome).toMatchObject({ status: 1, reports: expect.stringContaining('expected an export for an NPU') });
    const sizes = ['--tokens', '16', '--context', '32'];
    await mobilequant('export', 'quantized', '--target', 'genai-qnn', '--out', 'genai', ...sizes);
    for (const command of [
      ['emulate', 'genai', '--prompt', 'to a'],
      ['benchmark', 'genai'],
    ])
      expect(await mobilequant('device', ...command, '--soc', 'SM8650')).toMatchObject({
        status: 1,
        reports: expect.stringContaining(
          'genai: expected ids of the shape [tokens], got [1, 16]. What was exported for GenAI runs in GenAI; export with the target qnn-qdq',
        ),
      });
  });
});

describe('device benchmark', () => {
  test('times directories side by side, by inputs of the right sizes', async () => {
    const folder = scratch();
    const sdk = fakeSdk(folder);
    fakeRuntime(sdk, 75);
    const phone = fakePhone(folder);
    phone.install('getprop', `case "$1" in ro.soc.model) echo SM8650;; *) echo 'Test Phone';; esac`);
    vi.stubEnv('PATH', `${dirname(phone.adb)}:${process.env['PATH']}`);
    const [first, second] = [await exported('first'), await exported('second')];
    const benchmark = ['device', 'benchmark', 'first', 'second', '--soc', 'SM8650', '--sdk', sdk.root];
    const options = ['--inferences', '2', '--remote', join(scratch('phone-'), 'remote')];
    expect(await mobilequant(...benchmark)).toMatchObject({
      status: 1,
      reports: expect.stringContaining('Run `mobilequant device compile` for SM8650 first'),
    });
    await mobilequant('device', 'compile', 'first', '--soc', 'SM8650', '--sdk', sdk.root);
    const { python } = fakePython(folder);
    const chain = ['--chain', 'onnxruntime', '--python', python];
    await mobilequant('device', 'compile', 'second', '--soc', 'SM8650', ...chain);

    const { out } = await mobilequant(...benchmark, ...options, '--repeat', '2');
    expect(out).toMatch(/^Test Phone \(SM8650\)\n\nmodel +prefill ms .*decode tokens\/s/);
    expect(out).toMatch(/\nfirst +3\.000 ± 0 +5333 .*\nsecond +3\.000 ± 0 +5333 +– +3\.000 ± 0 +333\.3 /);

    const sizes = async (npu: string, graph: string) => {
      const inputs = join(npu, 'SM8650/inputs', graph);
      const names = Array.from({ length: (await readdir(inputs)).length }, (_, i) => `${i}.raw`);
      return Promise.all(names.map(async (name) => (await readFile(join(inputs, name))).length));
    };
    const [tokens, hidden, headDim, context, cache] = [16, 32, 8, 32, 2 * 31 * 8];
    expect(await sizes(first, 'prefill')).toEqual(
      [tokens * hidden, tokens * headDim, tokens * headDim, tokens ** 2].map((n) => 2 * n),
    );
    expect(await sizes(second, 'decode')).toEqual([
      ...[hidden, headDim, headDim, context].map((n) => 2 * n),
      ...new Array(4).fill(cache),
    ]);
    const past = await readFile(join(first, 'SM8650/inputs/decode/7.raw'));
    expect(past.every((level) => level === 128)).toBe(true);
  }, 240_000); // a hundred small processes

  test('phones are listed with their chips', async () => {
    const phone = fakePhone(scratch());
    phone.install('getprop', `case "$1" in ro.soc.model) echo SM8650;; *) echo 'Test Phone';; esac`);
    vi.stubEnv('PATH', `${dirname(phone.adb)}:${process.env['PATH']}`);
    phone.answerDevices('List of devices attached\nR5CT\tdevice\nX1\tunauthorized\n');
    const { phones } = await json('device', 'list');
    expect(phones).toEqual([
      { serial: 'R5CT', state: 'device', model: 'Test Phone', soc: 'SM8650' },
      { serial: 'X1', state: 'unauthorized' },
    ]);
    phone.answerDevices('List of devices attached\n\n');
    expect((await mobilequant('device', 'list')).out).toContain('No phone.');
  });
});

test('commands of a group are found, listed and missed by both words', async () => {
  const group = await mobilequant('device', '--help');
  expect(group).toMatchObject({ status: 0, out: expect.stringContaining('mobilequant device compile DIR [options]') });
  expect(group.out).not.toContain('mobilequant quantize');
  expect((await mobilequant('device', 'compile', '--help')).out).toContain('--dry-run');
  const commands = 'expected a command: device compile, device emulate, device benchmark, device list, got ';
  for (const args of [['device'], ['device', 'fly']])
    expect(await mobilequant(...args)).toMatchObject({
      status: 2,
      reports: expect.stringContaining(`${commands}'${args.join(' ')}'`),
    });
});

// With the compiler and emulator themselves: MOBILEQUANT_PYTHON=htp/bin/python, a Python with the packages of @mobilequant/device.
describe.skipIf(!process.env['MOBILEQUANT_PYTHON'])('with MOBILEQUANT_PYTHON', () => {
  test('graphs compile into one binary of integers', async () => {
    const npu = await exported('compiled');
    const { graphs, binaries } = await json(
      'device',
      'compile',
      'compiled',
      '--soc',
      'SM8550',
      '--chain',
      'onnxruntime',
    );
    expect(graphs).toMatchObject([
      { name: 'prefill', floats: [] },
      { name: 'decode', floats: [] },
    ]);
    expect(binaries).toMatchObject([{ path: join(npu, 'SM8550/prefill_qnn.bin'), graphs: ['prefill', 'decode'] }]);
  }, 600_000);

  test('the emulator says about what the processor does', async () => {
    const given = ['--data', 'text.txt', '--windows', '1', '--prompt', 'to a', '--tokens', '2'];
    const { read, said } = await json('device', 'emulate', 'npu', '--soc', 'SM8650', ...given);
    expect(Math.abs(Math.log(read.ratio))).toBeLessThan(0.05);
    expect(said.npu).toHaveLength(2);
  }, 600_000);
});
