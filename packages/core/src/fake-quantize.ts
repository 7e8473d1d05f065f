/**
 * Fake quantization as one tfjs kernel with a gradient of few passes.
 *
 *     z = clamp(round(offset), 0, Q),  Q = 2^bits - 1
 *     y = (clamp(round(x / scale) + z, 0, Q) - z) * scale
 *
 * The grid is unsigned; a symmetric quantizer has offset 2^(bits-1). Eager backends compute it by composition (below,
 * the readable definition); traced, it becomes QuantizeLinear and DequantizeLinear (`fake-quantize.lowering.ts`).
 *
 * Gradients are straight-through for the rounding; a clipped element passes its gradient to scale and offset instead:
 * inside, dy/dscale = (y - x)/scale; outside, dy/dscale = y/scale and dy/doffset = -scale (method of the reference, analytic form).
 */
import * as tf from '@tensorflow/tfjs';
import { registerComposite } from './register-composite.ts';

export interface FakeQuantizeAttributes {
  /** 2 to 16. */
  readonly bits: number;
  /** One scale and offset for everything (scalars), or one per row of a matrix (`[rows, 1]`). */
  readonly rows: boolean;
  /** Integers are stored signed (weights: faster integer products), otherwise unsigned. The grid is the same. */
  readonly signed: boolean;
  /** The range is never left and nothing about it is learned: the gradient is the identity. */
  readonly fixed: boolean;
  /** x ≥ 0 and offset 0: nothing clips below. */
  readonly nonnegative: boolean;
  /** The offset may lie outside the grid (the reference allows it for weights that are all of one sign). Slower. */
  readonly freeOffset: boolean;
  /** Names the result in a traced graph. */
  readonly name?: string | undefined;
}

const DEFAULTS: FakeQuantizeAttributes = {
  bits: 8,
  rows: false,
  signed: false,
  fixed: false,
  nonnegative: false,
  freeOffset: false,
};

type Inputs = Record<'x' | 'scale' | 'offset', tf.Tensor>;
type GradientInputs = Inputs & Record<'dy' | 'y', tf.Tensor>;

const run = (kernel: string, inputs: object, attributes: object): unknown =>
  tf.engine().runKernel(kernel, inputs as tf.NamedTensorMap, attributes as tf.NamedAttrMap);

/**
 * Rounds x onto a grid and back.
 *
 * @param x any shape; a matrix `[rows, columns]` when `rows` is set.
 * @param scale scalar, or `[rows, 1]`.
 * @param offset like scale; the zero point, not necessarily an integer yet.
 * @returns shape of x.
 */
export function fakeQuantize(
  x: tf.Tensor,
  scale: tf.Tensor,
  offset: tf.Tensor,
  attributes: Partial<FakeQuantizeAttributes> = {},
): tf.Tensor {
  return run('FakeQuantize', { x, scale, offset }, { ...DEFAULTS, ...attributes }) as tf.Tensor;
}

/** The integer zero point of an offset. */
function zeroPoint(offset: tf.Tensor, { bits, freeOffset }: FakeQuantizeAttributes): tf.Tensor {
  const rounded = tf.round(offset);
  return freeOffset ? rounded : tf.clipByValue(rounded, 0, 2 ** bits - 1);
}

function forward({ x, scale, offset }: Inputs, attributes: FakeQuantizeAttributes): tf.Tensor {
  const z = zeroPoint(offset, attributes);
  const q = tf.clipByValue(tf.add(tf.round(tf.div(x, scale)), z), 0, 2 ** attributes.bits - 1);
  return tf.mul(tf.sub(q, z), scale);
}

function backward({ dy, x, y, scale, offset }: GradientInputs, attributes: FakeQuantizeAttributes): tf.Tensor[] {
  const z = zeroPoint(offset, attributes);
  const q = tf.add(tf.round(tf.div(x, scale)), z);
  const inside = tf.logicalAnd(tf.greaterEqual(q, 0), tf.lessEqual(q, 2 ** attributes.bits - 1));
  const sum = (t: tf.Tensor) => (attributes.rows ? tf.sum(t, 1, true) : tf.sum(t));
  const dx = tf.mul(dy, tf.cast(inside, 'float32'));
  const clipped = tf.sub(dy, dx);
  const dscale = tf.div(tf.add(sum(tf.mul(dx, tf.sub(y, x))), sum(tf.mul(clipped, y))), scale);
  return [dx, dscale, tf.neg(tf.mul(scale, sum(clipped)))];
}

tf.registerGradient({
  kernelName: 'FakeQuantize',
  inputsToSave: ['x', 'scale', 'offset'],
  outputsToSave: [true],
  gradFunc: (dy, saved, attrs) => {
    const [x, scale, offset, y] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const attributes = attrs as unknown as FakeQuantizeAttributes;
    if (attributes.fixed)
      return { x: () => dy as tf.Tensor, scale: () => tf.zerosLike(scale), offset: () => tf.zerosLike(offset) };
    const gradients = run('FakeQuantizeGradient', { dy, x, y, scale, offset }, attributes);
    const [dx, dscale, doffset] = gradients as [tf.Tensor, tf.Tensor, tf.Tensor];
    return { x: () => dx, scale: () => dscale, offset: () => doffset };
  },
});

registerComposite<Inputs, FakeQuantizeAttributes>('FakeQuantize', forward);
registerComposite<GradientInputs, FakeQuantizeAttributes>('FakeQuantizeGradient', backward);
