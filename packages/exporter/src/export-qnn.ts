/**
 * The decoder as Qualcomm's HTP takes it whole: integers in, integers out, every operator of one width between.
 *
 *     prefill-inputs.onnx   on the processor: token ids → the inputs of the other, under their names
 *     prefill.onnx          on the device: hidden states, rotary tables, mask → logits, keys and values of every layer
 *
 * The same block as ever is traced in device form (`quantizedDeviceForm`, `deviceTap`), and `quantizeOperators` gives the values
 * between its sites grids of their own.
 */
import { contextValues, headName, isSliding, type QuantizedModel, quantizedDeviceForm } from '@mobilequant/core';
import { type Graph, type Initializer, initializer, type Node, prune, type ValueInfo } from '@mobilequant/graph';
import { fakeQuantize, quantize, type Range, splitSite } from '@mobilequant/quantizer';
import { checkedTokens, contextNames, DecoderAssembly, presentName } from './decoder-assembly.ts';
import { encodingOfGrid, type Grid, integerType } from './device-grid.ts';
import { deviceTap } from './device-tap.ts';
import { multiplyInstead } from './divisions.ts';
import { ExportError } from './errors.ts';
import { foldBiases } from './fold-biases.ts';
import { gridOfNode, quantizeOperators } from './quantize-operators.ts';
import { selectColumns } from './select-columns.ts';
import { standardOperators } from './standard-operators.ts';

export interface QnnOptions {
  /** Length of the text that the graph takes; shorter texts are padded on the right. Default 128, at most the model's. */
  readonly tokens?: number;
}

/** What a masked score is lowered by; sums with it saturate, so that any number does that is larger than every score. */
const MASKED = 40000;

const MASK_GRID: Grid = { bits: 16, scale: Math.fround(MASKED / 65535), zeroPoint: 65535 };
/** Both 1 and 0 are levels. */
const ROTARY_GRID: Grid = { bits: 16, scale: 1 / 32767, zeroPoint: 32768 };

const HIDDEN = 'hidden_states';

export interface QnnPrefill {
  readonly graph: Graph;
  /** Token ids (`input_ids` int32 `[tokens]`) → the inputs of `graph`. */
  readonly inputs: Graph;
}

/**
 * The graph that reads a text, and the one that prepares its inputs.
 *
 * `hidden_states` uint16 `[tokens, hidden]`, `rotary.cos` and `rotary.sin` uint16 `[tokens, headDim]`, `attention.mask` uint16
 * `[1, tokens, prefix + tokens]` (and `….sliding.…` where layers of the model look back less far) → `logits` uint16
 * `[tokens, vocab]`, `present.N.keys` and `present.N.values` uint8 `[kvHeads, prefix + tokens, headDim]`, those of the prefix included.
 *
 * @throws ExportError for what the device cannot compute in integers, with the site.
 */
export async function exportQnnPrefill(quantized: QuantizedModel, options: QnnOptions = {}): Promise<QnnPrefill> {
  const model = quantizedDeviceForm(quantized);
  const { config } = model;
  const tokens = checkedTokens(config, options.tokens ?? Math.min(128, config.maxPositions));
  checkModel(model);
  const assembly = new DecoderAssembly(model, {
    tokens,
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
  const kinds = layers.filter(
    (layer) => layers.findIndex((l) => isSliding(config, l) === isSliding(config, layer)) === layer,
  );
  const contexts = kinds.map((layer) => ({
    names: contextNames(config, layer),
    values: contextValues(config, tokens, 0, layer),
  }));
  const positional = contexts.flatMap(({ names, values }) =>
    (['cos', 'sin', 'mask'] as const).map((kind) => ({
      name: names[kind],
      grid: kind === 'mask' ? MASK_GRID : ROTARY_GRID,
      values: values[kind].data as Float32Array,
      shape: values[kind].shape,
    })),
  );
  const cacheShape = [config.kvHeads, config.prefix.length + tokens, config.headDim];
  const float = (name: string, shape: readonly number[]): ValueInfo => ({ name, type: 'float32', shape });
  const traced = assembly.graph(
    [float(HIDDEN, [tokens, config.hidden]), ...positional.map(({ name, shape }) => float(name, shape))],
    [
      float('logits', [tokens, config.vocab]),
      ...layers.flatMap((layer) =>
        (['keys', 'values'] as const).map((part) => float(presentName(layer, part), cacheShape)),
      ),
    ],
  );
  const form = multiplyInstead(foldBiases(selectColumns(standardOperators(traced))));
  const graph = await quantizeOperators(prune(form), {
    grids: new Map(positional.map(({ name, grid }) => [name, grid])),
    masks: new Set(contexts.map(({ names }) => names.mask)),
    products: new Map([['lm_head.weight_dequantized', await rangeOfLogits(model)]]),
  });
  return {
    graph: { ...graph, name: 'prefill' },
    inputs: inputsGraph(model, tokens, gridOfInput(graph, HIDDEN), positional),
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

interface Positional {
  readonly name: string;
  readonly grid: Grid;
  readonly values: Float32Array;
  readonly shape: readonly number[];
}

/** Looks the embeddings up, as integers, and gives what positions say. */
function inputsGraph(
  { config, weights }: QuantizedModel,
  tokens: number,
  grid: Grid,
  positional: readonly Positional[],
): Graph {
  const constants = new Map<string, Initializer>();
  const constant = (made: Initializer): string => {
    constants.set(made.name, made);
    return made.name;
  };
  const table = constant({
    name: 'embeddings',
    type: integerType(grid),
    shape: [config.vocab, config.hidden],
    data: async () => bytes(quantize(await weights.read('model.embed_tokens.weight'), encodingOfGrid(grid))),
  });
  const node = (op: string, inputs: readonly string[], output: string): Node => ({
    op,
    domain: '',
    inputs,
    outputs: [output],
    attributes: {},
  });
  const tables = positional.map(({ name, grid, values, shape }) => {
    const levels = quantize(values, encodingOfGrid(grid)) as Uint16Array;
    return node('Identity', [constant(initializer(`${name}.table`, integerType(grid), shape, levels))], name);
  });
  return {
    name: 'prefill-inputs',
    inputs: [{ name: 'input_ids', type: 'int32', shape: [tokens] }],
    outputs: [
      { name: HIDDEN, type: integerType(grid), shape: [tokens, config.hidden] },
      ...positional.map(({ name, grid, shape }): ValueInfo => ({ name, type: integerType(grid), shape })),
    ],
    nodes: [node('Gather', [table, 'input_ids'], HIDDEN), ...tables],
    initializers: constants,
    values: new Map(),
  };
}

const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
