/**
 * The tap of a device: where it has an operator for what a module computes, that operator is written instead.
 *
 *     norm    weight · LpNormalization(x)                  of a model in device form (`l2-folded`)
 *     GELU    Gelu(x)
 *
 * A module's tap is shown what goes in, its weight, and what comes out; so it can compute the same from the first two and give that
 * back, and what the block computed leads nowhere and is pruned. The block itself stays as it is.
 */
import type { DecoderConfig, Tap } from '@mobilequant/core';
import { splitSite } from '@mobilequant/quantizer';
import { lower } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';

/** Wraps a tap that writes quantizers. */
export function deviceTap(tap: Tap, { activation: kind }: Pick<DecoderConfig, 'activation'>): Tap {
  const inputs = new Map<string, tf.Tensor>();
  const normWeights = new Map<string, tf.Tensor>();
  const computed = (module: string): tf.Tensor | undefined => {
    const x = inputs.get(module);
    const weight = normWeights.get(module);
    if (x && weight) return tf.mul(run('LpNormalization', x), weight);
    if (x && module === 'mlp.act_fn' && kind !== 'silu') return run('Gelu', x, { tanh: kind === 'gelu-tanh' });
    return undefined;
  };
  return {
    activation(site, x, hint) {
      const { module, port } = splitSite(site);
      const y = tap.activation(site, (port === 'output' && computed(module)) || x, hint);
      if (port === 'input') inputs.set(module, y);
      return y;
    },
    weight(site, w) {
      const y = tap.weight(site, w);
      if (w.rank === 1) normWeights.set(splitSite(site).module, y);
      return y;
    },
  };
}

const run = (kernel: string, x: tf.Tensor, attributes: tf.NamedAttrMap = {}): tf.Tensor =>
  tf.engine().runKernel(kernel, { x }, attributes) as tf.Tensor;

lower<'x'>('LpNormalization', (r, { x }) =>
  r.emit('LpNormalization', [x], x.shape, 'float32', { attributes: { axis: -1, p: 2 } }),
);

lower<'x', { tanh: boolean }>('Gelu', (r, { x }, { tanh }) =>
  r.emit('Gelu', [x], x.shape, 'float32', { attributes: { approximate: tanh ? 'tanh' : 'none' } }),
);
