/**
 * The decoder as one graph, put together of its parts: the same `block` is traced with a tap that writes quantizers. Layers of the
 * same form share one trace, whose nodes are repeated with each layer's names, encodings and weights. Weights are read, rounded and
 * packed when the file is written, one at a time.
 */
import {
  type BlockContext,
  block,
  contextValues,
  type DecoderConfig,
  headName,
  headShapes,
  headTensors,
  isSliding,
  layerShapes,
  logits,
  type Part,
  PREFIX_TENSORS,
  type QuantizedModel,
  siteName,
  specsOf,
  type Tap,
} from '@mobilequant/core';
import { elementCode, float32ToFloat16Bits, type Graph, type ValueInfo } from '@mobilequant/graph';
import type { Encoding, Encodings } from '@mobilequant/quantizer';
import { trace } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { Assembly, nameOutputs } from './assembly.ts';
import { bytesOf } from './bytes-of.ts';
import { deployTap, type TappedSite } from './deploy-tap.ts';
import { ExportError } from './errors.ts';
import {
  activationStorage,
  scaleShape,
  storedScales,
  storedWeight,
  storedZeroPoints,
  weightStorage,
} from './storage.ts';

/** Where a slice ends that takes all that is left, whatever its length. */
export const TO_THE_END: number = 2 ** 31 - 1;

export interface AssemblyOptions {
  readonly tokens: number;
  /** Attend in blocks of so many queries; 0: all at once. */
  readonly queryChunk: number;
  /** See `OnnxOptions.castInt4`. */
  readonly castInt4: boolean;
  /** What the tap of the quantizers is wrapped in; made anew for each trace. */
  readonly wrapTap?: (tap: Tap) => Tap;
  /** What positions say (`rotary.cos`, `rotary.sin`, `attention.mask`): constants of the graph, or values that the caller brings. Default constants. */
  readonly context?: 'constants' | 'inputs';
  /** Gives the keys and values of each layer, those of the prefix included, as `present.N.keys` and `present.N.values`. */
  readonly caches?: boolean;
  /**
   * Entries of a cache that the text follows, those of the prefix among them: each layer takes `past.N.keys` and `past.N.values`,
   * `[kvHeads, past, headDim]`, and what it gives as present is of the text alone. Default 0: the text follows the prefix.
   */
  readonly past?: number;
  /**
   * Whether the caches that come in and go out hold the prefix too. Default true. Else its keys and values are constants of the graph,
   * `past` counts what is behind them, and what a layer gives as present is past and text together.
   */
  readonly cachedPrefix?: boolean;
  /**
   * Whether the cache is one that a runtime keeps in one place: it comes in with an axis for the batch, `[1, kvHeads, past, headDim]`, and
   * what a layer gives as present is of the text alone, wherever the prefix is. Default false.
   */
  readonly keptCache?: boolean;
}

/** What one trace gives: a graph whose encodings and weights are names without values, and the sites they belong to. */
interface Template {
  readonly id: number;
  readonly graph: Graph;
  readonly sites: readonly TappedSite[];
}

/** Names of what layers of a kind share. */
type ContextNames = Readonly<Record<'cos' | 'sin' | 'mask', string>>;

const CONTEXT: ContextNames = { cos: 'rotary.cos', sin: 'rotary.sin', mask: 'attention.mask' };
const SLIDING_CONTEXT: ContextNames = {
  cos: 'rotary.sliding.cos',
  sin: 'rotary.sliding.sin',
  mask: 'attention.sliding.mask',
};

/** The names under which a layer's rotary tables and mask stand in the graph. */
const contextNames = (config: Pick<DecoderConfig, 'sliding'>, layer: number): ContextNames =>
  isSliding(config, layer) ? SLIDING_CONTEXT : CONTEXT;

/** What layers of a kind share: the names of tables and mask, and one of these layers. */
export interface LayerKind {
  readonly names: ContextNames;
  readonly layer: number;
}

/** One layer of each kind: those that slide, and those that do not. */
export function layerKinds(config: DecoderConfig): LayerKind[] {
  const layers = Array.from({ length: config.layers }, (_, layer) => layer);
  return layers
    .filter((layer) => layers.findIndex((l) => isSliding(config, l) === isSliding(config, layer)) === layer)
    .map((layer) => ({ names: contextNames(config, layer), layer }));
}

