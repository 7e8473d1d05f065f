/**
 * The deploy reading for runtimes that generate on a processor or in a browser: texts of any length, behind a cache of any length, whose
 * keys and values are the integers of their sites.
 *
 * The same block as ever is traced, at two sizes, and `anySize` makes one graph of both. What positions say is computed in the graph; the
 * prefix is part of it too, so that a cache begins empty and counts the tokens of the text alone.
 */
import { type DecoderConfig, headName, type QuantizedModel } from '@mobilequant/core';
import type { ElementType, Graph, ValueInfo } from '@mobilequant/graph';
import { anySize } from './any-size.ts';
import { Assembly } from './assembly.ts';
import { drawPositions, IDS, SEQUENCE, TOTAL } from './cached-inputs.ts';
import {
  CACHE_PARTS,
  type CachePart,
  checkedTokens,
  DecoderAssembly,
  layerKinds,
  pastName,
  presentName,
} from './decoder-assembly.ts';
import { floatType } from './float16.ts';
import { integerCaches } from './integer-caches.ts';
import { standardOperators } from './standard-operators.ts';

export interface CachedOnnxOptions {
  /** Tokens that a text may have, the cached ones among them. Default 4096, at most the model's. */
  readonly context?: number;
  /** Take `num_logits_to_keep` int64 `[]`: give the logits of so many tokens, the last ones; 0: of all. Default false. */
  readonly keepLogits?: boolean;
}

/** What a text's cache is called, going in and coming out. */
export const cacheName = (kind: 'past_key_values' | 'present', layer: number, part: CachePart): string =>
  `${kind}.${layer}.${part === 'keys' ? 'key' : 'value'}`;

/**
 * A quantized model as an ONNX graph (opset 21, standard operators only) that goes on behind a cache, under the names that
 * transformers.js and ONNX Runtime GenAI know:
 *
 *     input_ids int64 [1, sequence], attention_mask int64 [1, past + sequence], past_key_values.N.key|value [1, kvHeads, past, headDim]
 *     → logits float32 [1, sequence, vocab], present.N.key|value [1, kvHeads, past + sequence, headDim]
 *
 * Sequence and past are free, past may be 0. Caches are integers (uint8 for 8 bits) where keys and values are quantized, and float32 where
 * they are not. `attention_mask` may be 0 for tokens on the left; positions follow from it.
 *
 * @throws ExportError for a site that ONNX cannot express, an encoding of a site that the decoder does not have, or a context that the
 *   model does not have.
 */
export async function exportCachedOnnx(model: QuantizedModel, options: CachedOnnxOptions = {}): Promise<Graph> {
  const { config } = model;
  const context = checkedTokens(config, options.context ?? Math.min(4096, config.maxPositions), 'context');
  const { keepLogits = false } = options;
  const { weights } = model;
  const types = {
    embedding: await floatType(weights, 'model.embed_tokens.weight'),
    head: await floatType(weights, headName(weights)),
  };
  const [first, second] = sizesFor(config).map((size) => tracedAt(model, size, keepLogits, types)) as [Graph, Graph];
  const caches = cachesOf(config);
  const past = new Set(caches.map(({ layer, part }) => pastName(layer, part)));
  const decoder = integerCaches(anySize(first, second), past);

  const assembly = new Assembly();
  const positions = drawPositions(assembly, config, context);
  const batch = assembly.constant('cache.batch', 'int64', [1], [0]);
  const shape = (entries: string) => [1, config.kvHeads, entries, config.headDim];
  const typeOf = (list: readonly ValueInfo[], name: string) => list.find((value) => value.name === name)?.type;
  const pastInputs = caches.map(({ layer, part }): ValueInfo => {
    const [name, own] = [cacheName('past_key_values', layer, part), pastName(layer, part)];
    const type = typeOf(decoder.inputs, own) as ElementType;
    assembly.node('Squeeze', [name, batch], { name: own, type, shape: shape(PAST).slice(1) });
    return { name, type, shape: shape(PAST) };
  });
  const kept = keepLogits ? [{ name: 'num_logits_to_keep', type: 'int64', shape: [] } as const] : [];
  if (keepLogits) drawStart(assembly);
  assembly.append(decoder, (name) => (name === 'logits' ? LOGITS : name));
  const [, ...presents] = decoder.outputs;
  const logits: ValueInfo = { name: 'logits', type: 'float32', shape: [1, keepLogits ? '' : SEQUENCE, config.vocab] };
  assembly.node('Unsqueeze', [LOGITS, batch], logits);
  const presentOutputs = caches.map(({ layer, part }, i): ValueInfo => {
    const { name, type } = presents[i] as ValueInfo;
    const output: ValueInfo = { name: cacheName('present', layer, part), type, shape: shape(TOTAL) };
    assembly.node('Unsqueeze', [name, batch], output);
    return output;
  });
  return standardOperators(
    assembly.graph('mobilequant', [...positions, ...kept, ...pastInputs], [logits, ...presentOutputs]),
  );
}

