/**
 * How fake quantization is written as ONNX: QuantizeLinear and DequantizeLinear forward, few fused passes backward.
 *
 * 8 bits and fewer are held in 8-bit integers (fewer bits by a Clip on the bytes, which is far faster than ONNX's own
 * 4-bit types on a processor), 16 in uint16. Other widths and free offsets are written in float operations.
 * Sums of products are matrix products, so that nothing is stored and every thread takes part.
 */
import { fullDot, lower, type Operand, type Recorder, rowDot } from '@mobilequant/tracer';
import type { FakeQuantizeAttributes } from './fake-quantize.ts';

interface Grid {
  /** Largest integer of the unsigned grid. */
  readonly max: number;
  /** The zero point as a float on the unsigned grid, shape of scale. */
  readonly zero: Operand;
}

function gridOf(r: Recorder, offset: Operand, { bits, freeOffset }: FakeQuantizeAttributes): Grid {
  const max = 2 ** bits - 1;
  const rounded = r.emit('Round', [offset], offset.shape, 'float32');
  const zero = freeOffset ? rounded : r.emit('Clip', [rounded, r.scalar(0), r.scalar(max)], offset.shape, 'float32');
  return { max, zero };
}

lower<'x' | 'scale' | 'offset', FakeQuantizeAttributes>('FakeQuantize', (r, { x, scale, offset }, attributes) => {
  const grid = gridOf(r, offset, attributes);
  const { bits, freeOffset } = attributes;
  return freeOffset || (bits > 8 && bits < 16)
    ? inFloat(r, x, scale, grid, attributes)
    : inIntegers(r, x, scale, grid, attributes);
});

function inFloat(
  r: Recorder,
  x: Operand,
  scale: Operand,
  { max, zero }: Grid,
  { name }: FakeQuantizeAttributes,
): Operand {
  const same = (op: string, ...inputs: Operand[]) => r.emit(op, inputs, x.shape, 'float32');
  const steps = same('Add', same('Round', same('Div', x, scale)), zero);
  const centred = same('Sub', same('Clip', steps, r.scalar(0), r.scalar(max)), zero);
  return r.emit('Mul', [centred, scale], x.shape, 'float32', { name });
}

function inIntegers(r: Recorder, x: Operand, scale: Operand, grid: Grid, attributes: FakeQuantizeAttributes): Operand {
  const { bits, rows, signed, name } = attributes;
  const shift = signed && bits <= 8 ? 2 ** (bits - 1) : 0; // 16 bits are unsigned, weights too
  const type = bits > 8 ? 'uint16' : signed ? 'int8' : 'uint8';
  const flat = rows ? [x.shape[0] as number] : [];
  const zero = shift === 0 ? grid.zero : r.emit('Sub', [grid.zero, r.scalar(shift)], grid.zero.shape, 'float32');
  const integerZero = r.cast(r.reshape(zero, flat), type);
  const flatScale = r.reshape(scale, flat);
  const axis = rows ? { attributes: { axis: 0 } } : {};
  let q = r.emit('QuantizeLinear', [x, flatScale, integerZero], x.shape, type, axis);
  if (bits < 8) {
    const [low, high] = [r.scalar(-shift, type as 'int8'), r.scalar(grid.max - shift, type as 'int8')];
    q = r.emit('Clip', [q, low, high], x.shape, type);
  }
  return r.emit('DequantizeLinear', [q, flatScale, integerZero], x.shape, 'float32', { ...axis, name });
}

lower<'dy' | 'x' | 'y' | 'scale' | 'offset', FakeQuantizeAttributes>(
  'FakeQuantizeGradient',
  (r, { dy, x, y, scale, offset }, attributes) => {
    const { max, zero } = gridOf(r, offset, attributes);
    const { bits, rows, nonnegative } = attributes;
    const each = (op: string, ...inputs: Operand[]) => r.emit(op, inputs, x.shape, 'float32');
    const small = (op: string, ...inputs: Operand[]) => r.emit(op, inputs, scale.shape, 'float32');

    // x rounds into the grid exactly when it lies between these edges
    const edge = (steps: number) => small('Mul', small('Sub', r.scalar(steps), zero), scale);
    const below = r.emit('LessOrEqual', [x, edge(max + 0.5)], x.shape, 'bool');
    const inside = nonnegative
      ? below
      : r.emit('And', [r.emit('GreaterOrEqual', [x, edge(-0.5)], x.shape, 'bool'), below], x.shape, 'bool');
    const dx = each('Mul', dy, r.cast(inside, 'float32'));

    const dot = (a: Operand, b: Operand) =>
      rows ? rowDot(r, a, b, x.shape[0] as number, x.shape[1] as number) : fullDot(r, a, b);
    const axes = r.ints(rows ? [1] : x.shape.map((_, i) => i));
    const sum = (a: Operand) =>
      r.emit('ReduceSum', [a, axes], scale.shape, 'float32', { attributes: { keepdims: rows ? 1 : 0 } });

    // 16 bits: y - x is tiny beside x, so subtract before summing. 8 bits: two passes fewer, and exactly 0 where nothing clips.
    let dscale: Operand;
    let clipped: Operand;
    if (bits > 8) {
      const outside = each('Sub', dy, dx);
      dscale = small('Add', dot(dx, each('Sub', y, x)), dot(outside, y));
      clipped = sum(outside);
    } else {
      dscale = small('Sub', dot(dy, y), dot(dx, x));
      clipped = small('Sub', sum(dy), sum(dx));
    }
    return [dx, small('Div', dscale, scale), small('Neg', small('Mul', scale, clipped))]; // what nobody uses is pruned
  },
);
