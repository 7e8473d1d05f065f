/**
 * The deploy reading: the decoder that was trained and evaluated, as one graph of integers, tokens in and logits out.
 */
import { headName, type QuantizedModel } from '@mobilequant/core';
import type { Graph, ValueInfo } from '@mobilequant/graph';
import { checkedTokens, DecoderAssembly } from './decoder-assembly.ts';
import { floatType } from './float16.ts';
import { standardOperators } from './standard-operators.ts';

export interface OnnxOptions {
  /** Length of the text that the graph takes; shorter texts are padded on the right. Default 512, at most the model's. */
  readonly tokens?: number;
  /** Attend in blocks of so many queries: faster for long texts, more nodes. Default 0, all at once. */
  readonly queryChunk?: number;
  /**
   * Put a Cast from INT4 to INT8 between a 4-bit weight and its DequantizeLinear. ONNX Runtime folds it when it loads the
   * model and then multiplies in integers; without it the processor multiplies in float. Default true; other tools may
   * want the bare DequantizeLinear.
   */
  readonly castInt4?: boolean;
}

/**
 * A quantized model as an ONNX graph (opset 21, standard operators only): `input_ids` int32 `[tokens]` → `logits` float32
 * `[tokens, vocab]`.
 *
 * @throws ExportError for a site that ONNX cannot express, an encoding of a site that the decoder does not have, or a
 *   length that the model does not have.
 */
export async function exportOnnx(model: QuantizedModel, options: OnnxOptions = {}): Promise<Graph> {
  const { config, weights } = model;
  const tokens = checkedTokens(config, options.tokens ?? Math.min(512, config.maxPositions));
  const assembly = new DecoderAssembly(model, {
    tokens,
    queryChunk: options.queryChunk ?? 0,
    castInt4: options.castInt4 ?? true,
  });
  const inputs: ValueInfo[] = [{ name: 'input_ids', type: 'int32', shape: [tokens] }];

  let x = assembly.embed('input_ids', await floatType(weights, 'model.embed_tokens.weight'));
  for (let layer = 0; layer < config.layers; layer++) x = assembly.block(layer, x);
  assembly.head(x, await floatType(weights, headName(weights)));
  assembly.checkSites();
  return standardOperators(
    assembly.graph(inputs, [{ name: 'logits', type: 'float32', shape: [tokens, config.vocab] }]),
  );
}
