/**
 * An exported graph as a language model, so that it can be measured and talked to like any other.
 */
import type { LanguageModel } from '@mobilequant/core';
import type { Graph, ValueInfo } from '@mobilequant/graph';
import type { Runtime, RuntimeOptions, Value } from '@mobilequant/tracer';
import { ExportError } from './errors.ts';
import { unpackedForm } from './integer-kernels.ts';

export interface IntegerModelOptions {
  /**
   * The graph's file (its path, or bytes), to be run as it is by ONNX Runtime's own fusions, as other programs do. They
   * round some sums again, so that a value may differ by a step. By default the graph is run in its {@link integerForm},
   * whose numbers are those of the simulated model.
   */
  readonly file?: string | Uint8Array;
}

/**
 * Runs an exported graph (`exportOnnx`, or read from its file). It takes texts of up to its length: shorter ones are padded
 * on the right, which causal attention does not see.
 *
 * @throws ExportError when the graph does not map `input_ids` `[tokens]` to `logits` `[tokens, vocab]`.
 */
export async function integerModel(
  runtime: Runtime,
  graph: Graph,
  { file }: IntegerModelOptions = {},
): Promise<LanguageModel> {
  const [length] = shapeOf(graph.inputs, 'input_ids', 1) as [number];
  const [, vocab] = shapeOf(graph.outputs, 'logits', 2) as [number, number];
  const program = file === undefined ? await runtime.compile(unpackedForm(graph)) : await runtime.load(file, FUSED);

  const logits = async (tokens: Int32Array): Promise<Float32Array> => {
    if (tokens.length > length) {
      throw new ExportError(
        'input_ids',
        `at most ${length} tokens`,
        `${tokens.length}`,
        'Export the model with more `tokens`.',
      );
    }
    const padded = new Int32Array(length);
    padded.set(tokens);
    const results = (await program.run({ input_ids: { data: padded, shape: [length] } })) as { logits: Value };
    return (results.logits.data as Float32Array).subarray(0, tokens.length * vocab);
  };
  return {
    vocab,
    logits,
    async negativeLogLikelihood(tokens) {
      const all = await logits(tokens);
      return Float32Array.from({ length: tokens.length - 1 }, (_, i) =>
        surprise(all.subarray(i * vocab, (i + 1) * vocab), tokens[i + 1] as number),
      );
    },
    release: () => program.release(),
  };
}

/** ONNX Runtime's own way with QuantizeLinear and DequantizeLinear. */
export const FUSED: RuntimeOptions = { optimization: 'all', fuseQuantization: true };

/** `-log softmax(logits)[target]` */
function surprise(logits: Float32Array, target: number): number {
  const top = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - top);
  return top + Math.log(sum) - (logits[target] as number);
}

function shapeOf(values: readonly ValueInfo[], name: string, rank: number): readonly number[] {
  const shape = values.find((value) => value.name === name)?.shape;
  if (shape?.length === rank && shape.every((size) => typeof size === 'number')) return shape as readonly number[];
  throw new ExportError(
    name,
    `static sizes, ${rank} of them`,
    shape ? `[${shape.join(', ')}]` : 'no such value',
    'Give a graph that exportOnnx made.',
  );
}
