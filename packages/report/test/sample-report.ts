/** A report with every section, of made-up numbers, in which every text that can come from a file is hostile. */
import type { ModelFacts, ReportData, SiteRanges, SiteValues } from '../src/index.ts';

/** Markup, quotes, a mark that turns text around, half a character. */
export const HOSTILE = `</style><script>alert(1)</script>"'&<img src=x onerror=alert(1)>\u202e\ud800`;

const LAYERS = 30;
const SITES = [
  ['input_layernorm.input', 16],
  ['input_layernorm.output', 8],
  ['self_attn.q_proj.output', 8],
  ['self_attn.qk_bmm.input2', 8],
  ['self_attn.qk_bmm.output', 16],
  ['self_attn.pv_bmm.input', 16],
  ['self_attn.o_proj.output', 16],
  ['post_attention_layernorm.output', 8],
  ['mlp.w1.output', 8],
  ['mlp.w2.input', 8],
  ['mlp.w2.weight', 8],
] as const;

/** The same at every call; from 0 to 1. */
const noise = (a: number, b: number): number => (Math.sin(12.9898 * a + 78.233 * b) * 43758.5453 + 1e5) % 1;

const values = (of: (layer: number, site: number, bits: number) => number | null): SiteValues[] =>
  SITES.map(([site, bits], i) => ({ site, layers: Array.from({ length: LAYERS }, (_, layer) => of(layer, i, bits)) }));

const model = (name: string, ratio: number, more: Partial<ModelFacts> = {}): ModelFacts => ({
  name,
  source: 'smollm2',
  recipe: 'w8a8',
  method: 'best',
  options: [
    ['calibration', '32 × 512 tokens'],
    ['prefix', '1, 216'],
  ],
  score: {
    form: 'integer',
    perplexity: 29.06 * ratio,
    windows: 64,
    comparison: {
      with: 'reference',
      perplexity: 29.06,
      ratio,
      standardError: 0.00086,
      divergence: 1.5 * (ratio - 1),
      agreement: 1 - 10 * (ratio - 1),
    },
  },
  floatBytes: 652_020_480,
  bytes: 249_330_672,
  weights: [
    { bits: 8, bytes: 135_000_000 },
    { bits: 32, bytes: 114_330_672 },
  ],
  work: [
    { weightBits: 8, inputBits: 8, products: 96_000_000 },
    { weightBits: 8, inputBits: 16, products: 38_000_000 },
  ],
  ...more,
});

const tuning = (start: number, end: number) => ({
  step: 50,
  evaluations: Array.from({ length: 7 }, (_, i) => ({
    step: 10 * i,
    divergence: end + (start - end) * Math.exp(-i / 1.8) + (i === 6 ? 0.0004 : 0),
  })),
});

const ranges: SiteRanges[] = SITES.filter(([site]) => !site.endsWith('weight')).map(([site], i) => ({
  site,
  before: Array.from({ length: LAYERS }, (_, layer) => ({
    min: -(3 + 400 * noise(i, layer) ** 6 * (layer + 1)),
    max: 4 + 90 * noise(layer, i) ** 3,
  })),
  after: Array.from({ length: LAYERS }, (_, layer) =>
    site.includes('pv_bmm') ? { min: 0, max: 1 } : { min: -(2 + layer / 9), max: 3 + layer / 7 + noise(i, layer) },
  ),
}));

/** @param name of the model, its source and everything else that a file can say. */
export const sampleReport = (name = 'smollm2-w8a8'): ReportData => ({
  models: [
    model(name, 1.0058, { tuning: tuning(0.021, 0.0089), source: name === HOSTILE ? HOSTILE : 'smollm2' }),
    model(name === HOSTILE ? HOSTILE : 'smollm2-w4a8', 1.06, {
      recipe: 'w4a8',
      tuning: tuning(0.09, 0.052),
      bytes: 182_000_000,
      weights: [
        { bits: 4, bytes: 53_000_000 },
        { bits: 8, bytes: 15_000_000 },
        { bits: 32, bytes: 114_000_000 },
      ],
      work: [
        { weightBits: 4, inputBits: 8, products: 106_000_000 },
        { weightBits: 8, inputBits: 8, products: 28_000_000 },
      ],
    }),
  ],
  conditions: [`64 windows of 512 tokens of ${name === HOSTILE ? HOSTILE : 'test.raw'}.`],
  ranges,
  noise: {
    own: values((layer, i, bits) => (bits === 16 ? 84 : 38) - 10 * noise(layer, i) + layer / 9),
    total: values((layer, i) => 44 - layer / 2 - 5 * noise(i, layer)),
  },
  divergences: {
    whole: 0.0089,
    kinds: SITES.map(([site, bits], i) => ({
      site: name === HOSTILE && i === 0 ? HOSTILE : site,
      bits,
      alone: 0.003 * noise(i, 7) ** 4,
      spared: 0.0089 - 0.002 * noise(i, 7) ** 4,
    })),
    sites: {
      whole: 0.0089,
      alone: values((layer, i, bits) => (bits === 16 ? null : 3e-4 * noise(i, layer) ** 8)),
      spared: values((layer, i, bits) => (bits === 16 ? null : 0.0089 - 2e-4 * noise(layer, i) ** 8)),
    },
  },
  outliers: ['the original model', `the float form of ${name}`].map((of) => ({
    model: of,
    found: SITES.slice(0, 8).map(([site], i) => ({
      site: `model.layers.${i}.${site}`,
      channel: { index: 100 + i, largest: 4000 / (i + 1), median: 1.7 },
      token: {
        index: i,
        largest: 4000 / (i + 1),
        median: 20,
        before: 'the ',
        text: name === HOSTILE ? HOSTILE : ' Robert\n',
        after: ' Boulter is',
      },
    })),
  })),
  overrides: [
    {
      title: '16 bits for a twentieth of the work',
      why: 'Divergence of the sites alone 0.0041, of those that stay in 8 bits 0.0029.',
      file: 'w8a8-0.05.json',
      recipe: {
        name: name === HOSTILE ? HOSTILE : 'w8a8+0.05',
        extends: 'w8a8',
        rules: [{ site: 'model.layers.0.mlp.w2.input', spec: { bits: 16 } }],
      },
    },
  ],
  tool: 'mobilequant 0.0.0',
});
