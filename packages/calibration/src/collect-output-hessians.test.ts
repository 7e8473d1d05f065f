import { nodeRuntime } from '@mobilequant/tracer/node';
import { expect, test } from 'vitest';
import { architectures } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import { collectOutputHessians } from './collect-output-hessians.ts';
import { lossGradients } from './loss-gradients.ts';

const runtime = nodeRuntime();
const text = (first: number) => Int32Array.from({ length: 9 }, (_, i) => (5 * i + first * first) % 24);

test.each(architectures)('$name: sums the products of gradients over tokens and samples', async ({ config }) => {
  const weights = tinyWeights(config, 5);
  const samples = [text(1), text(2)];
  const expected = new Map<string, number[][]>();
  const asked = (site: string) => /(_proj|mlp\.w2)\.output$/.test(site);
  await lossGradients(runtime, { config, weights, samples, asked }, ({ site, gradient }) => {
    const [tokens, width] = gradient.shape as [number, number];
    const at = (t: number, i: number): number => gradient.data[t * width + i] as number;
    const sum = expected.get(site) ?? Array.from({ length: width }, () => new Array<number>(width).fill(0));
    for (const [i, row] of sum.entries())
      for (const j of row.keys()) for (let t = 0; t < tokens; t++) row[j] = (row[j] as number) + at(t, i) * at(t, j);
    expected.set(site, sum);
  });
  expect(expected.size).toBe(5 * config.layers);

  const found = await collectOutputHessians(runtime, { config, weights, samples });
  expect([...found.keys()].sort()).toEqual(
    [...expected.keys()].map((site) => site.replace('.output', '.weight')).sort(),
  );
  for (const [site, sum] of expected) {
    const { data, shape } = found.get(site.replace('.output', '.weight')) as { data: Float32Array; shape: number[] };
    expect(shape).toEqual([sum.length, sum.length]);
    const most = Math.max(...sum.flat());
    for (const [i, row] of sum.entries())
      for (let j = i; j < row.length; j++)
        expect(Math.abs((data[i * row.length + j] as number) - (row[j] as number)) / most).toBeLessThan(1e-5);
  }
  expect((await collectOutputHessians(runtime, { config, weights, samples: [] })).size).toBe(0);
});
