/** `genai_config.json`: what ONNX Runtime GenAI is told of a folder. */
import type { DecoderConfig } from '@mobilequant/core';
import { type CheckpointSettings, type Json, tokensOf } from './checkpoint-settings.ts';
import type { CachePart } from './decoder-assembly.ts';

export interface GenaiOptions {
  readonly type: string;
  /** Tokens that a text may have. */
  readonly context: number;
  /** What GenAI gives and takes, by its own names: the graphs' names; those of caches with `%d` for the layer. */
  readonly inputs: Json;
  readonly outputs: Json;
  /** Whether caches are written where they are read. Default false: they grow with the text. */
  readonly sharedCache?: boolean;
  /** What is filled up with, where that is another token than the checkpoint's. */
  readonly pad?: number;
  /** Of `decoder`: files, sessions, how texts are read. */
  readonly decoder: Json;
}

/** The settings of a model, those of its decoder, and how the checkpoint wants to be sampled. */
export function genaiConfig(
  { layers, hidden, heads, kvHeads, headDim, vocab }: DecoderConfig,
  { config, generation: own = {} }: CheckpointSettings,
  { type, context, inputs, outputs, sharedCache = false, pad, decoder }: GenaiOptions,
): Json {
  const generation = { ...tokensOf(config), ...own };
  const { bos_token_id: bos, eos_token_id: eos, pad_token_id: filler } = generation as Json;
  const end = eos ?? bos ?? 0;
  const first = Array.isArray(end) ? end[0] : end;
  return {
    model: {
      type,
      vocab_size: vocab,
      context_length: context,
      bos_token_id: bos ?? first,
      eos_token_id: end,
      pad_token_id: pad ?? filler ?? first,
      decoder: {
        ...decoder,
        hidden_size: hidden,
        head_size: headDim,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kvHeads,
        inputs,
        outputs,
      },
    },
    search: {
      max_length: context,
      past_present_share_buffer: sharedCache,
      do_sample: (generation as Json)['do_sample'] === true,
      ...numbers(generation, ['temperature', 'top_k', 'top_p', 'repetition_penalty']),
    },
  };
}

/** How a graph calls its caches, for `inputs` (past) or `outputs` (present): names of any layer, with `%d` for its number. */
export function cachePatterns(kind: 'past' | 'present', nameOf: (layer: number, part: CachePart) => string): Json {
  const pattern = (part: CachePart): string => nameOf(0, part).replace('.0.', '.%d.');
  return { [`${kind}_key_names`]: pattern('keys'), [`${kind}_value_names`]: pattern('values') };
}

const numbers = (values: Json, names: readonly string[]): Json =>
  Object.fromEntries(names.flatMap((name) => (typeof values[name] === 'number' ? [[name, values[name]]] : [])));
