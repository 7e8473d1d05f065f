/**
 * Runs a decoder block by block.
 *
 * All blocks have the same graph: it is traced and compiled once and fed each layer's weights, so that one block's
 * intermediates are in memory at a time, however deep the model.
 */
import { type Executor, type Program, programCache } from '@mobilequant/tracer';
import { block } from './block.ts';
import { type DecoderConfig, isSliding } from './config.ts';
import { contextCache, specsOf } from './context.ts';
import * as head from './head.ts';
import { headRows } from './head-rows.ts';
import { floatReading, type Reading } from './reading.ts';
import { paddedTree, type TokenTree, treeContext } from './token-tree.ts';
import { embed, headShapes, layerShapes, readHead, readLayer, type Weights } from './weights.ts';

/** Trees have any number of tokens: rounded up to a multiple of this, they share programs. */
const TREE_STEP = 64;

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
  /** The output of the last block for a tree of texts, padded: `[tokens or more, hidden]`; `each` sees every block's output, also padded. */
  hiddenOfTree(tree: TokenTree, each?: (layer: number, x: Float32Array) => void): Promise<Float32Array>;
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
  const programs = programCache(executor);
  const context = contextCache(config);
  const { hidden } = config;

  const blockProgram = (layer: number, tokens: number): Promise<Program<'y'>> => {
    const shapes = layerShapes(weights, layer);
    return programs.program(
      `block ${tokens} ${JSON.stringify(shapes)} ${reading.key(layer)}`,
      () => ({ x: [tokens, hidden], ...specsOf(context(tokens, layer)), ...shapes, ...reading.inputs(layer) }),
      (inputs) => ({ y: block(inputs.x, inputs, inputs, config, { tap: reading.tap(layer, inputs), queryChunk }).x }),
    );
  };

  const headProgram = (kind: 'logits' | 'loss', rows: number): Promise<Program<'y'>> =>
    programs.program(
      `${kind} ${rows} ${reading.key('head')}`,
      () => ({
        x: [rows, hidden],
        targets: { shape: [rows], dtype: 'int32' },
        ...headShapes(weights),
        ...reading.inputs('head'),
      }),
      (inputs) => {
        const tap = reading.tap('head', inputs);
        return {
          y:
            kind === 'logits'
              ? head.logits(inputs.x, inputs, config, tap)
              : head.negativeLogLikelihood(inputs.x, inputs.targets, inputs, config, tap),
        };
      },
    );

  /** Runs the head over rows of x, some at a time. */
  const runHead = async (kind: 'logits' | 'loss', x: Float32Array, targets: Int32Array): Promise<Float32Array> => {
    const tokens = x.length / hidden;
    const result = new Float32Array(kind === 'logits' ? tokens * config.vocab : tokens);
    const shared = { ...(await readHead(weights)), ...reading.values('head') };
    const most = headRows(config);
    for (let from = 0; from < tokens; from += most) {
      const rows = Math.min(most, tokens - from);
      const feeds = {
        ...shared,
        x: { data: x.subarray(from * hidden, (from + rows) * hidden), shape: [rows, hidden] },
        targets: { data: targets.subarray(from, from + rows), shape: [rows] },
      };
      const { y } = await (await headProgram(kind, rows)).run(feeds);
      result.set(y.data as Float32Array, (from * result.length) / tokens);
    }
    return result;
  };

  const runBlock = async (layer: number, x: Float32Array, positions: ReturnType<typeof context>) => {
    const tokens = x.length / hidden;
    const compiled = await blockProgram(layer, tokens);
    const own = await readLayer(weights, layer);
    const given = { ...positions, ...own, ...reading.values(layer) };
    return (await compiled.run({ ...given, x: { data: x, shape: [tokens, hidden] } })).y.data as Float32Array;
  };

  const decoder: Decoder = {
    config,
    embed: async (tokens) => (await embed(config, weights, tokens)).data,
    block: (layer, x) => runBlock(layer, x, context(x.length / hidden, layer)),
    async hidden(tokens, each) {
      let x = await decoder.embed(tokens);
      for (let layer = 0; layer < config.layers; layer++) {
        x = await decoder.block(layer, x);
        each?.(layer, x);
      }
      return x;
    },
    async hiddenOfTree(tree, each) {
      const padded = paddedTree(tree, Math.ceil(tree.tokens.length / TREE_STEP) * TREE_STEP);
      const kinds = new Map<boolean, ReturnType<typeof context>>(); // of layers: with a window or without
      let x = await decoder.embed(padded.tokens);
      for (let layer = 0; layer < config.layers; layer++) {
        const kind = isSliding(config, layer);
        const positions = kinds.get(kind) ?? treeContext(config, padded, layer);
        kinds.set(kind, positions);
        x = await runBlock(layer, x, positions);
        each?.(layer, x);
      }
      return x;
    },
    logits: (x) => runHead('logits', x, new Int32Array(x.length / hidden)),
    negativeLogLikelihood: (x, targets) => runHead('loss', x, targets),
    release: () => programs.release(),
  };
  return decoder;
}
