/**
 * The decoder as Qualcomm's HTP takes it whole: integers in, integers out, every operator of one width between.
 *
 *     prefill-inputs.onnx   on the processor: token ids → the inputs of the next, under their names
 *     prefill.onnx          on the device: hidden states, rotary tables, mask → logits, keys and values of every layer
 *     decode-inputs.onnx    token ids and how much the cache holds → the same
 *     decode.onnx           those and the cache → logits, keys and values of the tokens that were given
 *
 * The same block as ever is traced in device form (`quantizedDeviceForm`, `deviceTap`), and `quantizeOperators` gives the values
 * between its sites grids of their own. All grids come from the model, so a cache's integers mean the same to both.
 */
import { headName, type QuantizedModel, quantizedDeviceForm } from '@mobilequant/core';
import { type Graph, prune, type ValueInfo } from '@mobilequant/graph';
import { fakeQuantize, type Range, splitSite } from '@mobilequant/quantizer';
import { CACHE_PARTS, checkedTokens, DecoderAssembly, layerKinds, pastName, presentName } from './decoder-assembly.ts';
import type { Grid } from './device-grid.ts';
import { deviceTap } from './device-tap.ts';
import { multiplyInstead } from './divisions.ts';
import { ExportError } from './errors.ts';
import { foldBiases } from './fold-biases.ts';
import { HIDDEN, inputsGraph, positionalInputs, type TextShape } from './qnn-inputs.ts';
import { gridOfNode, quantizeOperators } from './quantize-operators.ts';
import { selectColumns } from './select-columns.ts';
import { standardOperators } from './standard-operators.ts';

export interface QnnPrefillOptions {
  /** Length of the text that the graph takes; shorter texts are padded on the right. Default 128, at most the model's. */
  readonly tokens?: number;
}

export interface QnnDecodeOptions {
  /** Positions in all: those of the cache, and of the tokens that are given. Default 512, at most the model's. */
  readonly context?: number;
  /** Tokens that are given at once. Default 1. */
  readonly tokens?: number;
}

export interface QnnGraphs {
  readonly graph: Graph;
  /** Token ids → the inputs of `graph`, but for the cache. */
  readonly inputs: Graph;
}

/**
 * The graph that reads a text, and the one that prepares its inputs (`input_ids` int32 `[tokens]`).
 *
 * `hidden_states` uint16 `[tokens, hidden]`, `rotary.cos` and `rotary.sin` uint16 `[tokens, headDim]`, `attention.mask` uint16
 * `[1, tokens, prefix + tokens]` (and `….sliding.…` where layers of the model look back less far) → `logits` uint16
 * `[tokens, vocab]`, `present.N.keys` and `present.N.values` uint8 `[kvHeads, prefix + tokens, headDim]`, those of the prefix included.
 *
 * @throws ExportError for what the device cannot compute in integers, with the site.
 */
export async function exportQnnPrefill(model: QuantizedModel, options: QnnPrefillOptions = {}): Promise<QnnGraphs> {
  const tokens = checkedTokens(model.config, options.tokens ?? Math.min(128, model.config.maxPositions));
  return qnnGraphs(model, { tokens, past: 0 });
}

/**
 * The graph that goes on behind a cache, and the one that prepares its inputs (`input_ids` int32 `[tokens]`, `past_length` int32 `[1]`:
 * entries of the cache that hold something, from the first, those of the prefix among them).
 *
 * What the other takes, with `attention.mask` uint16 `[1, tokens, context]`, and `past.N.keys` and `past.N.values` uint8
 * `[kvHeads, context - tokens, headDim]` → `logits` uint16 `[tokens, vocab]`, `present.N.keys` and `present.N.values` uint8
 * `[kvHeads, tokens, headDim]`: what the caller puts into the cache behind the entries that it has.
 *
 * @throws ExportError for what the device cannot compute in integers, with the site; for a context that leaves no room.
 */
export async function exportQnnDecode(model: QuantizedModel, options: QnnDecodeOptions = {}): Promise<QnnGraphs> {
  const { config } = model;
  const context = checkedTokens(config, options.context ?? Math.min(512, config.maxPositions), 'context');
  const tokens = checkedTokens(config, options.tokens ?? 1);
  const least = config.prefix.length + tokens + 1;
  if (context < least)
    throw new ExportError(
      'context',
      `at least ${least} positions for the prefix, an entry of the cache and ${tokens} tokens`,
      `${context}`,
      'Choose a longer one.',
    );
  return qnnGraphs(model, { tokens, past: context - tokens });
}

/**
 * The same for a runtime that keeps the cache itself, `entries` of one text: it comes in as `past.N.keys` and `past.N.values` uint8
 * `[1, kvHeads, entries, headDim]`, and the prefix is in the graph, in front of it. Nothing else differs: `past_length` counts the
 * prefix too, and a mask has `prefix + entries + tokens` columns.
 *
 * @throws ExportError for what the device cannot compute in integers, with the site.
 */
export const exportQnnKept = (model: QuantizedModel, tokens: number, entries: number): Promise<QnnGraphs> =>
  qnnGraphs(model, { tokens, past: model.config.prefix.length + entries }, false);

