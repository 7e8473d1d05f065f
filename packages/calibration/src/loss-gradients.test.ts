import { nodeRuntime } from '@mobilequant/tracer/node';
import { expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { lossGradients, type SiteGradient } from './loss-gradients.ts';

const SCORES = 'model.layers.1.self_attn.qk_bmm.output';
const PROBABILITIES = 'model.layers.1.self_attn.pv_bmm.input';

// dL/ds = p (dL/dp - Σ p dL/dp), row by row: values and gradients of one chunk of queries, and of no other.
test('scores and probabilities come in chunks of their queries, each with its own gradient', async () => {
  const config = { ...architecture('llama'), maxPositions: 200 };
  const weights = tinyWeights(config, 5);
  const sample = Int32Array.from({ length: 150 }, (_, i) => (5 * i + i * i) % config.vocab);
  const found: SiteGradient[] = [];
  const asked = (site: string) => site === SCORES || site === PROBABILITIES;
  await lossGradients(nodeRuntime(), { config, weights, samples: [sample], asked }, (own) => void found.push(own));

  const shapes = found.map(({ site, value }) => `${site === SCORES ? 's' : 'p'} ${value.shape}`).sort();
  expect(shapes).toEqual(['p 4,128,128', 'p 4,22,150', 's 4,128,128', 's 4,22,150']);
  for (const { site, value, gradient } of found) {
    expect(gradient.shape).toEqual(value.shape);
    if (site !== PROBABILITIES) continue;
    const scores = found.find((one) => one.site === SCORES && `${one.value.shape}` === `${value.shape}`);
    const [p, dp, ds] = [value, gradient, scores?.gradient].map((own) => own?.data as Float32Array);
    const keys = value.shape.at(-1) as number;
    const largest = Math.max(...(ds as Float32Array).map(Math.abs));
    expect(largest).toBeGreaterThan(0);
    for (let row = 0; row < (p as Float32Array).length; row += keys) {
      const [own, its] = [p?.subarray(row, row + keys) as Float32Array, dp?.subarray(row, row + keys) as Float32Array];
      expect(own.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 4);
      const mean = own.reduce((sum, x, i) => sum + x * (its[i] as number), 0);
      const wanted = own.map((x, i) => config.scoreFactor * x * ((its[i] as number) - mean));
      wanted.forEach((x, i) => expect(Math.abs(x - (ds?.[row + i] as number)) / largest).toBeLessThan(1e-4));
    }
  }
});