const PAST = 'past_sequence_length';
const ROWS = 'text.rows'; // where the head begins
const LOGITS = 'text.logits'; // without the axis of the batch

const cachesOf = ({ layers }: Pick<DecoderConfig, 'layers'>): { layer: number; part: CachePart }[] =>
  Array.from({ length: layers }, (_, layer) => CACHE_PARTS.map((part) => ({ layer, part }))).flat();

interface Size {
  readonly tokens: number;
  readonly past: number;
}

/**
 * Two sizes to trace at. What depends on them must not be what something else is by chance: equal shapes are one constant in a trace, so
 * that its nodes would be others (and `anySize` would refuse them).
 */
function sizesFor({ hidden, ffn, heads, kvHeads, headDim, rotaryDim, vocab, prefix }: DecoderConfig): Size[] {
  const fixed = [hidden, ffn, heads, kvHeads, headDim, rotaryDim, vocab, heads * headDim, kvHeads * headDim];
  const rows = [...new Set([1, heads / kvHeads, kvHeads, heads])];
  const entries = [...new Set([0, prefix.length])];
  const found: Size[] = [];
  for (let tokens = 11; found.length < 2; tokens += 2) {
    const past = 7 * tokens + 4;
    const varying = [...rows.map((each) => each * tokens), ...entries.flatMap((n) => [n + past, n + past + tokens])];
    const all = [...varying, ...new Set(fixed)];
    if (new Set(all).size === all.length) found.push({ tokens, past });
  }
  return found;
}

/** The decoder at a size: ids, what positions say and caches → logits and caches. */
function tracedAt(
  model: QuantizedModel,
  { tokens, past }: Size,
  keepLogits: boolean,
  types: Readonly<Record<'embedding' | 'head', 'float16' | 'float32'>>,
): Graph {
  const { config } = model;
  const assembly = new DecoderAssembly(model, {
    tokens,
    past,
    cachedPrefix: false,
    queryChunk: 0,
    castInt4: true,
    context: 'inputs',
    caches: true,
  });
  let x = assembly.embed(IDS, types.embedding);
  for (let layer = 0; layer < config.layers; layer++) x = assembly.block(layer, x);
  assembly.head(keepLogits ? assembly.rowsFrom(x, ROWS) : x, types.head);
  assembly.checkSites();

  const float = (name: string, ...shape: number[]): ValueInfo => ({ name, type: 'float32', shape });
  const cache = (name: string, entries: number) => float(name, config.kvHeads, entries, config.headDim);
  const positional = layerKinds(config).flatMap(({ names: { cos, sin, mask } }) => [
    float(cos, tokens, config.headDim),
    float(sin, tokens, config.headDim),
    float(mask, 1, tokens, config.prefix.length + past + tokens),
  ]);
  return assembly.graph(
    [
      { name: IDS, type: 'int64', shape: [tokens] },
      ...(keepLogits ? [{ name: ROWS, type: 'int64', shape: [1] } as const] : []),
      ...positional,
      ...cachesOf(config).map(({ layer, part }) => cache(pastName(layer, part), past)),
    ],
    [
      float('logits', tokens, config.vocab),
      ...cachesOf(config).map(({ layer, part }) => cache(presentName(layer, part), past + tokens)),
    ],
  );
}

/** The row from which logits are wanted: counted from the end, and 0, the first, for all. */
function drawStart(assembly: Assembly): void {
  const one = assembly.constant('text.single', 'int64', [1], [1]);
  const int64 = { type: 'int64', shape: [1] } as const;
  const count = assembly.node('Reshape', ['num_logits_to_keep', one], { name: 'text.kept', ...int64 });
  assembly.node('Neg', [count], { name: ROWS, ...int64 });
}
