/**
 * What errors in the outputs of a linear cost together: Σ gᵀg over tokens, g the loss's gradient in the outputs (their Fisher matrix).
 *
 *     Σ (g e xᵀ)²  ≈  tr(G e H eᵀ)        of an error e of the weight, where gradients and inputs x have little to do with each other (K-FAC)
 *
 * Errors of two outputs that the rest of the model takes for one may cancel, and those that it hardly looks at may be large.
 */
import { type DecoderConfig, siteName, type Weights } from '@mobilequant/core';
import type { Executor, Value } from '@mobilequant/tracer';
import { addInputs, emptyHessian } from './hessian.ts';
import { lossGradients } from './loss-gradients.ts';
import type { OnProgress } from './progress.ts';

/** The linears whose outputs are not many more than the model's channels, so that the matrices of all layers fit. */
const MODULES = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj', 'mlp.w2'] as const;

/**
 * Full site name of a linear's weight → G, `[out, out]`, of which the upper triangle is to be looked at.
 *
 * @param samples token ids, each a text of its own
 * @throws what `onProgress` throws, to stop it.
 */
export async function collectOutputHessians(
  executor: Executor,
  { config, weights, samples }: { config: DecoderConfig; weights: Weights; samples: readonly Int32Array[] },
  options: { readonly onProgress?: OnProgress } = {},
): Promise<ReadonlyMap<string, Value>> {
  const found = new Map<string, Value>();
  if (samples.length === 0) return found;
  const ofOutput = new Map<string, string>();
  for (let layer = 0; layer < config.layers; layer++)
    for (const module of MODULES)
      ofOutput.set(siteName(layer, `${module}.output`), siteName(layer, `${module}.weight`));
  await lossGradients(
    executor,
    { config, weights, samples, asked: (site) => ofOutput.has(site) },
    async ({ site, gradient }, programs) => {
      const weight = ofOutput.get(site) as string;
      const sum = found.get(weight) ?? emptyHessian(gradient.shape[1] as number);
      await addInputs(programs, sum, gradient);
      found.set(weight, sum);
    },
    options,
  );
  return found;
}
