/**
 * A graph with a cache as a language model: a text that was begun reads each of its tokens once.
 */
import type { LanguageModel, TextReader } from '@mobilequant/core';
import type { Graph } from '@mobilequant/graph';
import type { Runtime, Value, Values } from '@mobilequant/tracer';
import { tableName } from './cached-inputs.ts';
import { emptyCache } from './empty-cache.ts';
import { ExportError } from './errors.ts';
import { unpackedForm } from './integer-kernels.ts';
import { FUSED, type IntegerModelOptions } from './integer-model.ts';

/** Whether a graph is one of those that go on behind a cache: `exportCachedOnnx` made it. */
export const isCached = ({ inputs }: Pick<Graph, 'inputs'>): boolean =>
  inputs.some(({ name }) => name.startsWith('past_key_values.'));

/**
 * Runs a graph of `exportCachedOnnx`, as it was exported or in its `runtimeForm`. Texts have at most as many tokens as it has positions.
 *
 * @throws ExportError for a graph without caches.
 */
export async function cachedModel(
  runtime: Runtime,
  graph: Graph,
  { file }: IntegerModelOptions = {},
): Promise<LanguageModel> {
  const shapeOf = (name: string) =>
    [...graph.outputs, ...graph.initializers.values()].find((v) => v.name === name)?.shape;
  const vocab = shapeOf('logits')?.[2];
  const context = shapeOf(tableName('rotary.cos'))?.[0] ?? shapeOf(tableName('rotary.sliding.cos'))?.[0];
  if (!isCached(graph) || typeof vocab !== 'number' || typeof context !== 'number')
    throw new ExportError('graph', 'one that goes on behind a cache', 'another', 'Give a graph of exportCachedOnnx.');
  const program = file === undefined ? await runtime.compile(unpackedForm(graph)) : await runtime.load(file, FUSED);

  const empty = Object.fromEntries(
    graph.inputs.flatMap(({ name, type, shape }): [string, Value][] =>
      name.startsWith('past_key_values.') ? [[name, emptyCache(name, type, shape)]] : [],
    ),
  );
  /** Reads tokens behind so many others; keep: of how many logits are wanted, 0 for all. */
  const run = async (tokens: Int32Array, past: number, cache: Values, keep: number): Promise<Values> => {
    const total = past + tokens.length;
    if (total > context)
      throw new ExportError(
        'the text',
        `at most ${context} tokens`,
        `${total}`,
        'Export the model with more `context`.',
      );
    return program.run({
      ...cache,
      input_ids: { data: BigInt64Array.from(tokens, BigInt), shape: [1, tokens.length] },
      attention_mask: { data: new BigInt64Array(total).fill(1n), shape: [1, total] },
      num_logits_to_keep: { data: BigInt64Array.of(BigInt(keep)), shape: [] },
    });
  };

  const begin = (): TextReader => {
    let [cache, past]: [Values, number] = [empty, 0];
    return {
      async read(tokens) {
        if (tokens.length === 0) throw new ExportError('input_ids', 'at least one token', 'none', 'Give one.');
        const outputs = await run(tokens, past, cache, 1);
        const presents = Object.keys(empty).map((name): [string, Value] => [
          name,
          outputs[name.replace('past_key_values', 'present')] as Value,
        ]);
        [cache, past] = [Object.fromEntries(presents), past + tokens.length];
        return ((outputs['logits'] as Value).data as Float32Array).slice(-vocab);
      },
    };
  };
  return {
    vocab,
    logits: async (tokens) => ((await run(tokens, 0, empty, 0))['logits'] as Value).data as Float32Array,
    begin,
    release: () => program.release(),
  };
}
