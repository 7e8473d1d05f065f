/**
 * Fake quantization as a spec says: per tensor, per channel, per group.
 */

import type { QuantizerSpec } from '@mobilequant/quantizer';
import * as tf from '@tensorflow/tfjs';
import { type FakeQuantizeAttributes, fakeQuantize } from './fake-quantize.ts';

/**
 * @param x `[rows, columns]`, or any shape for a per-tensor spec
 * @param scale scalar or `[groups, 1]`, groups in row-major order
 * @param offset zero points on the unsigned grid, like scale
 */
export function quantizeAs(
  { bits, granularity }: QuantizerSpec,
  x: tf.Tensor,
  scale: tf.Tensor,
  offset: tf.Tensor,
  attributes: Partial<FakeQuantizeAttributes> = {},
): tf.Tensor {
  if (granularity.kind === 'tensor') return fakeQuantize(x, asScalar(scale), asScalar(offset), { ...attributes, bits });
  const rows = granularity.kind === 'channel' ? x : tf.reshape(x, [-1, granularity.size]);
  const column = [rows.shape[0] as number, 1];
  const y = fakeQuantize(rows, tf.reshape(scale, column), tf.reshape(offset, column), {
    ...attributes,
    bits,
    rows: true,
  });
  return granularity.kind === 'channel' ? y : tf.reshape(y, x.shape);
}

const asScalar = (x: tf.Tensor): tf.Tensor => (x.rank === 0 ? x : tf.reshape(x, []));