export const CACHE_PARTS = ['keys', 'values'] as const;
export type CachePart = (typeof CACHE_PARTS)[number];

/** The output that has a layer's keys or values. */
export const presentName = (layer: number, part: CachePart): string => `present.${layer}.${part}`;

/** The input that has those of the tokens before. */
export const pastName = (layer: number, part: CachePart): string => `past.${layer}.${part}`;

const PAST: Readonly<Record<CachePart, string>> = { keys: 'past.keys', values: 'past.values' };

/** A tap, and what it was shown of the cache: keys and values as the products with them take them, `[kvHeads, past + tokens, headDim]`. */
function watchCache(tap: Tap): { tap: Tap; cache: Record<string, tf.Tensor> } {
  const cache: Record<string, tf.Tensor> = {};
  const parts: Record<string, string> = { 'self_attn.qk_bmm.input2': 'keys', 'self_attn.pv_bmm.input2': 'values' };
  const activation: Tap['activation'] = (site, x, hint) => {
    const y = tap.activation(site, x, hint);
    const part = parts[site];
    if (part !== undefined) cache[part] = y;
    return y;
  };
  return { tap: { ...tap, activation }, cache };
}

/** What a cache has behind so many entries. */
const behind = (entries: number, cache: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> =>
  Object.fromEntries(Object.entries(cache).map(([part, x]) => [part, tf.slice(x, [0, entries, 0])]));

/** A cache behind the prefix of a layer, if it has one, without an axis for the batch. */
function joined(prefix: tf.Tensor | undefined, given: tf.Tensor): tf.Tensor {
  const cache = given.rank === 4 ? tf.reshape(given, given.shape.slice(1)) : given;
  return prefix ? tf.concat([prefix, cache], 1) : cache;
}

/**
 * The length of the text that a graph takes.
 *
 * @throws ExportError for one that the model does not have.
 */
export function checkedTokens(
  { maxPositions }: Pick<DecoderConfig, 'maxPositions'>,
  tokens: number,
  option = 'tokens',
): number {
  if (Number.isInteger(tokens) && tokens >= 1 && tokens <= maxPositions) return tokens;
  throw new ExportError(option, `a length from 1 to ${maxPositions}`, `${tokens}`, 'The model has no other positions.');
}

/** Puts a decoder together: `embed`, every `block`, `head`, in this order; then `graph` has it all. */
export class DecoderAssembly {
  readonly #model: QuantizedModel;
  readonly #options: AssemblyOptions;
  readonly #assembly = new Assembly();
  readonly #templates = new Map<string, Template>();
  readonly #sites = new Set<string>();

  constructor(model: QuantizedModel, options: AssemblyOptions) {
    this.#model = model;
    this.#options = options;
  }

  graph(inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Graph {
    return this.#assembly.graph('mobilequant', inputs, outputs);
  }

  embed(ids: string, type: 'float16' | 'float32'): string {
    const { hidden, embeddingFactor } = this.#model.config;
    const shape = [this.#options.tokens, hidden];
    const table = this.#stored('model.embed_tokens.weight', type);
    const raw = { name: type === 'float32' ? 'model.embed_tokens' : 'model.embed_tokens_float16', type, shape };
    const rows = this.#assembly.node('Gather', [table, ids], raw, { axis: 0 });
    const looked = this.#float(rows, 'model.embed_tokens', type, shape);
    if (embeddingFactor === 1) return looked;
    const factor = this.#assembly.constant('model.embed_tokens_factor', 'float32', [], [embeddingFactor]);
    const output: ValueInfo = { name: 'model.embed_tokens_scaled', type: 'float32', shape };
    return this.#assembly.node('Mul', [looked, factor], output);
  }

  block(layer: number, x: string): string {
    const { config, weights } = this.#model;
    const prefix = `model.layers.${layer}`;
    const shapes = layerShapes(weights, layer);
    const { tokens, queryChunk, caches, past = 0, cachedPrefix = true, keptCache } = this.#options;
    const apart = cachedPrefix ? [] : PREFIX_TENSORS;
    // Entries that a layer does not give again.
    const old = cachedPrefix ? past : config.prefix.length + (keptCache ? past : 0);
    const pastShape = [...(keptCache ? [1] : []), config.kvHeads, past, config.headDim];
    const template = this.#template(layer, Object.keys(shapes).join(), (given) =>
      trace(
        (inputs: Readonly<Record<string, tf.Tensor>>) => {
          const { tap, cache } = watchCache(given);
          const [prefixKeys, prefixValues] = apart.map((name) => inputs[name]);
          const { x, cos, sin, mask, [PAST.keys]: keys, [PAST.values]: values } = inputs as Record<string, tf.Tensor>;
          const context = { cos, sin, mask } as BlockContext;
          const before = keys &&
            values && { past: { keys: joined(prefixKeys, keys), values: joined(prefixValues, values) } };
          const y = block(x as tf.Tensor, inputs, context, config, { tap, queryChunk, ...before }).x;
          return { y, ...(caches && (past > 0 ? behind(old, cache) : cache)) };
        },
        {
          x: [tokens, config.hidden],
          ...specsOf(this.#contextValues(layer)),
          ...shapes,
          ...(past > 0 && { [PAST.keys]: pastShape, [PAST.values]: pastShape }),
        },
      ),
    );
    const cacheNames = CACHE_PARTS.flatMap((part) => [
      [part, presentName(layer, part)],
      [PAST[part], pastName(layer, part)],
    ]);
    const known = { ...this.#context(layer), ...Object.fromEntries(cacheNames), x, y: prefix };
    for (const name of template.graph.inputs.map(({ name }) => name).filter((name) => Object.hasOwn(shapes, name))) {
      this.#vector(`${prefix}.${name}`);
    }
    this.#append(template, layer, known);
    return prefix;
  }

  /** The names of a layer's tables and mask, as constants of the graph. */
  #context(layer: number): ContextNames {
    const { config } = this.#model;
    const names = contextNames(config, layer);
    if (this.#options.context === 'inputs' || this.#assembly.has(names.mask)) return names;
    for (const [name, { data, shape }] of Object.entries(this.#contextValues(layer))) {
      this.#assembly.constant(names[name as keyof typeof names], 'float32', shape, data as Float32Array);
    }
    return names;
  }

  #contextValues(layer: number): ReturnType<typeof contextValues> {
    const { tokens, past = 0, cachedPrefix = true } = this.#options;
    const { config } = this.#model;
    const behindPrefix = cachedPrefix ? Math.max(past - config.prefix.length, 0) : past;
    return contextValues(config, tokens, behindPrefix, layer);
  }

  /** The rows of x from the one that a list of one number names; counted from the end below zero. */
  rowsFrom(x: string, start: string): string {
    const shape = [this.#options.tokens, this.#model.config.hidden];
    const end = this.#assembly.constant('model.rows_end', 'int64', [1], [TO_THE_END]);
    const axis = this.#assembly.constant('model.rows_axis', 'int64', [1], [0]);
    return this.#assembly.node('Slice', [x, start, end, axis], { name: 'model.rows', type: 'float32', shape });
  }

  head(x: string, type: 'float16' | 'float32'): void {
    const { config, weights } = this.#model;
    const name = headName(weights);
    const template = this.#template('head', '', (tap) =>
      trace((inputs) => ({ logits: logits(inputs.x, inputs, config, tap) }), {
        x: [this.#options.tokens, config.hidden],
        ...headShapes(weights),
      }),
    );
    const needs = (input: string) => template.graph.inputs.some((value) => value.name === input);
    const names: Record<string, string> = headTensors(weights);
    for (const [own, full] of Object.entries(names)) if (own !== 'head.weight' && needs(own)) this.#vector(full);
    const matrix = needs('head.weight')
      ? this.#float(this.#stored(name, type), `${name}_float32`, type, weights.shape(name))
      : '';
    this.#append(template, 'head', { ...names, x, 'head.weight': matrix, logits: 'logits' });
  }

  /** @throws ExportError for an encoding that nothing used: it would be lost. */
  checkSites(): void {
    for (const site of this.#model.encodings.keys()) {
      if (!this.#sites.has(site))
        throw new ExportError(site, 'a site of this decoder', 'none', 'Take it out of the recipe.');
    }
  }

  /** A float matrix, stored once. */
  #stored(name: string, type: 'float16' | 'float32'): string {
    const { weights } = this.#model;
    if (this.#assembly.has(name)) return name;
    return this.#assembly.constant(name, type, weights.shape(name), async () => {
      const values = await weights.read(name);
      return bytesOf(type === 'float16' ? float32ToFloat16Bits(values) : values);
    });
  }

  /** A float tensor that a layer takes as it is: a norm's weight, a bias. */
  #vector(name: string): void {
    const { weights } = this.#model;
    this.#assembly.constant(name, 'float32', weights.shape(name), async () => bytesOf(await weights.read(name)));
  }

  #float(value: string, name: string, type: 'float16' | 'float32', shape: readonly number[]): string {
    if (type === 'float32') return value;
    return this.#assembly.node('Cast', [value], { name, type: 'float32', shape }, { to: elementCode('float32') });
  }

  /** Traces a part, unless one of the same form was traced before. */
  #template(part: Part, names: string, record: (tap: Tap) => Graph): Template {
    const encodings = partEncodings(this.#model.encodings, part);
    const key = `${part === 'head' ? part : 'block'} ${names} ${JSON.stringify([...encodings].map(([site, { spec, scale }]) => [site, spec, scale.length]))}`;
    const known = this.#templates.get(key);
    if (known) return known;
    const sites: TappedSite[] = [];
    const { castInt4, wrapTap = (tap: Tap) => tap } = this.#options;
    const tap = deployTap({
      encodings,
      fullName: (site) => siteName(part, site),
      castInt4,
      onSite: (site) => sites.push(site),
    });
    const template = { id: this.#templates.size, graph: nameOutputs(record(wrapTap(tap))), sites };
    this.#templates.set(key, template);
    return template;
  }

  /** A template's nodes with the names and encodings of a part. */
  #append({ id, graph, sites }: Template, part: Part, known: Readonly<Record<string, string>>): void {
    const prefix = `model.layers.${part}.`;
    const own = (name: string) =>
      part === 'head' ? (/^(model|lm_head)\./.test(name) ? name : `head.${name}`) : prefix + name;
    this.#assembly.append(
      graph,
      (name) => known[name] ?? (graph.initializers.has(name) ? `constants.${id}.${name}` : own(name)),
    );
    for (const site of sites) this.#encode(siteName(part, site.site), site);
  }

  /** The initializers of a site: scale, zero point, and a weight's integers. */
  #encode(full: string, { shape, weight }: TappedSite): void {
    const { encodings, weights } = this.#model;
    const encoding = encodings.get(full) as Encoding;
    this.#sites.add(full);
    const { type, shift } = weight ? weightStorage(encoding) : activationStorage(full, encoding);
    const scales = weight ? scaleShape(encoding, shape) : [];
    const zeroType = type === 'int4' && this.#options.castInt4 ? 'int8' : type;
    const constant = this.#assembly.constant.bind(this.#assembly);
    constant(`${full}_scale`, 'float32', scales, storedScales(full, encoding));
    constant(`${full}_zero_point`, zeroType, scales, storedZeroPoints(full, encoding, { type: zeroType, shift }));
    if (!weight) return;
    const source = full === 'lm_head.weight' ? headName(weights) : full;
    constant(`${full}_quantized`, type, shape, async () =>
      bytesOf(storedWeight(full, await weights.read(source), encoding)),
    );
  }
}

/** The encodings of a part by their names in it. */
function partEncodings(encodings: Encodings, part: Part): Map<string, Encoding> {
  const prefix = 'model.layers.';
  const own = `${prefix}${part}.`;
  return new Map(
    [...encodings].flatMap(([name, encoding]): [string, Encoding][] => {
      if (part === 'head') return name.startsWith(prefix) ? [] : [[name, encoding]];
      return name.startsWith(own) ? [[name.slice(own.length), encoding]] : [];
    }),
  );
}