/** @param cachedPrefix whether the prefix is in the cache that comes in, or else in the graph. */
async function qnnGraphs(quantized: QuantizedModel, shape: TextShape, cachedPrefix = true): Promise<QnnGraphs> {
  const model = quantizedDeviceForm(quantized);
  const { config } = model;
  const { tokens, past } = shape;
  const entries = cachedPrefix ? past : past - config.prefix.length;
  checkModel(model);
  const assembly = new DecoderAssembly(model, {
    tokens,
    past: entries,
    ...(!cachedPrefix && { cachedPrefix, keptCache: true }),
    queryChunk: 0,
    castInt4: false,
    wrapTap: (tap) => deviceTap(tap, config),
    context: 'inputs',
    caches: true,
  });
  let x = HIDDEN;
  for (let layer = 0; layer < config.layers; layer++) x = assembly.block(layer, x);
  assembly.head(x, 'float32');
  assembly.checkSites();

  const layers = Array.from({ length: config.layers }, (_, layer) => layer);
  const kinds = layerKinds(config);
  const positional = positionalInputs(model, kinds, shape);
  const float = (name: string, shape: readonly number[]): ValueInfo => ({ name, type: 'float32', shape });
  const caches = (nameOf: typeof presentName, entries: number, batch: readonly number[] = []): ValueInfo[] =>
    layers.flatMap((layer) =>
      CACHE_PARTS.map((part) => float(nameOf(layer, part), [...batch, config.kvHeads, entries, config.headDim])),
    );
  const traced = assembly.graph(
    [
      float(HIDDEN, [tokens, config.hidden]),
      ...positional.map(({ name, shape }) => float(name, shape)),
      ...(past > 0 ? caches(pastName, entries, cachedPrefix ? [] : [1]) : []),
    ],
    [
      float('logits', [tokens, config.vocab]),
      ...caches(presentName, past > 0 ? tokens : config.prefix.length + tokens),
    ],
  );
  const form = multiplyInstead(foldBiases(selectColumns(standardOperators(traced))));
  const graph = await quantizeOperators(prune(form), {
    grids: new Map(positional.flatMap(({ name, grid }) => (grid ? [[name, grid] as const] : []))),
    masks: new Set(kinds.map(({ names }) => names.mask)),
    products: new Map([['lm_head.weight_dequantized', await rangeOfLogits(model)]]),
  });
  return {
    graph: { ...graph, name: past > 0 ? 'decode' : 'prefill' },
    inputs: inputsGraph(model, { ...shape, grid: gridOfInput(graph, HIDDEN), kinds, positional }),
  };
}

/** What a device must not be given. */
function checkModel({ config, weights, encodings }: QuantizedModel): void {
  const refuse = (site: string, expected: string, received: string, advice: string): never => {
    throw new ExportError(site, expected, received, advice);
  };
  const advice = 'Quantize with the recipe w8a8 or w4a8.';
  for (const [site, { spec }] of encodings) {
    const { bits, symmetric, granularity } = spec;
    const isWeight = splitSite(site).port === 'weight';
    const isLinear = isWeight && !site.endsWith('norm.weight');
    if (!isWeight && bits !== 8 && bits !== 16) refuse(site, 'an activation of 8 or 16 bits', `${bits}`, advice);
    if (isWeight && granularity.kind === 'group') refuse(site, 'one scale for each output channel', 'groups', advice);
    if (isLinear && !symmetric) refuse(site, 'a symmetric weight', 'an asymmetric one', advice);
    if (isLinear && bits > 8) refuse(site, 'a weight of at most 8 bits', `${bits}`, advice);
    if (isWeight && !isLinear && bits <= 8) refuse(site, 'the weight of a norm in 16 bits', `${bits}`, advice);
  }
  const biased = weights.names().find((name) => name.endsWith('norm.bias'));
  if (config.norm === 'layer' || config.finalNorm === 'layer' || biased !== undefined) {
    refuse(
      biased ?? 'norms',
      'norms without mean and bias',
      'LayerNorm',
      'Quantize with a method that folds them: --method fast.',
    );
  }
  if (!encodings.has('model.layers.0.input_layernorm.input'))
    refuse('model.layers.0.input_layernorm.input', 'an encoding', 'none', advice);
}

/** The grid that a graph reads an input on. */
function gridOfInput(graph: Graph, name: string): Grid {
  const reader = graph.nodes.find(({ inputs }) => inputs[0] === name);
  if (!reader) throw new ExportError(name, 'something that reads it', 'nothing', 'Export a model with layers.');
  return gridOfNode(graph, reader);
}

/** The grid of the logits that a graph for a device gives. @throws ExportError where they are no integers. */
export function gridOfLogits(graph: Graph): Grid {
  const writer = graph.nodes.find(({ outputs }) => outputs[0] === 'logits');
  if (writer?.op === 'QuantizeLinear') return gridOfNode(graph, writer);
  const advice = 'Give graphs that exportQnnPrefill and exportQnnDecode made.';
  throw new ExportError('logits', 'integers', writer?.op ?? 'nothing', advice);
}

/**
 * Logits lie within the length of their row of the head, norm weights multiplied in: what comes out of the norm, before its weights,
 * has length 1 (Cauchy and Schwarz).
 */
async function rangeOfLogits({ weights, encodings }: QuantizedModel): Promise<Range> {
  const norm = await weights.read('model.norm.weight');
  const name = headName(weights);
  const encoding = encodings.get('lm_head.weight');
  if (!encoding) throw new ExportError('lm_head.weight', 'an encoding', 'none', 'Add it to the recipe.');
  const head = fakeQuantize(await weights.read(name), encoding);
  const bias = weights.has('lm_head.bias') ? await weights.read('lm_head.bias') : undefined;
  let bound = 0;
  for (let row = 0, i = 0; i < head.length; row++) {
    let sum = 0;
    for (let channel = 0; channel < norm.length; channel++, i++)
      sum += ((head[i] as number) * (norm[channel] as number)) ** 2;
    bound = Math.max(bound, Math.sqrt(sum) + Math.abs(bias?.[row] ?? 0));
  }
  return { min: -bound, max: bound };
}
