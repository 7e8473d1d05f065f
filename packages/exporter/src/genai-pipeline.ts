/**
 * What ONNX Runtime GenAI's pipelines need around the graphs of a device, as graphs for the processor. GenAI reads a text in parts of one
 * length, the last one filled up on the right, and keeps a cache of one size, which graphs take and write in one place:
 *
 *     …-inputs    token ids, how long the text is → what the device's graph takes, but for the cache
 *     cache       the cache, the new entries → the cache with these where they belong
 *     logits      integers → reals
 */
import type { DecoderConfig } from '@mobilequant/core';
import { elementCode, type Graph, type ValueInfo } from '@mobilequant/graph';
import { Assembly } from './assembly.ts';
import { CACHE_PARTS, pastName, presentName } from './decoder-assembly.ts';
import { type Grid, integerType } from './device-grid.ts';

/** The ids of a part of a text, `[1, tokens]`. Ids beyond the vocabulary fill up. */
const IDS = 'input_ids';

/** Index of the last token of a part, those that fill up counted, `[1, 1]`. GenAI gives it where it may give both of these. */
const LAST = 'past_sequence_length';
const TOTAL = 'total_sequence_length';

/** Their names by those that GenAI has for them. */
export const PIPELINE_INPUTS: Readonly<Record<string, string>> = {
  input_ids: IDS,
  past_sequence_length: LAST,
  total_sequence_length: TOTAL,
};

export const REAL_LOGITS = 'logits.real';

/** The cache with the new entries in it. */
export const writtenName: typeof pastName = (layer, part) => `written.${layer}.${part}`;

const TOKENS = 'tokens';
const ofText: readonly ValueInfo[] = [
  { name: LAST, type: 'int32', shape: [1, 1] },
  { name: TOTAL, type: 'int32', shape: [1] },
];

/** The graph that prepares a device's inputs, behind what GenAI gives: `past_length` is where the part begins, behind the prefix. */
export function pipelineInputs(inputs: Graph, { vocab, prefix }: Pick<DecoderConfig, 'vocab' | 'prefix'>): Graph {
  const tokens = inputs.inputs.find(({ name }) => name === IDS)?.shape[0] as number;
  const assembly = new Assembly();
  const list = assembly.constant('text.list', 'int64', [1], [-1]);
  const int32 = (name: string, size: number): ValueInfo => ({ name, type: 'int32', shape: [size] });
  const given = assembly.node('Reshape', [IDS, list], int32('text.given_ids', tokens));
  const last = assembly.constant('text.last_id', 'int32', [1], [vocab - 1]);
  const ids = assembly.node('Min', [given, last], int32('text.ids', tokens));
  const end = assembly.node('Reshape', [LAST, list], int32('text.end', 1));
  const back = assembly.constant('text.back', 'int32', [1], [prefix.length - (tokens - 1)]);
  const start = assembly.node('Add', [end, back], int32('text.start', 1));
  const names: Readonly<Record<string, string>> = { input_ids: ids, past_length: start };
  assembly.append(inputs, (name) => names[name] ?? name);
  return assembly.graph(inputs.name, [{ name: IDS, type: 'int32', shape: [1, tokens] }, ...ofText], inputs.outputs);
}

/** Puts new entries, `[kvHeads, tokens, headDim]`, into a cache, `[1, kvHeads, entries, headDim]`; of every layer, for any number of tokens. */
export function cacheGraph({ layers, kvHeads, headDim }: DecoderConfig, entries: number): Graph {
  const assembly = new Assembly();
  const int64 = (name: string, ...shape: ValueInfo['shape']): ValueInfo => ({ name, type: 'int64', shape });
  const constant = (name: string, shape: readonly number[], values: readonly number[]) =>
    assembly.constant(`cache.${name}_constant`, 'int64', shape, values);
  const [zero, one] = [constant('zero', [], [0]), constant('one', [], [1])];
  const scalar = constant('scalar', [0], []);

  const shape = assembly.node('Shape', [presentName(0, 'keys')], int64('cache.new_shape', 3));
  const count = assembly.node('Gather', [shape, one], int64('cache.tokens'), { axis: 0 });
  const steps = assembly.node('Range', [zero, count, one], int64('cache.steps', TOKENS));
  const end = assembly.node('Reshape', [LAST, scalar], { name: 'cache.end', type: 'int32', shape: [] });
  const last = assembly.node('Cast', [end], int64('cache.last'), { to: elementCode('int64') });
  const behind = assembly.node('Sub', [count, one], int64('cache.behind'));
  const start = assembly.node('Sub', [last, behind], int64('cache.start'));
  const places = assembly.node('Add', [steps, start], int64('cache.places', TOKENS));
  // Indices [kvHeads, tokens, 3]: of the batch, the head, the entry.
  const column = assembly.node(
    'Reshape',
    [places, constant('column', [3], [1, -1, 1])],
    int64('cache.column', 1, TOKENS, 1),
  );
  const ofEntry = assembly.node(
    'Mul',
    [column, constant('entry', [1, 1, 3], [0, 0, 1])],
    int64('cache.of_entry', 1, TOKENS, 3),
  );
  const heads = constant(
    'heads',
    [kvHeads, 1, 3],
    [...Array(kvHeads).keys()].flatMap((head) => [0, head, 0]),
  );
  const indices = assembly.node('Add', [heads, ofEntry], int64('cache.indices', kvHeads, TOKENS, 3));

  const values = (nameOf: typeof pastName, shape: ValueInfo['shape']): ValueInfo[] =>
    [...Array(layers).keys()].flatMap((layer) =>
      CACHE_PARTS.map((part): ValueInfo => ({ name: nameOf(layer, part), type: 'uint8', shape })),
    );
  const kept = [1, kvHeads, entries, headDim];
  const [past, added, written] = [
    values(pastName, kept),
    values(presentName, [kvHeads, TOKENS, headDim]),
    values(writtenName, kept),
  ];
  for (const [i, output] of written.entries())
    assembly.node('ScatterND', [past[i]?.name as string, indices, added[i]?.name as string], output);
  return assembly.graph('cache', [...ofText, ...past, ...added], written);
}

/** What the integers of logits are worth, `[tokens, vocab]` → `[1, tokens, vocab]`. */
export function logitsGraph({ vocab }: Pick<DecoderConfig, 'vocab'>, grid: Grid): Graph {
  const assembly = new Assembly();
  const scale = assembly.constant('logits_scale', 'float32', [], [grid.scale]);
  const zero = assembly.constant('logits_zero_point', integerType(grid), [], [grid.zeroPoint]);
  const batch = assembly.constant('logits.batch', 'int64', [1], [0]);
  const rows: ValueInfo = { name: 'logits.rows', type: 'float32', shape: [TOKENS, vocab] };
  assembly.node('DequantizeLinear', ['logits', scale, zero], rows);
  const output: ValueInfo = { name: REAL_LOGITS, type: 'float32', shape: [1, TOKENS, vocab] };
  assembly.node('Unsqueeze', [rows.name, batch], output);
  return assembly.graph('logits', [{ name: 'logits', type: integerType(grid), shape: [TOKENS, vocab] }], [output]);
}
