/**
 * A prefix: a few tokens before every text that take upon themselves what attention puts on the first ones. They are run once, in float;
 * their keys and values become tensors of the layers, and whatever reads the weights has them (PrefixQuant, arXiv 2410.05265).
 */
import { type Executor, programCache } from '@mobilequant/tracer';
import { block } from './block.ts';
import type { DecoderConfig } from './config.ts';
import { contextValues, specsOf } from './context.ts';
import { PREFIX_TENSORS } from './decoder-tensors.ts';
import { type DerivedTensor, deriveWeights } from './derived-weights.ts';
import type { FloatModel } from './quantized-model.ts';
import { embed, layerShapes, readLayer, type Weights } from './weights.ts';

/** The model behind a prefix of tokens; one that it has already is replaced. */
export async function withPrefix(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  tokens: readonly number[],
): Promise<FloatModel> {
  const bare = { config: { ...config, prefix: [] }, weights: withoutPrefix(weights) };
  if (tokens.length === 0) return bare;
  const caches = await cachesOf(executor, bare.config, bare.weights, Int32Array.from(tokens));
  const shape = [config.kvHeads, tokens.length, config.headDim];
  const added = caches.flatMap((own, layer) =>
    PREFIX_TENSORS.map((name, i): [string, DerivedTensor] => [
      `model.layers.${layer}.${name}`,
      { shape, read: async () => own[i] as Float32Array },
    ]),
  );
  return { config: { ...config, prefix: [...tokens] }, weights: deriveWeights(bare.weights, new Map(added)) };
}

/** Keys and values of each layer, `[kvHeads, tokens, headDim]`. */
async function cachesOf(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  tokens: Int32Array,
): Promise<[keys: Float32Array, values: Float32Array][]> {
  const programs = programCache(executor);
  const caches: [Float32Array, Float32Array][] = [];
  let x = { data: (await embed(config, weights, tokens)).data, shape: [tokens.length, config.hidden] };
  for (let layer = 0; layer < config.layers; layer++) {
    const context = contextValues(config, tokens.length, 0, layer);
    const shapes = layerShapes(weights, layer);
    const program = await programs.program(
      JSON.stringify(shapes),
      () => ({ x: x.shape, ...specsOf(context), ...shapes }),
      (inputs) => {
        const { x: y, keys, values } = block(inputs.x, inputs, inputs, config);
        return { y, keys, values };
      },
    );
    const { y, keys, values } = await program.run({ ...context, ...(await readLayer(weights, layer)), x });
    caches.push([keys.data as Float32Array, values.data as Float32Array]);
    x = { data: y.data as Float32Array, shape: x.shape };
  }
  await programs.release();
  return caches;
}

function withoutPrefix(weights: Weights): Weights {
  const prefix = weights.names().filter((name) => PREFIX_TENSORS.some((tensor) => name.endsWith(tensor)));
  return prefix.length === 0 ? weights : deriveWeights(weights, new Map(), new Set(prefix));
}
