/**
 * Folders that other runtimes load and generate from: transformers.js, in browsers and Node, and ONNX Runtime GenAI. Both get the graph
 * that goes on behind a cache, in the form that ONNX Runtime multiplies in integers on any processor, and files of settings around it.
 */
import type { DecoderConfig, QuantizedModel } from '@mobilequant/core';
import { splitSite } from '@mobilequant/quantizer';
import { ExportError } from './errors.ts';
import { cacheName, exportCachedOnnx } from './export-cached-onnx.ts';
import type { ExportFile, ExportTarget } from './export-target.ts';
import { runtimeForm } from './runtime-form.ts';

type Json = Readonly<Record<string, unknown>>;

/** What a checkpoint says of itself, for those who ask for it. */
export interface CheckpointSettings {
  /** `config.json` */
  readonly config: Json;
  /** `generation_config.json`, where there is one. */
  readonly generation?: Json;
}

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
    const { config, generation = {} } = checkedSettings(settings);
    const graph = runtimeForm(await exportCachedOnnx(model, { context }));
    return new Map<string, ExportFile>([
      ['model.onnx', graph],
      ['genai_config.json', json(genaiConfig(model.config, { ...tokensOf(config), ...generation }, context))],
    ]);
  },
};

const defaultContext = ({ maxPositions }: DecoderConfig): number => Math.min(4096, maxPositions);

/** `genai_config.json` of one graph: the generic decoder, since all that an architecture's name could say is in the graph. */
function genaiConfig(config: DecoderConfig, generation: Json, context: number): Json {
  const { layers, hidden, heads, kvHeads, headDim, vocab } = config;
  const pattern = (kind: Parameters<typeof cacheName>[0], part: 'keys' | 'values') =>
    cacheName(kind, 0, part).replace('.0.', '.%d.');
  const { bos_token_id: bos, eos_token_id: eos, pad_token_id: pad } = generation;
  const end = eos ?? bos ?? 0;
  return {
    model: {
      type: 'decoder',
      vocab_size: vocab,
      context_length: context,
      bos_token_id: bos ?? (Array.isArray(end) ? end[0] : end),
      eos_token_id: end,
      pad_token_id: pad ?? (Array.isArray(end) ? end[0] : end),
      decoder: {
        filename: 'model.onnx',
        session_options: { log_id: 'onnxruntime-genai', provider_options: [] },
        hidden_size: hidden,
        head_size: headDim,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kvHeads,
        inputs: {
          input_ids: 'input_ids',
          attention_mask: 'attention_mask',
          past_key_names: pattern('past_key_values', 'keys'),
          past_value_names: pattern('past_key_values', 'values'),
        },
        outputs: {
          logits: 'logits',
          present_key_names: pattern('present', 'keys'),
          present_value_names: pattern('present', 'values'),
        },
      },
    },
    search: {
      max_length: context,
      past_present_share_buffer: false, // the cache grows with the text
      do_sample: generation['do_sample'] === true,
      ...numbers(generation, ['temperature', 'top_k', 'top_p', 'repetition_penalty']),
    },
  };
}

const numbers = (values: Json, names: readonly string[]): Json =>
  Object.fromEntries(names.flatMap((name) => (typeof values[name] === 'number' ? [[name, values[name]]] : [])));

/** The tokens that begin, end and fill a text, as far as a config names them. */
const tokensOf = (config: Json): Json =>
  Object.fromEntries(
    ['bos_token_id', 'eos_token_id', 'pad_token_id'].flatMap((name) =>
      config[name] === undefined || config[name] === null ? [] : [[name, config[name]]],
    ),
  );

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

function checkedSettings(settings: CheckpointSettings | undefined): CheckpointSettings {
  if (settings) return settings;
  throw new ExportError('settings', "the checkpoint's config.json", 'none', 'Give the option `settings`.');
}

const json = (value: Json): string => `${JSON.stringify(value, null, 2)}\n`;
