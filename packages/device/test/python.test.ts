import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { exportedGraphs, findSoc } from '../src/index.ts';
import { type CompileContextOptions, checkPython, compileContext, emulate, readCompiled } from '../src/node.ts';
import { callsIn, fakePython, pinnedVersions, scratch } from './fakes.ts';

const soc = findSoc('SM8650');

/** An exported directory, as far as its names go, and a Python. */
function setUp() {
  const folder = scratch();
  const directory = join(folder, 'npu');
  mkdirSync(directory);
  for (const { model } of exportedGraphs(directory)) writeFileSync(model, `graph ${basename(model)}`);
  const out = join(directory, 'SM8650');
  const python = fakePython(folder);
  const options: CompileContextOptions = { soc, out, python: python.python };
  return { folder, directory, out, python, options };
}

describe('a Python', () => {
  test('without the packages, or with others, is told the line that installs them', async () => {
    const { python } = setUp();
    await checkPython({ python: python.python });
    await checkPython({ env: { MOBILEQUANT_PYTHON: python.python } });
    python.have({ ...pinnedVersions(), 'onnxruntime-qnn': null, onnx: '1.0.0' });
    const pins = Object.entries(pinnedVersions()).map(([name, version]) => `${name}==${version}`);
    await expect(checkPython({ python: python.python })).rejects.toThrow(
      `${python.python}: expected Python 3.11 with ${pins.join(', ')}, got onnx 1.0.0, no onnxruntime-qnn. ` +
        `Run \`${python.python} -m pip install ${pins.join(' ')}\``,
    );
  });

  test('that is not there is told how to make one', async () => {
    const env = { MOBILEQUANT_PYTHON: '/nowhere/python' };
    await expect(checkPython({ env })).rejects.toThrow(
      /^\/nowhere\/python: expected Python 3\.11 .*htp\/bin\/pip install/,
    );
  });

  test('pins exact versions', () => {
    const versions = Object.values(pinnedVersions());
    expect(versions.length).toBeGreaterThan(3);
    for (const version of versions) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  });
});

describe('compiling without the SDK', () => {
  test('writes a graph for each, and one binary, and says what is there', async () => {
    const { directory, out, options } = setUp();
    const seen: string[] = [];
    const made = await compileContext(directory, { ...options, onGraph: (name) => seen.push(name) });
    expect(seen).toEqual(['prefill', 'decode']);
    expect(made.graphs.map(({ name, operators, floats }) => [name, operators, floats])).toEqual([
      ['prefill', 4, []],
      ['decode', 4, []],
    ]);
    const binary = { path: join(out, 'prefill_qnn.bin'), graphs: ['prefill', 'decode'] };
    expect(made.binaries).toEqual([{ ...binary, bytes: 13, peakBytes: 1000 }]);
    expect(readdirSync(out).sort()).toEqual(['compiled.json', 'decode.onnx', 'prefill.onnx', 'prefill_qnn.bin']);
    expect(readFileSync(join(out, 'prefill_qnn.bin'), 'utf8')).toBe('binary for 57');
    expect(readdirSync(directory).sort()).toEqual(['SM8650', 'decode.onnx', 'prefill.onnx']);
    const compiled = { soc: 'SM8650', chain: 'onnxruntime', binaries: [binary] };
    expect(await readCompiled(out, exportedGraphs(directory), soc)).toEqual(compiled);
  });

  test('a binary for each, and back: nothing of the other stays', async () => {
    const { directory, out, options, python } = setUp();
    const { binaries } = await compileContext(directory, { ...options, share: false });
    expect(binaries.map(({ graphs }) => graphs)).toEqual([['prefill'], ['decode']]);
    expect(readdirSync(out)).toContain('decode_qnn.bin');
    expect(callsIn(python.record).filter(({ args }) => args[0] !== '-c')).toHaveLength(2);
    writeFileSync(join(out, 'mine'), '');
    await compileContext(directory, options);
    expect(readdirSync(out)).not.toContain('decode_qnn.bin');
    expect(readdirSync(out)).toContain('mine');
  });

  test('a graph that is refused is named with the reasons, and what was there stays', async () => {
    const { directory, out, options, python } = setUp();
    await compileContext(directory, options);
    const before = readdirSync(out);
    python.does(`fs.writeFileSync(path.join(request.out, 'prefill.onnx'), 'half');
answer('refused', { graph: 'prefill', error: 'nodes are assigned to the CPU', reasons: ['REASON : u4 per channel'] });`);
    await expect(compileContext(directory, options)).rejects.toThrowErrorMatchingInlineSnapshot(`
      [DeviceError: prefill: expected a graph that the NPU takes whole, got nodes are assigned to the CPU. The compiler says:
      REASON : u4 per channel]
    `);
    expect(readdirSync(out)).toEqual(before);
    expect(readFileSync(join(out, 'prefill.onnx'), 'utf8')).toBe('context of prefill');
    expect(existsSync(`${out}.partial`)).toBe(false);
  });

  test('a tensor in floating point is an error', async () => {
    const { directory, out, options, python } = setUp();
    python.does(`const graph = { name: 'prefill', file: 'prefill.onnx', floats: ['a', 'b'] };
answer('result', { graphs: [graph], binary: 'prefill_qnn.bin' });`);
    await expect(compileContext(directory, options)).rejects.toThrow(
      'prefill: expected a graph of integers, got 2 tensors in floating point: a, b.',
    );
    expect(existsSync(out)).toBe(false);
  });

  test('a compiler that fails or crashes says what it printed', async () => {
    const { directory, options, python } = setUp();
    python.does(`console.error('Traceback'); console.error('RuntimeError: no'); process.exit(1);`);
    await expect(compileContext(directory, options)).rejects.toThrow(
      'compile_context.py: expected a result, got exit code 1. It said:\nTraceback\nRuntimeError: no',
    );
    python.does(`process.kill(process.pid, 'SIGSEGV'); setInterval(() => {}, 1000);`);
    await expect(compileContext(directory, options)).rejects.toThrow('got its end by SIGSEGV');
  });

  test('graphs that are not there, and a folder that is theirs, are refused before anything runs', async () => {
    const { folder, directory, options, python } = setUp();
    await expect(compileContext(join(folder, 'other'), options)).rejects.toThrow('Export with --target qnn-qdq first');
    await expect(compileContext(directory, { ...options, out: directory })).rejects.toThrow('another folder');
    expect(callsIn(python.record)).toEqual([]);
  });
});

