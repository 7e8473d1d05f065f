import { expect, test } from 'vitest';
import { type CompileOptions, compilePlan, exportedGraphs } from './sdk-commands.ts';
import { findSoc } from './socs.ts';

const options: CompileOptions = { soc: findSoc('SM8550'), sdk: '/opt/qairt 2.40', out: 'my build' };
const graphs = exportedGraphs('npu');

/** Commands as lines, arguments with spaces in quotes. */
const lines = (plan: ReturnType<typeof compilePlan>): string[] =>
  plan.commands.map(({ tool, args }) => [tool, ...args.map((arg) => (arg.includes(' ') ? `"${arg}"` : arg))].join(' '));

test('the current chain: convert, quantize, link', () => {
  const plan = compilePlan(graphs, options);
  expect(lines(plan)).toMatchInlineSnapshot(`
    [
      "qairt-converter --input_network npu/prefill.onnx --output_path "my build/converted/prefill.dlc" --target_backend HTP",
      "qairt-quantizer --input_dlc "my build/converted/prefill.dlc" --output_dlc "my build/quantized/prefill.dlc" --float_fallback",
      "qairt-converter --input_network npu/decode.onnx --output_path "my build/converted/decode.dlc" --target_backend HTP",
      "qairt-quantizer --input_dlc "my build/converted/decode.dlc" --output_dlc "my build/quantized/decode.dlc" --float_fallback",
      "qnn-context-binary-generator --backend "/opt/qairt 2.40/lib/x86_64-linux-clang/libQnnHtp.so" --model "/opt/qairt 2.40/lib/x86_64-linux-clang/libQnnModelDlc.so" --dlc_path "my build/quantized/prefill.dlc,my build/quantized/decode.dlc" --binary_file model --output_dir "my build/context" --config_file "my build/model-tool.json"",
    ]
  `);
  expect(plan.binaries).toEqual([{ path: 'my build/context/model.bin', graphs: ['prefill', 'decode'] }]);
});

test('the older chain: convert, build a library, link', () => {
  const plan = compilePlan(graphs, { ...options, chain: 'qnn' });
  expect(lines(plan)).toMatchInlineSnapshot(`
    [
      "qnn-onnx-converter --input_network npu/prefill.onnx --output_path "my build/converted/prefill.cpp" --preserve_io layout --float_fallback",
      "qnn-model-lib-generator -c "my build/converted/prefill.cpp" -b "my build/converted/prefill.bin" -l prefill -t x86_64-linux-clang -o "my build/libraries"",
      "qnn-onnx-converter --input_network npu/decode.onnx --output_path "my build/converted/decode.cpp" --preserve_io layout --float_fallback",
      "qnn-model-lib-generator -c "my build/converted/decode.cpp" -b "my build/converted/decode.bin" -l decode -t x86_64-linux-clang -o "my build/libraries"",
      "qnn-context-binary-generator --backend "/opt/qairt 2.40/lib/x86_64-linux-clang/libQnnHtp.so" --model "my build/libraries/x86_64-linux-clang/libprefill.so,my build/libraries/x86_64-linux-clang/libdecode.so" --binary_file model --output_dir "my build/context" --config_file "my build/model-tool.json"",
    ]
  `);
});

test('a command says what it writes, and which of its arguments that is', () => {
  for (const chain of ['qairt', 'qnn'] as const) {
    const plan = compilePlan(graphs, { ...options, chain });
    for (const { args, target, writes } of plan.commands) {
      expect(args.filter((arg) => arg === target)).toHaveLength(1);
      expect(writes.length).toBeGreaterThan(0);
      for (const path of writes)
        expect(path === target || path.startsWith(target.replace(/[^/]*\.cpp$/, ''))).toBe(true);
    }
    const made = new Set([...plan.files.map(({ path }) => path), ...plan.commands.flatMap(({ writes }) => writes)]);
    for (const { path } of plan.binaries) expect(made).toContain(path);
    // Whatever lies in the folder and is read was made before.
    const read = plan.commands.flatMap(({ args, target }) =>
      args
        .filter((arg) => arg !== target)
        .flatMap((arg) => arg.split(','))
        .filter((arg) => arg.startsWith('my build/')),
    );
    expect(read.length).toBeGreaterThan(4);
    for (const path of read) expect(made).toContain(path);
  }
});

test('the configuration names the graphs and the chip, and the tool is pointed to it', () => {
  const { files, commands } = compilePlan(graphs, { ...options, vtcm: 0, hvxThreads: 6, optimization: 2 });
  const [htp, tool] = files.map(({ path, text }) => ({ path, value: JSON.parse(text) }));
  expect(htp?.value).toEqual({
    graphs: [{ graph_names: ['prefill', 'decode'], vtcm_mb: 0, hvx_threads: 6, O: 2 }],
    devices: [{ device_id: 0, soc_model: 43, dsp_arch: 'v73' }],
    context: { weight_sharing_enabled: true },
  });
  expect(tool?.value.backend_extensions).toEqual({
    shared_library_path: '/opt/qairt 2.40/lib/x86_64-linux-clang/libQnnHtpNetRunExtensions.so',
    config_file_path: htp?.path,
  });
  expect(commands.at(-1)?.args).toContain(tool?.path);
});

test('a binary for each graph, if wanted', () => {
  const plan = compilePlan(graphs, { ...options, shareWeights: false });
  expect(plan.binaries).toEqual([
    { path: 'my build/context/prefill.bin', graphs: ['prefill'] },
    { path: 'my build/context/decode.bin', graphs: ['decode'] },
  ]);
  const names = plan.files.filter(({ path }) => path.endsWith('-htp.json')).map(({ text }) => JSON.parse(text));
  expect(names.map(({ graphs }) => graphs[0].graph_names)).toEqual([['prefill'], ['decode']]);
  expect(names.every((config) => !('context' in config))).toBe(true);
});

test('encodings, inputs to calibrate on, and arguments of your own', () => {
  const graph = { name: 'g', model: 'g.onnx', overrides: 'g.encodings', inputList: 'inputs.txt' };
  const extra = { 'qairt-converter': ['--onnx_skip_simplification'] };
  const [convert, quantize] = compilePlan([graph], { ...options, extra }).commands;
  expect(convert?.args.slice(-3)).toEqual(['--quantization_overrides', 'g.encodings', '--onnx_skip_simplification']);
  expect(quantize?.args.slice(-2)).toEqual(['--input_list', 'inputs.txt']);
  expect(quantize?.args).not.toContain('--float_fallback');
});

test('names and paths that the tools would misread are refused', () => {
  expect(() => compilePlan([], options)).toThrow('got none');
  expect(() => compilePlan([{ name: 'a-b', model: 'm' }], options)).toThrow("got 'a-b'");
  expect(() => compilePlan([...graphs, ...graphs], options)).toThrow("got 'prefill' twice");
  expect(() => compilePlan(graphs, { ...options, out: 'a,b' })).toThrowErrorMatchingInlineSnapshot(
    `[DeviceError: graphs to compile: expected a path without commas or line ends, got 'a,b'. The tools split lists of files there: choose another folder.]`,
  );
});
