/** One block of SmolLM2-135M's size with random weights, and everything to quantize and train it. */
import {
  collectStatistics,
  defaultTargets,
  type LayerPrograms,
  layerPrograms,
  rangesOf,
  withKnownRanges,
} from '@mobilequant/calibration';
import { type DecoderConfig, decoderConfig, type Weights, weightsFrom } from '@mobilequant/core';
import { type RecipeName, recipes, resolveRecipe } from '@mobilequant/quantizer';
import type { Executor, Runtime } from '@mobilequant/tracer';
import { bell, random } from './measure.ts';

/** SmolLM2-135M's dimensions. */
export const SMOLLM2: DecoderConfig = decoderConfig({
  layers: 1,
  hidden: 576,
  ffn: 1536,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  vocab: 256,
  maxPositions: 2048,
  normEpsilon: 1e-5,
  norm: 'l2',
  finalNorm: 'epsilon',
  scoreScale: 'explicit',
  activation: 'silu',
  rope: { theta: 10000 },
  tiedEmbeddings: true,
});

/** The linears of a block, `[out, in]`. */
export function linearShapes({
  hidden,
  ffn,
  heads,
  kvHeads,
  headDim,
}: DecoderConfig): Record<string, [number, number]> {
  return {
    'self_attn.q_proj': [heads * headDim, hidden],
    'self_attn.k_proj': [kvHeads * headDim, hidden],
    'self_attn.v_proj': [kvHeads * headDim, hidden],
    'self_attn.o_proj': [hidden, heads * headDim],
    'mlp.w1': [ffn, hidden],
    'mlp.w3': [ffn, hidden],
    'mlp.w2': [hidden, ffn],
  };
}

/** Seeded weights of the whole decoder. */
export function randomWeights(config: DecoderConfig, seed = 1): Weights {
  const next = random(seed);
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>();
  const ones = () => ({ shape: [config.hidden], data: new Float32Array(config.hidden).fill(1) });
  for (let layer = 0; layer < config.layers; layer++) {
    const name = (local: string) => `model.layers.${layer}.${local}.weight`;
    tensors.set(name('input_layernorm'), ones());
    tensors.set(name('post_attention_layernorm'), ones());
    for (const [module, shape] of Object.entries(linearShapes(config))) {
      tensors.set(name(module), { shape, data: bell(shape[0] * shape[1], 1.4 / Math.sqrt(shape[1]), next) });
    }
  }
  tensors.set('model.norm.weight', ones());
  tensors.set('model.embed_tokens.weight', {
    shape: [config.vocab, config.hidden],
    data: bell(config.vocab * config.hidden, 2, next),
  });
  return weightsFrom(tensors);
}

export interface BlockUnderTest {
  readonly programs: LayerPrograms;
  readonly sample: Int32Array;
  readonly weights: Weights;
}

/** The programs that learn a recipe end to end, on ranges of one random sample. */
export async function blockUnderTest(
  runtime: Runtime,
  config: DecoderConfig,
  tokens: number,
  recipeName: RecipeName,
  executor: Executor = runtime,
): Promise<BlockUnderTest> {
  const weights = randomWeights(config);
  const next = random(2);
  const sample = Int32Array.from({ length: tokens }, () => Math.floor(next() * config.vocab));
  const recipe = recipes[recipeName];
  const statistics = await collectStatistics(runtime, config, weights, [sample], { head: false });
  const ranges = withKnownRanges(rangesOf(statistics), recipe);
  const targets = defaultTargets('mobilequant');
  return {
    programs: layerPrograms(executor, { config, weights, recipe, resolve: resolveRecipe(recipe), ranges, targets }),
    sample,
    weights,
  };
}