describe('what was compiled', () => {
  test('belongs to its chip and its graphs', async () => {
    const { directory, out, options } = setUp();
    const graphs = exportedGraphs(directory);
    await expect(readCompiled(out, graphs, soc)).rejects.toThrow('Run `mobilequant device compile` for SM8650 first');
    await compileContext(directory, options);
    await expect(readCompiled(out, graphs, findSoc('SM8550'))).rejects.toThrow('for SM8550, got SM8650');
    writeFileSync(join(directory, 'decode.onnx'), 'exported again');
    await expect(readCompiled(out, graphs, soc)).rejects.toThrow('decode.onnx as it was compiled, got another graph');
  });

  test.each([
    'no json',
    'null',
    '{}',
    '{"soc":"SM8650","chain":"qairt","binaries":[{"path":"../x","graphs":[]}]}',
    '{"soc":"SM8650","chain":"qairt","binaries":[{"path":"/x","graphs":[]}]}',
    '{"soc":"SM8650","chain":"other","binaries":[]}',
    '{"soc":"SM8650","chain":"qairt","binaries":[null]}',
  ])('is not anything: %s', async (text) => {
    const { directory, out } = setUp();
    mkdirSync(out);
    writeFileSync(join(out, 'compiled.json'), text);
    await expect(readCompiled(out, exportedGraphs(directory), soc)).rejects.toThrow('got something else');
  });
});

describe('emulating', () => {
  test('gives what the script measured, and asks for what was given', async () => {
    const { directory, python } = setUp();
    const stages: string[] = [];
    const onProgress = ({ stage }: { stage: string }) => stages.push(stage);
    const windows = [Int32Array.of(5, 6, 7)];
    const options = { soc, python: python.python, windows, prompt: [1, 2], tokens: 3, onProgress };
    const { read, said } = await emulate(directory, options);
    expect(read).toMatchObject({ processor: [[2, 2]], npu: [[2, 3]], equalTokens: 0.9 });
    expect(said).toEqual({ processor: [3, 3, 3], npu: [3, 3, 4], stepDifference: [0.1] });
    expect(stages).toEqual(['read, npu']);
    expect((await emulate(directory, { soc, python: python.python, prompt: [1] })).read).toBeNull();
  });

  test('needs something to run', async () => {
    const { folder, directory, python } = setUp();
    await expect(emulate(directory, { soc, python: python.python })).rejects.toThrow('windows of text, or a prompt');
    const options = { soc, python: python.python, prompt: [1] };
    await expect(emulate(join(folder, 'other'), options)).rejects.toThrow('got no such file');
  });
});
