/**
 * The JSON files by which the SDK's tools are told about the NPU.
 *
 *     qnn-context-binary-generator, qnn-net-run
 *         --config_file tool.json          which extension to load, and where its settings lie
 *                           └─► htp.json   graphs, chip, performance
 */
import type { Soc } from './socs.ts';

export interface HtpOptions {
  readonly soc: Soc;
  /** Names of the graphs that lie in one context binary. */
  readonly graphs: readonly string[];
  /** Memory on the NPU that a graph may take, in MB; 0 is all there is. Default 8. */
  readonly vtcm?: number;
  /** Default 4. */
  readonly hvxThreads?: number;
  /** How hard the compiler tries, 1 to 3. Default 3. */
  readonly optimization?: number;
}

/** Settings of the NPU's backend, for compiling. */
export function htpCompileConfig({ soc, graphs, vtcm = 8, hvxThreads = 4, optimization = 3 }: HtpOptions): object {
  return {
    graphs: [{ graph_names: graphs, vtcm_mb: vtcm, hvx_threads: hvxThreads, O: optimization }],
    devices: [device(soc)],
    // Weights that are in several graphs are stored once; with one graph it would only make the tool complain.
    ...(graphs.length > 1 ? { context: { weight_sharing_enabled: true } } : {}),
  };
}

/** Settings of the NPU's backend, for running: as fast as it goes, not as long as the battery lasts. */
export function htpRunConfig(soc: Soc): object {
  const core = { core_id: 0, perf_profile: 'burst', rpc_control_latency: 100 };
  return { devices: [{ ...device(soc), cores: [core] }] };
}

const device = ({ socModel, htpArch }: Soc): object => ({
  device_id: 0,
  soc_model: socModel,
  dsp_arch: `v${htpArch}`,
});

/** What is given to a tool itself: the backend's extension, and the file of its settings. */
export const toolConfig = (library: string, htpConfigFile: string): object => ({
  backend_extensions: { shared_library_path: library, config_file_path: htpConfigFile },
});

export const jsonText = (value: object): string => `${JSON.stringify(value, undefined, 2)}\n`;
