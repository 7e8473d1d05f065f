/**
 * Runs a decoder block by block.
 *
 * All blocks have the same graph: it is traced and compiled once and fed each layer's weights, so that one block's
 * intermediates are in memory at a time, however deep the model.
 */
import type { Executor, InputSpecs, Program, Value, Values } from '@mobilequant/tracer';
import { block } from './block.ts';
import type { DecoderConfig } from './config.ts';
import * as head from './head.ts';
import type { LanguageModel } from './language-model.ts';
import { floatReading, type Reading } from './reading.ts';
import { ropeTables } from './rope.ts';
import { headName, layerTensorNames, readLayer, type Weights } from './weights.ts';

/** What a masked score gets: float32's lowest, so that no probability is left. */
export const MASKED: number = -3.4028234663852886e38;

/** Rows of logits computed at once. */
const HEAD_ROWS = 128;

/** Attention to itself and what came before, `[1, tokens, past + tokens]`. */
export function causalMask(tokens: number, past = 0): Float32Array {
  const width = past + tokens;
  return Float32Array.from({ length: tokens * width }, (_, i) =>
    i % width > past + Math.floor(i / width) ? MASKED : 0,
  );
}

/** The inputs that depend on positions alone. */
export function contextValues(config: DecoderConfig, tokens: number): Record<'cos' | 'sin' | 'mask', Value> {
  const { cos, sin } = ropeTables(config, tokens);
  const shape = [tokens, config.headDim];
  return {
    cos: { data: cos, shape },
    sin: { data: sin, shape },
    mask: { data: causalMask(tokens), shape: [1, tokens, tokens] },
  };
}

/** Shapes of values, as trace takes them. */
export const specsOf = (values: Values): InputSpecs =>
  Object.fromEntries(Object.entries(values).map(([name, { shape }]) => [name, shape]));

export interface DecoderOptions {
  readonly reading?: Reading;
  /** See `BlockOptions.queryChunk`; default 128. */
  readonly queryChunk?: number;
}

export interface Decoder {
  readonly config: DecoderConfig;
  /** Token ids → `[tokens, hidden]`, the input of the first block. */
  embed(tokens: Int32Array): Promise<Float32Array>;
  /** `[tokens, hidden]` → `[tokens, hidden]` */
  block(layer: number, x: Float32Array): Promise<Float32Array>;
  /** The output of the last block, `[tokens, hidden]`; `each` sees every block's output. */
  hidden(tokens: Int32Array, each?: (layer: number, x: Float32Array) => void): Promise<Float32Array>;
  /** `[tokens, hidden]` → `[tokens, vocab]` */
  logits(x: Float32Array): Promise<Float32Array>;
  /** `-log p(targets[i])` behind each row of x, `[tokens]`. */
  negativeLogLikelihood(x: Float32Array, targets: Int32Array): Promise<Float32Array>;
  release(): Promise<void>;
}

