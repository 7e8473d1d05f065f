/**
 * Folders that other runtimes load and generate from: transformers.js, in browsers and Node, and ONNX Runtime GenAI. Both get the graph
 * that goes on behind a cache, in the form that ONNX Runtime multiplies in integers on any processor, and files of settings around it.
 */
import type { DecoderConfig, QuantizedModel } from '@mobilequant/core';
import { splitSite } from '@mobilequant/quantizer';
import { type CheckpointSettings, checkedSettings, json, tokensOf } from './checkpoint-settings.ts';
import { cacheName, exportCachedOnnx } from './export-cached-onnx.ts';
import type { ExportFile, ExportTarget } from './export-target.ts';
import { cachePatterns, genaiConfig } from './genai-config.ts';
import { runtimeForm } from './runtime-form.ts';

export interface RuntimeTargetOptions {
  /** Tokens that a text may have. Default 4096, at most the model's. */
  readonly context?: number;
  /** Of the model that was quantized; required. */
  readonly settings?: CheckpointSettings;
}

/** The folder that `@huggingface/transformers` 4 loads. */
export const transformersJsTarget: ExportTarget<RuntimeTargetOptions> = {
  name: 'transformers-js',
  description: 'The folder that transformers.js loads, to generate in browsers and Node with a cache of integers',
  async export(model, { context = defaultContext(model.config), settings } = {}) {
    const { config, generation } = checkedSettings(settings);
    const dtype = mostBits(model) <= 4 ? 'q4' : 'q8';
    const file = `model${dtype === 'q4' ? '_q4' : '_quantized'}.onnx`;
    const { mobilequant: _, ...own } = config; // the prefix lies in the graph
    const written = {
      ...own,
      max_position_embeddings: context,
      'transformers.js_config': { dtype, use_external_data_format: { [file]: 1 } },
    };
    const graph = runtimeForm(await exportCachedOnnx(model, { context, keepLogits: true }));
    return new Map<string, ExportFile>([
      [`onnx/${file}`, { graph, dataSuffix: '_data' }],
      ['config.json', json(written)],
      ['generation_config.json', json(generation ?? tokensOf(config))],
    ]);
  },
};

/** The folder that ONNX Runtime GenAI loads, for a processor. */
export const genaiTarget: ExportTarget<RuntimeTargetOptions> = {
  name: 'genai',
  description: 'The folder that ONNX Runtime GenAI loads, to generate on a processor with a cache of integers',
  async export(model, { context = defaultContext(model.config), settings } = {}) {
    const checked = checkedSettings(settings);
    const graph = runtimeForm(await exportCachedOnnx(model, { context }));
    const config = genaiConfig(model.config, checked, {
      type: 'decoder', // the generic one, since all that an architecture's name could say is in the graph
      context,
      inputs: {
        input_ids: 'input_ids',
        attention_mask: 'attention_mask',
        ...cachePatterns('past', (layer, part) => cacheName('past_key_values', layer, part)),
      },
      outputs: {
        logits: 'logits',
        ...cachePatterns('present', (layer, part) => cacheName('present', layer, part)),
      },
      decoder: {
        filename: 'model.onnx',
        session_options: { log_id: 'onnxruntime-genai', provider_options: [] },
      },
    });
    return new Map<string, ExportFile>([
      ['model.onnx', graph],
      ['genai_config.json', json(config)],
    ]);
  },
};

const defaultContext = ({ maxPositions }: DecoderConfig): number => Math.min(4096, maxPositions);

/** The bits that most linears of the layers have; 32 for floats. */
function mostBits({ encodings }: QuantizedModel): number {
  const counts = new Map<number, number>();
  for (const [site, { spec }] of encodings) {
    const { module, port } = splitSite(site);
    if (port === 'weight' && module.startsWith('model.layers.') && !module.endsWith('norm'))
      counts.set(spec.bits, (counts.get(spec.bits) ?? 0) + 1);
  }
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 32;
}
