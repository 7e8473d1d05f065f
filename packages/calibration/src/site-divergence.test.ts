import { createDecoder, languageModel, simulatedReading } from '@mobilequant/core';
import { type Encoding, encodingFromRange, layerSites, type QuantizerSpec } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../test/architectures.ts';
import { tinyWeights } from '../test/tiny-layer.ts';
import type { Progress } from './progress.ts';
import { type SiteDivergenceInput, siteDivergence } from './site-divergence.ts';

const runtime = nodeRuntime();
const a4: QuantizerSpec = { bits: 4, symmetric: false, granularity: { kind: 'tensor' } };
const encoding = (range: number): Encoding => encodingFromRange({ min: -range, max: range }, a4).encoding;
const text = (first: number, length: number, vocab: number) =>
  Int32Array.from({ length }, (_, i) => (5 * i + first * i * i + first) % vocab);

/** KL(softmax(a) ‖ softmax(b)) of each row, added up, in float64. */
function kullbackLeibler(a: Float32Array, b: Float32Array, vocab: number): number {
  const logProbabilities = (logits: Float32Array, row: number): number[] => {
    const own = Array.from(logits.subarray(row * vocab, (row + 1) * vocab));
    const total = Math.log(own.reduce((sum, z) => sum + Math.exp(z), 0));
    return own.map((z) => z - total);
  };
  let sum = 0;
  for (let row = 0; row < a.length / vocab; row++) {
    const [p, q] = [logProbabilities(a, row), logProbabilities(b, row)];
    sum += p.reduce((own, log, i) => own + Math.exp(log) * (log - (q[i] as number)), 0);
  }
  return sum;
}

/** KL(float ‖ float with these sites rounded), of a token, from the logits of whole models. */
async function divergenceOf(
  { config, weights, samples }: Pick<SiteDivergenceInput, 'config' | 'weights' | 'samples'>,
  rounded: ReadonlyMap<string, Encoding>,
): Promise<number> {
  const logitsOf = (own: ReadonlyMap<string, Encoding>, sample: Int32Array) =>
    languageModel(createDecoder(runtime, config, weights, { reading: simulatedReading(own) })).logits(sample);
  let [sum, tokens] = [0, 0];
  for (const sample of samples) {
    sum += kullbackLeibler(await logitsOf(new Map(), sample), await logitsOf(rounded, sample), config.vocab);
    tokens += sample.length;
  }
  return sum / tokens;
}

describe.each(architectures)('the divergence in a $name model', ({ config }) => {
  const weights = tinyWeights(config, 5);
  const samples = [text(1, 9, config.vocab), text(2, 14, config.vocab)];
  const sites = [
    ...layerSites(config).map((site) => `model.layers.0.${site}`),
    ...layerSites(config).map((site) => `model.layers.1.${site}`),
    ...['model.norm.output', 'lm_head.weight', 'lm_head.output'],
  ];
  const encodings = new Map(sites.map((site) => [site, encoding(site.endsWith('output') ? 3 : 1.5)]));

  test('is that of the whole model with these sites rounded', async () => {
    const groups = [
      ['model.layers.0.mlp.w1.output'],
      ['model.layers.1.self_attn.qk_bmm.input2'],
      ['model.layers.1.input_layernorm.output', 'model.layers.0.input_layernorm.output'],
      ['model.layers.1.mlp.w2.weight', 'lm_head.output'],
      ['lm_head.weight', 'model.norm.output'],
    ];
    const found = await siteDivergence(runtime, { config, weights, encodings, samples, groups });
    for (const [i, group] of groups.entries()) {
      const own = new Map(group.map((site) => [site, encodings.get(site) as Encoding]));
      const wanted = await divergenceOf({ config, weights, samples }, own);
      expect(wanted).toBeGreaterThan(1e-5);
      expect(Math.abs((found[i] as number) - wanted)).toBeLessThan(1e-6 * (1 + wanted)); // logits in float32
    }
  });
});

describe('the divergence', () => {
  const config = architecture('llama');
  const weights = tinyWeights(config, 5);
  const samples = [text(1, 9, config.vocab)];
  const site = 'model.layers.0.mlp.w1.output';
  const input = { config, weights, samples, encodings: new Map([[site, encoding(3)]]) };

  test('of sites that stay in float is 0, to the bit', async () => {
    expect(await siteDivergence(runtime, { ...input, groups: [[]] })).toEqual([0]);
  });

  test('around which all is rounded is that of the model without the rounding of these sites', async () => {
    const others = ['model.layers.1.mlp.w2.weight', 'model.layers.1.input_layernorm.output', 'lm_head.output'];
    const encodings = new Map([site, ...others].map((name) => [name, encoding(3)]));
    const groups = [[site], others, []];
    const found = await siteDivergence(runtime, { ...input, encodings, groups }, { around: 'rounded' });
    for (const [i, group] of groups.entries()) {
      const own = new Map([...encodings].filter(([name]) => !group.includes(name)));
      const wanted = await divergenceOf(input, own);
      expect(wanted).toBeGreaterThan(1e-5);
      expect(Math.abs((found[i] as number) - wanted)).toBeLessThan(1e-6 * (1 + wanted));
    }
  });

  test('is the same in every order, and every time', async () => {
    const [alone] = await siteDivergence(runtime, { ...input, groups: [[site]] });
    expect(await siteDivergence(runtime, { ...input, groups: [[], [site], [site]] })).toEqual([0, alone, alone]);
  });

  test('says how far it is, and stops when told to', async () => {
    const seen: Progress[] = [];
    await siteDivergence(runtime, { ...input, groups: [[site]] }, { onProgress: (state) => seen.push(state) });
    expect(seen.map(({ done }) => done)).toEqual([1, 2, 3, 4, 5, 6]); // layer, layer, head; and again
    expect(new Set(seen.map(({ total }) => total))).toEqual(new Set([6]));

    const stop = new AbortController();
    const stopped = siteDivergence(
      runtime,
      { ...input, groups: [[site]] },
      { signal: stop.signal, onProgress: ({ done }) => done === 4 && stop.abort() },
    );
    await expect(stopped).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
  });

  test('refuses a site that is not rounded', async () => {
    const unknown = siteDivergence(runtime, { ...input, groups: [[site, 'model.layers.1.mlp.w1.output']] });
    await expect(unknown).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: siteDivergence: expected an encoding of 'model.layers.1.mlp.w1.output', got none. Name sites of the recipe.]`,
    );
  });
});
