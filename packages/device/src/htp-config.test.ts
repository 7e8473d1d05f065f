import { expect, test } from 'vitest';
import { htpCompileConfig, htpRunConfig, toolConfig } from './htp-config.ts';
import { findSoc } from './socs.ts';

test('several graphs in a binary share their weights', () => {
  expect(htpCompileConfig({ soc: findSoc('SM8650'), graphs: ['prefill', 'decode'] })).toEqual({
    graphs: [{ graph_names: ['prefill', 'decode'], vtcm_mb: 8, hvx_threads: 4, O: 3 }],
    devices: [{ device_id: 0, soc_model: 57, dsp_arch: 'v75' }],
    context: { weight_sharing_enabled: true },
  });
});

test('one graph has nothing to share with', () => {
  const config = htpCompileConfig({
    soc: findSoc('SM8450'),
    graphs: ['decode'],
    vtcm: 4,
    hvxThreads: 2,
    optimization: 1,
  });
  expect(config).toEqual({
    graphs: [{ graph_names: ['decode'], vtcm_mb: 4, hvx_threads: 2, O: 1 }],
    devices: [{ device_id: 0, soc_model: 36, dsp_arch: 'v69' }],
  });
});

test('a run asks for the fastest clocks', () => {
  expect(htpRunConfig(findSoc('SM8750'))).toEqual({
    devices: [
      {
        device_id: 0,
        soc_model: 69,
        dsp_arch: 'v79',
        cores: [{ core_id: 0, perf_profile: 'burst', rpc_control_latency: 100 }],
      },
    ],
  });
});

test('a tool is told of the extension and of its settings', () => {
  expect(toolConfig('/sdk/libE.so', '/out/htp.json')).toEqual({
    backend_extensions: { shared_library_path: '/sdk/libE.so', config_file_path: '/out/htp.json' },
  });
});
