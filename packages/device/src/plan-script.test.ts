import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { planScript, SDK_VARIABLE } from './plan-script.ts';
import { compilePlan, exportedGraphs, type SdkTool } from './sdk-commands.ts';
import { findSoc } from './socs.ts';

test('a plan is a script: folders, files, commands', () => {
  const options = { soc: findSoc('SM8650'), sdk: SDK_VARIABLE, out: 'build' };
  expect(planScript(compilePlan(exportedGraphs('npu').slice(0, 1), options))).toMatchInlineSnapshot(`
    "mkdir -p build build/converted build/quantized build/context
    cat > build/model-htp.json <<'END'
    {
      "graphs": [
        {
          "graph_names": [
            "prefill"
          ],
          "vtcm_mb": 8,
          "hvx_threads": 4,
          "O": 3
        }
      ],
      "devices": [
        {
          "device_id": 0,
          "soc_model": 57,
          "dsp_arch": "v75"
        }
      ]
    }
    END
    cat > build/model-tool.json <<END
    {
      "backend_extensions": {
        "shared_library_path": "$QNN_SDK_ROOT/lib/x86_64-linux-clang/libQnnHtpNetRunExtensions.so",
        "config_file_path": "build/model-htp.json"
      }
    }
    END
    qairt-converter --input_network npu/prefill.onnx --output_path build/converted/prefill.dlc --target_backend HTP
    qairt-quantizer --input_dlc build/converted/prefill.dlc --output_dlc build/quantized/prefill.dlc --float_fallback
    qnn-context-binary-generator --backend $QNN_SDK_ROOT/lib/x86_64-linux-clang/libQnnHtp.so --model $QNN_SDK_ROOT/lib/x86_64-linux-clang/libQnnModelDlc.so --dlc_path build/quantized/prefill.dlc --binary_file model --output_dir build/context --config_file build/model-tool.json"
  `);
});

test('a shell reads the words that the plan has', () => {
  const folder = mkdtempSync(join(tmpdir(), 'plan-script-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const args = ['a b', "it's", '$HOME', '`id`', '"', '*', ';exit 3', '', `${SDK_VARIABLE}/x y`];
  const [writes, target] = [[`${folder}/new/x`], ''];
  const files = [{ path: `${folder}/it's.json`, text: `{"path":"${SDK_VARIABLE}/lib"}\n` }];
  // `printf` is on every PATH, and as good a tool as any
  const plan = {
    files,
    binaries: [],
    commands: [{ tool: 'printf' as SdkTool, args: ['%s|', ...args], writes, target }],
  };
  const env = { PATH: process.env['PATH'] ?? '', QNN_SDK_ROOT: '/sdk' };
  const printed = execFileSync('sh', ['-c', planScript(plan)], { encoding: 'utf8', env });
  expect(printed).toBe([...args.slice(0, -1), '/sdk/x y'].map((arg) => `${arg}|`).join(''));
  expect(readFileSync(`${folder}/it's.json`, 'utf8')).toBe('{"path":"/sdk/lib"}\n');
});
