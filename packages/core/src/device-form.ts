/**
 * The device form of a decoder: what an NPU would do at run time with constants is done to the weights once.
 *
 *     norms      x / ‖x‖ with sqrt(hidden) in the weight
 *     scores     q · kᵀ with 1/sqrt(headDim) in the query projection
 *
 * Each is a number that one tensor is multiplied by. Whatever is folded already stays as it is.
 */
import type { DecoderConfig } from './config.ts';
import type { Weights } from './weights.ts';

/**
 * The same float function as a model for devices, up to rounding; a norm with an epsilon loses it, which is the one real change
 * (the layers of a quantized model have none).
 */
export function deviceForm(config: DecoderConfig, weights: Weights): { config: DecoderConfig; weights: Weights } {
  const normFactor = (form: DecoderConfig['norm']): number => (form === 'l2-folded' ? 1 : Math.sqrt(config.hidden));
  const scoreFactor = config.scoreScale === 'folded' ? 1 : 1 / Math.sqrt(config.headDim);
  const factorOf = (name: string): number => {
    if (name === 'model.norm.weight') return normFactor(config.finalNorm);
    if (name.endsWith('layernorm.weight')) return normFactor(config.norm); // a bias is added behind the factor
    return /\.self_attn\.q_proj\.(weight|bias)$/.test(name) ? scoreFactor : 1;
  };
  return {
    config: { ...config, norm: 'l2-folded', finalNorm: 'l2-folded', scoreScale: 'folded' },
    weights: {
      names: () => weights.names(),
      has: (name) => weights.has(name),
      shape: (name) => weights.shape(name),
      readRows: (name, rows) => weights.readRows(name, rows),
      async read(name) {
        const factor = factorOf(name);
        const tensor = await weights.read(name);
        return factor === 1 ? tensor : tensor.map((w) => w * factor);
      },
    },
  };
}
