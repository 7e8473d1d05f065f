/**
 * The device form of a decoder: what an NPU would do at run time with constants is done to the weights once.
 *
 *     norms       x / ‖x‖ with sqrt(channels) in the weight
 *     scores      q · kᵀ with the score factor in the query projection, or in the queries' norm
 *     embedding   with its factor in the table; a tied head becomes a head of its own
 *
 * Each is a number that one tensor is multiplied by. Whatever is folded already stays as it is; LayerNorm has nothing to fold.
 */
import type { Encoding } from '@mobilequant/quantizer';
import type { DecoderConfig, NormForm } from './config.ts';
import type { FloatModel, QuantizedModel } from './quantized-model.ts';
import { headName, type Weights } from './weights.ts';

const EMBEDDING = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';

/**
 * The same float function as a model for devices, up to rounding; a norm with an epsilon loses it, which is the one real change
 * (the layers of a quantized model have none).
 */
export function deviceForm(config: DecoderConfig, weights: Weights): FloatModel {
  const { embeddingFactor } = config;
  const factorOf = weightFactors(config);
  const folded = (form: NormForm): NormForm => (form === 'layer' ? form : 'l2-folded');
  const untied = embeddingFactor !== 1 && !weights.has(HEAD);
  const names = untied ? [...weights.names(), HEAD] : weights.names();
  const sourceOf = (name: string): string => (name === HEAD ? headName(weights) : name);
  const scaled = (tensor: Float32Array, factor: number) => (factor === 1 ? tensor : tensor.map((w) => w * factor));
  return {
    config: {
      ...config,
      norm: folded(config.norm),
      finalNorm: folded(config.finalNorm),
      scoreScale: 'folded',
      embeddingFactor: 1,
      tiedEmbeddings: config.tiedEmbeddings && embeddingFactor === 1,
    },
    weights: {
      names: () => names,
      has: (name) => names.includes(name),
      shape: (name) => weights.shape(sourceOf(name)),
      readRows: async (name, rows) => scaled(await weights.readRows(sourceOf(name), rows), factorOf(name)),
      read: async (name) => scaled(await weights.read(sourceOf(name)), factorOf(name)),
    },
  };
}

/**
 * The same for a quantized model: where a tensor is multiplied, so are the scales of its grid, and of the sites that it leads to. Zero
 * points stay, and so does every integer.
 */
export function quantizedDeviceForm({ config, weights, encodings, recipe }: QuantizedModel): QuantizedModel {
  const factorOf = weightFactors(config);
  const scoreFactor = scoreFactorOf(config);
  const scored = ['self_attn.qk_bmm.input', 'self_attn.qk_bmm.output', 'self_attn.q_norm.output'];
  if (!config.queryKeyNorms) scored.push('self_attn.q_proj.output');
  const isScored = (site: string): boolean => scored.some((name) => site.endsWith(`.${name}`));
  const scaled = (encoding: Encoding, factor: number): Encoding =>
    factor === 1 ? encoding : { ...encoding, scale: encoding.scale.map((s) => s * factor) };
  return {
    ...deviceForm(config, weights),
    recipe,
    encodings: new Map(
      [...encodings].map(([site, encoding]) => [
        site,
        scaled(encoding, isScored(site) ? scoreFactor : site.endsWith('.weight') ? factorOf(site) : 1),
      ]),
    ),
  };
}

const scoreFactorOf = ({ scoreScale, scoreFactor }: DecoderConfig): number =>
  scoreScale === 'folded' ? 1 : scoreFactor;

/** What each tensor is multiplied by. */
function weightFactors(config: DecoderConfig): (name: string) => number {
  const { hidden, headDim, embeddingFactor, queryKeyNorms } = config;
  const scoreFactor = scoreFactorOf(config);
  const normFactor = (form: NormForm, channels: number): number =>
    form === 'l2-folded' || form === 'layer' ? 1 : Math.sqrt(channels);
  return (name) => {
    if (name === EMBEDDING) return embeddingFactor;
    if (name === 'model.norm.weight') return normFactor(config.finalNorm, hidden);
    if (name.endsWith('layernorm.weight')) return normFactor(config.norm, hidden); // a bias is added behind the factor
    if (name.endsWith('.q_norm.weight')) return normFactor(config.norm, headDim) * scoreFactor;
    if (name.endsWith('.q_norm.bias')) return scoreFactor;
    if (name.endsWith('.k_norm.weight')) return normFactor(config.norm, headDim);
    return !queryKeyNorms && /\.self_attn\.q_proj\.(weight|bias)$/.test(name) ? scoreFactor : 1;
  };
}
