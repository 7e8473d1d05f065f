/**
 * How much the loss minds an error in what passes through a site: histograms of its values in which each counts as much as the square of
 * the loss's gradient there.
 *
 *     Σ g² (x - x̂)²        twice what rounding adds to the loss, to second order (the diagonal of the empirical Fisher matrix)
 *
 * A range that makes this smallest keeps rare values that matter and gives up frequent ones that do not.
 */
import type { Executor } from '@mobilequant/tracer';
import { type Histogram, mergeHistograms, weightedHistogramOf } from './histogram.ts';
import { type GradientsInput, lossGradients } from './loss-gradients.ts';
import type { OnProgress } from './progress.ts';

/**
 * Full site name → its values, each counted as the square of its gradient.
 *
 * @throws NonFiniteError when a value is NaN or infinite; what `onProgress` throws, to stop it.
 */
export async function collectSensitivities(
  executor: Executor,
  input: GradientsInput,
  options: { readonly onProgress?: OnProgress } = {},
): Promise<ReadonlyMap<string, Histogram>> {
  const found = new Map<string, Histogram>();
  await lossGradients(
    executor,
    input,
    ({ site, value, gradient }) => {
      const squares = (gradient.data as Float32Array).map((g) => g * g);
      const fresh = weightedHistogramOf(value.data as Float32Array, squares, site);
      const known = found.get(site);
      found.set(site, known ? mergeHistograms(known, fresh) : fresh);
    },
    options,
  );
  return found;
}
