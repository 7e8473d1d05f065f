/**
 * The tap of the deploy reading: at every encoded site it writes QuantizeLinear and DequantizeLinear.
 *
 * Scales, zero points and integer weights enter a trace as names without values (`SITE_scale`, `SITE_zero_point`,
 * `SITE_quantized`), so that one trace serves all layers of the same form; the values are added when the graph is assembled.
 */

import type { Tap } from '@mobilequant/core';
import type { Encoding } from '@mobilequant/quantizer';
import { lower, type Operand, type Recorder } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';
import { activationStorage, scaleShape, weightStorage } from './storage.ts';

/** A site that a trace passed. */
export interface TappedSite {
  /** Relative to the part, as the block calls it. */
  readonly site: string;
  /** Shape of the tensor there. */
  readonly shape: readonly number[];
  readonly weight: boolean;
}

export interface DeployTapOptions {
  /** The part's encodings by their name in the part. */
  readonly encodings: ReadonlyMap<string, Encoding>;
  /** Full name of a site, for errors. */
  readonly fullName: (site: string) => string;
  /** See `OnnxOptions.castInt4`. */
  readonly castInt4: boolean;
  /** Called once for every encoded site that is passed. */
  readonly onSite: (site: TappedSite) => void;
}

/** Writes the quantizers of one part. */
export function deployTap({ encodings, fullName, castInt4, onSite }: DeployTapOptions): Tap {
  const seen = new Set<string>();
  const write = (kernel: string, site: string, x: tf.Tensor, weight: boolean): tf.Tensor => {
    const encoding = encodings.get(site);
    if (!encoding) return x;
    if (!seen.has(site)) onSite({ site, shape: x.shape, weight });
    seen.add(site);
    const attributes = { site, title: fullName(site), encoding, castInt4 };
    return tf.engine().runKernel(kernel, { x }, attributes as unknown as tf.NamedAttrMap) as tf.Tensor;
  };
  return {
    activation: (site, x) => write('DeployActivation', site, x, false),
    weight: (site, w) => write('DeployWeight', site, w, true),
  };
}

interface Attributes {
  readonly site: string;
  readonly title: string;
  readonly encoding: Encoding;
  readonly castInt4: boolean;
}

lower<'x', Attributes>('DeployActivation', (r, { x }, { site, title, encoding }) => {
  const { type, clip } = activationStorage(title, encoding);
  const scale = r.declare(`${site}_scale`, [], 'float32');
  const zero = r.declare(`${site}_zero_point`, [], type);
  let q = r.emit('QuantizeLinear', [x, scale, zero], x.shape, type, { name: `${site}_quantized` });
  if (clip !== undefined) q = r.emit('Clip', [q, r.scalar(0, 'uint8'), r.scalar(clip, 'uint8')], x.shape, type);
  return r.emit('DequantizeLinear', [q, scale, zero], x.shape, 'float32', { name: site });
});

lower<'x', Attributes>('DeployWeight', (r, { x: { shape } }, { site, encoding, castInt4 }) => {
  const { type } = weightStorage(encoding);
  const cast = type === 'int4' && castInt4;
  const stored = r.declare(`${site}_quantized`, shape, type);
  const q = cast ? r.cast(stored, 'int8') : stored;
  const scales = scaleShape(encoding, shape);
  const scale = r.declare(`${site}_scale`, scales, 'float32');
  const zero = r.declare(`${site}_zero_point`, scales, q.type);
  return dequantizeWeight(r, [q, scale, zero], shape, encoding, `${site}_dequantized`);
});

function dequantizeWeight(
  r: Recorder,
  inputs: Operand[],
  shape: readonly number[],
  { spec }: Encoding,
  name: string,
): Operand {
  const { granularity } = spec;
  const attributes =
    granularity.kind === 'tensor'
      ? {}
      : granularity.kind === 'channel'
        ? { axis: 0 }
        : { axis: 1, block_size: granularity.size };
  return r.emit('DequantizeLinear', inputs, shape, 'float32', { attributes, name });
}