/** A decoder over weights, run as `reading` says (float by default). */
export function createDecoder(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  { reading = floatReading, queryChunk = 128 }: DecoderOptions = {},
): Decoder {
  const programs = new Map<string, Promise<Program>>();
  const contexts = new Map<number, Values>();
  const { hidden } = config;

  const program = (key: string, compile: () => Promise<Program>): Promise<Program> => {
    let found = programs.get(key);
    if (!found) programs.set(key, (found = compile()));
    return found;
  };

  const context = (tokens: number): Values => {
    let found = contexts.get(tokens);
    if (!found) contexts.set(tokens, (found = contextValues(config, tokens)));
    return found;
  };

  const blockProgram = (layer: number, tokens: number): Promise<Program> => {
    const names = layerTensorNames(weights, layer);
    return program(`block ${tokens} ${names} ${reading.key(layer)}`, () => {
      const shapes = Object.fromEntries(names.map((name) => [name, weights.shape(`model.layers.${layer}.${name}`)]));
      const specs = { x: [tokens, hidden], ...specsOf(context(tokens)), ...shapes, ...reading.inputs(layer) };
      return executor.program((inputs) => {
        const { x, cos, sin, mask } = inputs as Record<'x' | 'cos' | 'sin' | 'mask', (typeof inputs)[string]>;
        const tap = reading.tap(layer, inputs);
        return { y: block(x, inputs, { cos, sin, mask }, config, { tap, queryChunk }).x };
      }, specs);
    });
  };

  const headProgram = (kind: 'logits' | 'loss', rows: number): Promise<Program> =>
    program(`${kind} ${rows} ${reading.key('head')}`, () => {
      const specs = {
        x: [rows, hidden],
        targets: { shape: [rows], dtype: 'int32' as const },
        'norm.weight': [hidden],
        'head.weight': weights.shape(headName(weights)),
        ...reading.inputs('head'),
      };
      return executor.program((inputs) => {
        const tensors = inputs as Record<'x' | 'targets', (typeof inputs)[string]>;
        const parts = { norm: inputs['norm.weight'], head: inputs['head.weight'] } as head.HeadWeights;
        const tap = reading.tap('head', inputs);
        const y =
          kind === 'logits'
            ? head.logits(tensors.x, parts, config, tap)
            : head.negativeLogLikelihood(tensors.x, tensors.targets, parts, config, tap);
        return { y };
      }, specs);
    });

  /** Runs the head over rows of x, some at a time. */
  const runHead = async (kind: 'logits' | 'loss', x: Float32Array, targets: Int32Array): Promise<Float32Array> => {
    const tokens = x.length / hidden;
    const result = new Float32Array(kind === 'logits' ? tokens * config.vocab : tokens);
    const shared = {
      'norm.weight': { data: await weights.read('model.norm.weight'), shape: [hidden] },
      'head.weight': { data: await weights.read(headName(weights)), shape: weights.shape(headName(weights)) },
      ...reading.values('head'),
    };
    for (let from = 0; from < tokens; from += HEAD_ROWS) {
      const rows = Math.min(HEAD_ROWS, tokens - from);
      const feeds = {
        ...shared,
        x: { data: x.subarray(from * hidden, (from + rows) * hidden), shape: [rows, hidden] },
        targets: { data: targets.subarray(from, from + rows), shape: [rows] },
      };
      const { y } = (await (await headProgram(kind, rows)).run(feeds)) as { y: Value };
      result.set(y.data as Float32Array, (from * result.length) / tokens);
    }
    return result;
  };

  const decoder: Decoder = {
    config,
    embed: (tokens) => weights.readRows('model.embed_tokens.weight', tokens),
    async block(layer, x) {
      const tokens = x.length / hidden;
      const compiled = await blockProgram(layer, tokens);
      const own = await readLayer(weights, layer);
      const feeds = { ...context(tokens), ...own, ...reading.values(layer), x: { data: x, shape: [tokens, hidden] } };
      return (await compiled.run(feeds))['y']?.data as Float32Array;
    },
    async hidden(tokens, each) {
      let x = await decoder.embed(tokens);
      for (let layer = 0; layer < config.layers; layer++) {
        x = await decoder.block(layer, x);
        each?.(layer, x);
      }
      return x;
    },
    logits: (x) => runHead('logits', x, new Int32Array(x.length / hidden)),
    negativeLogLikelihood: (x, targets) => runHead('loss', x, targets),
    async release() {
      for (const compiled of programs.values()) await (await compiled).release();
      programs.clear();
    },
  };
  return decoder;
}

/** A decoder as a language model. */
export function languageModel(decoder: Decoder): LanguageModel {
  return {
    vocab: decoder.config.vocab,
    logits: async (tokens) => decoder.logits(await decoder.hidden(tokens)),
    async negativeLogLikelihood(tokens) {
      const x = await decoder.hidden(tokens);
      return decoder.negativeLogLikelihood(x.subarray(0, x.length - decoder.config.hidden), tokens.subarray(1));
    },
    release: () => decoder.release(),
  };
}
