/**
 * Any ONNX file that maps token ids to logits as a language model, whoever exported it, so that it can be measured beside ours.
 *
 *     input_ids                       [tokens] or [1, tokens]; a fixed length is filled up on the right
 *     attention_mask, position_ids    where the file wants them: ones, and 0, 1, …
 *     past_key_values.*               empty
 *     num_logits_to_keep              0, for all
 *     logits                          [tokens, vocab] or [1, tokens, vocab], float32
 */
import type { LanguageModel } from '@mobilequant/core';
import type { InputType, Runtime, TensorData, Value, Values } from '@mobilequant/tracer';
import { emptyCache } from './empty-cache.ts';
import { ExportError } from './errors.ts';
import { FUSED } from './integer-model.ts';

/**
 * Loads a file (its path, or bytes).
 *
 * @throws ExportError when the file has other inputs than these, or no `logits`.
 */
export async function onnxModel(runtime: Runtime, file: string | Uint8Array): Promise<LanguageModel> {
  const program = await runtime.load(file, FUSED);
  const ids = program.inputTypes?.get('input_ids');
  const size = ids?.shape.at(-1);
  const wanted = 'input_ids, attention_mask, position_ids, num_logits_to_keep and past_key_values.*';
  const other = program.inputs.find(
    (name) => !/^(input_ids|attention_mask|position_ids|num_logits_to_keep|past_key_values\..+)$/.test(name),
  );
  if (!ids || size === undefined || other !== undefined)
    throw new ExportError(
      'inputs',
      wanted,
      other ?? program.inputs.join(', '),
      'Export the model for plain inference.',
    );
  if (!program.outputs.includes('logits'))
    throw new ExportError('outputs', 'logits', program.outputs.join(', '), 'Export the model with its head.');

  /** All of the file's logits for a text, `[tokens or more, vocab]`. */
  const run = async (tokens: Int32Array): Promise<Value> => {
    const length = typeof size === 'number' ? size : tokens.length;
    if (tokens.length > length) {
      const advice = 'Export the model for longer texts.';
      throw new ExportError('input_ids', `at most ${length} tokens`, `${tokens.length}`, advice);
    }
    const feeds: Values = Object.fromEntries(
      program.inputs.map((name) => [name, inputOf(name, program.inputTypes?.get(name) ?? ids, tokens, length)]),
    );
    const { logits } = await program.run(feeds);
    if (logits?.data instanceof Float32Array) return logits;
    const received = logits ? logits.data.constructor.name : 'none';
    throw new ExportError('logits', 'float32', received, 'Export the model with float32 logits.');
  };
  const vocab = (await run(Int32Array.of(0))).shape.at(-1) as number;
  return {
    vocab,
    logits: async (tokens) => ((await run(tokens)).data as Float32Array).subarray(0, tokens.length * vocab),
    release: () => program.release(),
  };
}

/** What one of the inputs is given for a text. */
function inputOf(name: string, input: InputType, tokens: Int32Array, length: number): Value {
  if (name.startsWith('past_key_values.')) return emptyCache(name, input.type, input.shape);
  if (name === 'num_logits_to_keep')
    return { data: numbers(name, input.type, 1, () => 0), shape: input.shape as number[] };
  const values = {
    input_ids: (i: number) => tokens[i] ?? 0,
    attention_mask: (i: number) => (i < tokens.length ? 1 : 0),
    position_ids: (i: number) => i,
  }[name] as (i: number) => number;
  const shape = input.shape.length === 1 ? [length] : [1, length];
  return { data: numbers(name, input.type, length, values), shape };
}

function numbers(name: string, type: string, length: number, value: (i: number) => number): TensorData {
  if (type === 'int64') return BigInt64Array.from({ length }, (_, i) => BigInt(value(i)));
  if (type === 'int32') return Int32Array.from({ length }, (_, i) => value(i));
  if (type === 'float32') return Float32Array.from({ length }, (_, i) => value(i));
  throw new ExportError(name, 'int64, int32 or float32', type, 'Export the model with such an input.');
}
