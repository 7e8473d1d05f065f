/**
 * In which floating-point type a model's tensors are stored: one that is asked for, or the one they have.
 *
 * To keep means to lose nothing. Where most of a checkpoint is of one 16-bit type, the rest goes into it too if it fits exactly, and
 * stays in float32 if it does not: norms that were added to, products of scales and integers from quantized files.
 */
import { type DType, fromFloat16, toFloat16 } from '@mobilequant/checkpoint';
import type { StoredFloat } from '@mobilequant/checkpoint/node';

export const DTYPES = ['keep', 'float32', 'float16', 'bfloat16'] as const;

export type DTypeChoice = (typeof DTYPES)[number];

/** Tensors with the types that they come in. */
export interface TypedTensors {
  names(): readonly string[];
  shape(name: string): readonly number[];
  dtype(name: string): DType;
  read(name: string): Promise<Float32Array>;
}

/** How each tensor is stored. */
export interface Storage {
  /** The type of most, and of the whole as the config says it. */
  readonly dtype: StoredFloat;
  /** Tensors that this type does not hold exactly; they are stored in float32. */
  readonly others: ReadonlySet<string>;
  /** Whether every value is stored as it is. */
  readonly exact: boolean;
}

/**
 * Chooses how tensors are stored. Tensors are read only to find out whether a type holds them.
 *
 * @param each is called before a tensor is read; what it throws ends the search.
 */
export async function chooseStorage(
  tensors: TypedTensors,
  choice: DTypeChoice,
  each: () => void = () => {},
): Promise<Storage> {
  if (choice !== 'keep') return { dtype: choice, others: new Set(), exact: isExact(tensors, choice) };
  const total = elementsIn(tensors, tensors.names());
  const dtype = mostCommon(tensors);
  const others = new Set<string>();
  if (dtype === 'float32') return { dtype, others, exact: isExact(tensors, dtype) };
  for (const name of tensors.names()) {
    // Quantized types of GGUF say float16, which holds their scales and not always the products.
    if (tensors.dtype(name) === dtype && dtype !== 'float16') continue;
    each();
    if (!holds(dtype, await tensors.read(name))) others.add(name);
    if (elementsIn(tensors, others) > total / 2) return { dtype: 'float32', others: new Set(), exact: true };
  }
  return { dtype, others, exact: true };
}

/** Whether a type is known to hold tensors exactly, by their types alone. */
const isExact = (tensors: TypedTensors, dtype: StoredFloat): boolean =>
  tensors.names().every((name) => {
    const own = tensors.dtype(name);
    return dtype === 'float32' ? own !== 'float64' : own === dtype && own !== 'float16';
  });

/** The type that most elements have, of those that can be stored. */
function mostCommon(tensors: TypedTensors): StoredFloat {
  const types = ['float32', 'bfloat16', 'float16'] as const;
  const counts = types.map((type) => {
    const own = (name: string) => (tensors.dtype(name) === 'float64' ? 'float32' : tensors.dtype(name));
    return elementsIn(
      tensors,
      tensors.names().filter((name) => own(name) === type),
    );
  });
  return types[counts.indexOf(Math.max(...counts))] as StoredFloat;
}

function elementsIn(tensors: TypedTensors, names: Iterable<string>): number {
  let sum = 0;
  for (const name of names) sum += tensors.shape(name).reduce((product, d) => product * d, 1);
  return sum;
}

const CHUNK = 1 << 20;

/** Whether a 16-bit type has every one of some values. */
export function holds(dtype: StoredFloat, values: Float32Array): boolean {
  if (dtype === 'float32') return true;
  if (dtype === 'bfloat16') {
    const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
    return words.every((word) => (word & 0xffff) === 0);
  }
  for (let start = 0; start < values.length; start += CHUNK) {
    const part = values.subarray(start, start + CHUNK);
    const back = fromFloat16(toFloat16(part).bits);
    if (!part.every((value, i) => Object.is(value, back[i]))) return false;
  }
  return true;
}
