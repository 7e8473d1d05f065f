/**
 * The folder from which ONNX Runtime GenAI generates on a Snapdragon's NPU: a pipeline of the graphs of `qnn-qdq`, which take the cache as
 * GenAI keeps it, and of graphs for the processor around them.
 */
import type { DecoderConfig, QuantizedModel } from '@mobilequant/core';
import type { Graph } from '@mobilequant/graph';
import { type CheckpointSettings, checkedSettings, type Json, json } from './checkpoint-settings.ts';
import { pastName } from './decoder-assembly.ts';
import { ExportError } from './errors.ts';
import { exportQnnKept, gridOfLogits } from './export-qnn.ts';
import type { ExportFile, ExportTarget, QnnOptions } from './export-target.ts';
import { cachePatterns, genaiConfig } from './genai-config.ts';
import {
  cacheGraph,
  logitsGraph,
  PIPELINE_INPUTS,
  pipelineInputs,
  REAL_LOGITS,
  writtenName,
} from './genai-pipeline.ts';

export interface GenaiQnnOptions extends QnnOptions {
  /** Of the model that was quantized; required. */
  readonly settings?: CheckpointSettings;
}

/** Sessions on the NPU; a node that it does not take is an error. */
const NPU: Json = {
  'session.disable_cpu_ep_fallback': '1',
  provider_options: [{ qnn: { backend_type: 'htp', htp_performance_mode: 'burst' } }],
};

/** `tokens`: of a part that prefill reads. `context`: tokens of a text, those that are generated included, a multiple of `tokens`. */
export const genaiQnnTarget: ExportTarget<GenaiQnnOptions> = {
  name: 'genai-qnn',
  description: 'The folder that ONNX Runtime GenAI loads, to generate on a Snapdragon NPU with a cache of integers',
  async export(model, { settings, ...options } = {}) {
    const checked = checkedSettings(settings);
    const { tokens, context } = pipelineSizes(model.config, options);
    const graphs = await pipelineGraphs(model, tokens, context);
    const once = { run_on_prompt: true, run_on_token_gen: false };
    const often = { run_on_prompt: false, run_on_token_gen: true };
    const config = genaiConfig(model.config, checked, {
      type: 'decoder-pipeline',
      context,
      inputs: { ...PIPELINE_INPUTS, ...cachePatterns('past', pastName) },
      outputs: { logits: REAL_LOGITS, ...cachePatterns('present', writtenName) },
      pad: model.config.vocab, // no token of a text: where GenAI finds it, wherever that is, it takes the text to end
      sharedCache: true,
      decoder: {
        session_options: { log_id: 'onnxruntime-genai', provider_options: [] },
        sliding_window: { window_size: tokens, alignment: 'left', slide_inputs: true, slide_key_value_cache: false },
        // In the order in which they run.
        pipeline: [
          {
            'prefill-inputs': { ...stage(graphs['prefill-inputs']), ...once },
            'decode-inputs': { ...stage(graphs['decode-inputs']), ...often },
            prefill: { ...stage(graphs.prefill), ...once, session_options: NPU },
            decode: { ...stage(graphs.decode), ...often, session_options: NPU },
            cache: stage(graphs.cache),
            logits: { ...stage(graphs.logits), is_lm_head: true }, // of a text's last part alone
          },
        ],
      },
    });
    const files = Object.entries(graphs).map(([name, graph]): [string, ExportFile] => [`${name}.onnx`, graph]);
    return new Map<string, ExportFile>([...files, ['genai_config.json', json(config)]]);
  },
};

type Stage = 'prefill-inputs' | 'decode-inputs' | 'prefill' | 'decode' | 'cache' | 'logits';

/** What `genai-qnn` writes, before its settings. */
async function pipelineGraphs(model: QuantizedModel, tokens: number, context: number): Promise<Record<Stage, Graph>> {
  const { config } = model;
  const prefill = await exportQnnKept(model, tokens, context);
  const decode = await exportQnnKept(model, 1, context);
  return {
    prefill: { ...prefill.graph, name: 'prefill' },
    decode: decode.graph,
    'prefill-inputs': { ...pipelineInputs(prefill.inputs, config), name: 'prefill-inputs' },
    'decode-inputs': pipelineInputs(decode.inputs, config),
    cache: cacheGraph(config, context),
    logits: logitsGraph(config, gridOfLogits(decode.graph)),
  };
}

/** @throws ExportError for sizes that the model does not have, or that do not fit into each other. */
function pipelineSizes(
  { maxPositions, prefix }: DecoderConfig,
  { tokens: asked, context: wanted }: QnnOptions,
): { tokens: number; context: number } {
  const most = maxPositions - prefix.length;
  const tokens = asked ?? Math.min(128, Math.floor(most / 2));
  const context = wanted ?? Math.max(1, Math.floor(Math.min(512, most) / tokens)) * tokens;
  if (!Number.isInteger(tokens) || tokens < 2 || tokens > most)
    throw new ExportError('tokens', `a length from 2 to ${most}`, `${tokens}`, 'GenAI reads a text in such parts.');
  if (!Number.isInteger(context) || context < tokens || context > most || context % tokens !== 0)
    throw new ExportError(
      'context',
      `a multiple of ${tokens} (\`tokens\`), at most ${most}`,
      `${context}`,
      'A text is read in parts of so many tokens, each into its place in the cache.',
    );
  return { tokens, context };
}

const stage = ({ name, inputs, outputs }: Graph): Json => ({
  filename: `${name}.onnx`,
  inputs: inputs.map((value) => value.name),
  outputs: outputs.map((value) => value.name),
});
