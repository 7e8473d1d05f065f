import { encodeModel, type Graph, initializer, type Node, type ValueInfo } from '@mobilequant/graph';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { onnxModel } from './onnx-model.ts';

const [VOCAB, HEADS, SIZE] = [5, 2, 3];
const runtime = nodeRuntime();

const node = (op: string, inputs: string[], output: string, attributes: Node['attributes'] = {}): Node => ({
  op,
  domain: '',
  inputs,
  outputs: [output],
  attributes,
});

/** logits[t] = row of the token's own + position, as other programs export it: with a batch axis and int64 inputs. */
function graph(inputs: readonly ValueInfo[], nodes: readonly Node[] = []): Graph {
  const rows = Float32Array.from({ length: VOCAB * VOCAB }, (_, i) => Math.sin(i));
  return {
    name: 'foreign',
    inputs,
    outputs: [{ name: 'logits', type: 'float32', shape: [1, 'tokens', VOCAB] }],
    nodes: [node('Gather', ['rows', 'input_ids'], nodes.length > 0 ? 'own' : 'logits'), ...nodes],
    initializers: new Map([
      ['rows', initializer('rows', 'float32', [VOCAB, VOCAB], rows)],
      ['axes', initializer('axes', 'int64', [1], [2])],
    ]),
    values: new Map(),
  };
}

const int64 = (name: string, tokens: number | string = 'tokens'): ValueInfo => ({
  name,
  type: 'int64',
  shape: [1, tokens],
});
const row = (token: number, add = 0): number[] =>
  Array.from({ length: VOCAB }, (_, i) => expect.closeTo(Math.sin(token * VOCAB + i) + add, 5) as number);

describe('onnxModel', () => {
  test('gives the file what it wants: a mask, positions, an empty cache', async () => {
    const past: ValueInfo = { name: 'past_key_values.0.key', type: 'float32', shape: ['batch', HEADS, 'past', SIZE] };
    const positions = [
      node('Mul', ['position_ids', 'attention_mask'], 'seen'),
      node('Cast', ['seen'], 'places', { to: 1 }),
      node('Unsqueeze', ['places', 'axes'], 'column'),
      node('ReduceSum', ['past_key_values.0.key'], 'nothing', { keepdims: 0 }),
      node('Add', ['own', 'column'], 'placed'),
      node('Add', ['placed', 'nothing'], 'logits'),
    ];
    const inputs = [int64('input_ids'), int64('attention_mask'), int64('position_ids'), past];
    const model = await onnxModel(runtime, await encodeModel(graph(inputs, positions)));
    expect(model.vocab).toBe(VOCAB);
    expect(Array.from(await model.logits(Int32Array.of(3, 1, 3)))).toEqual([...row(3), ...row(1, 1), ...row(3, 2)]);
    await model.release?.();
  });

  test('fills up texts where the length is fixed', async () => {
    const model = await onnxModel(runtime, await encodeModel(graph([int64('input_ids', 4)])));
    expect(Array.from(await model.logits(Int32Array.of(2, 4)))).toEqual([...row(2), ...row(4)]);
    await expect(model.logits(new Int32Array(5))).rejects.toThrowError(
      'export: input_ids: expected at most 4 tokens, got 5. Export the model for longer texts.',
    );
  });

  test('another input is an error', async () => {
    const inputs = [int64('input_ids'), int64('pixels')];
    const use = [
      node('Cast', ['pixels'], 'seen', { to: 1 }),
      node('Unsqueeze', ['seen', 'axes'], 'column'),
      node('Add', ['own', 'column'], 'logits'),
    ];
    await expect(onnxModel(runtime, await encodeModel(graph(inputs, use)))).rejects.toThrowErrorMatchingInlineSnapshot(
      `[ExportError: export: inputs: expected input_ids, attention_mask, position_ids, num_logits_to_keep and past_key_values.*, got pixels. Export the model for plain inference.]`,
    );
  });
});
