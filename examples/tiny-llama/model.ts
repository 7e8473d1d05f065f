/**
 * The llama as a function of its parameters: shapes, a random start, and one graph of loss and gradients.
 *
 * The block, the head and the loss are those of `@mobilequant/core`; tfjs derives the gradients, and the tracer makes one ONNX graph of it all.
 */
import { block, contextValues, type DecoderConfig, negativeLogLikelihood, specsOf } from '@mobilequant/core';
import { type Program, type Runtime, trace, type Value } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import type { Random } from './random.ts';

export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Name → tensor; linear weights are `[out, in]`. */
export type Parameters = ReadonlyMap<string, Tensor>;

const EMBEDDING = 'model.embed_tokens.weight';
const FINAL_NORM = 'model.norm.weight';

/** Names and shapes of all parameters of a model with tied embeddings. */
export function parameterShapes(config: DecoderConfig): Map<string, number[]> {
  const { hidden, ffn, heads, kvHeads, headDim } = config;
  const shapes = new Map([[EMBEDDING, [config.vocab, hidden]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [name, shape] of [
      ['input_layernorm', [hidden]],
      ['self_attn.q_proj', [heads * headDim, hidden]],
      ['self_attn.k_proj', [kvHeads * headDim, hidden]],
      ['self_attn.v_proj', [kvHeads * headDim, hidden]],
      ['self_attn.o_proj', [hidden, heads * headDim]],
      ['post_attention_layernorm', [hidden]],
      ['mlp.w1', [ffn, hidden]],
      ['mlp.w3', [ffn, hidden]],
      ['mlp.w2', [hidden, ffn]],
    ] as const) {
      shapes.set(`model.layers.${layer}.${name}.weight`, [...shape]);
    }
  }
  return shapes.set(FINAL_NORM, [hidden]);
}

/** Norms start at 1, matrices normal with the width of their input; what adds to the residual stream starts smaller with depth. */
export function initialParameters(config: DecoderConfig, random: Random): Map<string, Tensor> {
  const start = (name: string, shape: readonly number[]): (() => number) => {
    if (shape.length === 1) return () => 1;
    const into = name.endsWith('o_proj.weight') || name.endsWith('w2.weight') ? 2 * config.layers : 1;
    const deviation = name === EMBEDDING ? 0.05 : Math.sqrt(1 / ((shape[1] as number) * into)) * 0.7;
    return () => deviation * random.normal();
  };
  return new Map(
    [...parameterShapes(config)].map(([name, shape]) => {
      const value = start(name, shape);
      return [name, { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, value) }];
    }),
  );
}

/** Mean loss over the tokens of a window, from tensors; the function that is traced and, with `tf.grads`, derived. */
export function meanLoss(
  config: DecoderConfig,
  parameters: Readonly<Record<string, tf.Tensor>>,
  inputs: Readonly<Record<'tokens' | 'targets' | 'cos' | 'sin' | 'mask', tf.Tensor>>,
): tf.Scalar {
  const get = (name: string): tf.Tensor => parameters[name] as tf.Tensor;
  let x: tf.Tensor = tf.gather(get(EMBEDDING), inputs.tokens as tf.Tensor1D);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    const own = Object.entries(parameters).flatMap(([name, tensor]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : [],
    );
    x = block(x, Object.fromEntries(own), inputs, config, { queryChunk: 128 }).x;
  }
  return tf.mean(
    negativeLogLikelihood(x, inputs.targets, { 'norm.weight': get(FINAL_NORM), 'head.weight': get(EMBEDDING) }, config),
  );
}

/** A window's loss and, if asked for, the gradient of every parameter. */
export interface LossProgram {
  /** @param window `tokens + 1` ids: each but the last is an input, each but the first a target. */
  run(
    parameters: Parameters,
    window: Int32Array,
  ): Promise<{ loss: number; gradients: ReadonlyMap<string, Float32Array> }>;
  release(): Promise<void>;
}

/** Compiles the loss over windows of `tokens` targets as one graph. */
export async function compileLoss(
  runtime: Runtime,
  config: DecoderConfig,
  tokens: number,
  gradients: boolean,
): Promise<LossProgram> {
  const shapes = parameterShapes(config);
  const names = [...shapes.keys()];
  const context = contextValues(config, tokens);
  const ids = { shape: [tokens], dtype: 'int32' } as const;
  const graph = trace(
    (inputs) => {
      const loss = (...tensors: tf.Tensor[]): tf.Scalar =>
        meanLoss(config, Object.fromEntries(names.map((name, i) => [name, tensors[i] as tf.Tensor])), inputs);
      const tensors = names.map((name) => inputs[name] as tf.Tensor);
      if (!gradients) return { loss: loss(...tensors) };
      const { value, grads } = tf.valueAndGrads(loss)(tensors);
      return {
        loss: value,
        ...Object.fromEntries(names.map((name, i) => [`gradient ${name}`, grads[i] as tf.Tensor])),
      };
    },
    { tokens: ids, targets: ids, ...specsOf(context), ...Object.fromEntries(shapes) },
    { name: 'loss' },
  );
  const program: Program = await runtime.compile(graph);
  return {
    async run(parameters, window) {
      const values = await program.run({
        ...Object.fromEntries(parameters),
        ...context,
        tokens: { data: window.subarray(0, tokens), shape: [tokens] },
        targets: { data: window.subarray(1), shape: [tokens] },
      });
      const data = (name: string): Float32Array => (values[name] as Value).data as Float32Array;
      return {
        loss: data('loss')[0] as number,
        gradients: new Map(gradients ? names.map((name) => [name, data(`gradient ${name}`)]) : []),
      };
    },
    release: () => program.release(),
  };
}
