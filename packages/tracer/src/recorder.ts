/**
 * Writes ONNX nodes, one call at a time, and keeps what later calls can reuse: equal nodes are written once,
 * reshapes of reshapes collapse, and values known to be filled with one number are remembered.
 */
import {
  type Attribute,
  type ElementType,
  elementCode,
  type Graph,
  type Initializer,
  type Node,
} from '@mobilequant/graph';

/** A value of the graph being recorded. */
export interface Operand {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: ElementType;
}

/** What a node gives back: its type, and what the recorder may know of it. */
interface Known {
  readonly shape: readonly number[];
  readonly type: ElementType;
  /** Every element has this value. */
  readonly splat?: number;
  /** The operand that was merely repeated to make this one. */
  readonly spreads?: Operand;
}

export interface EmitOptions {
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly domain?: string;
  /** The result's name in the graph; by default a fresh one. */
  readonly name?: string | undefined;
}

/** Element types that constants can have. */
export type ConstantType = 'float32' | 'int32' | 'bool' | 'uint8' | 'int8' | 'uint16' | 'int16' | 'int64';

const ARRAYS = {
  float32: Float32Array,
  int32: Int32Array,
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
};

/** The domain of ONNX Runtime's own operators. */
export const MICROSOFT = 'com.microsoft';

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);

export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, d) => size * d, 1);

/** The graph under construction; a `Lowering` writes into it. */
export class Recorder {
  readonly nodes: Node[] = [];
  readonly initializers: Map<string, Initializer> = new Map();
  readonly #known = new Map<string, Known>();
  readonly #producers = new Map<string, Node>();
  readonly #seen = new Map<string, readonly string[]>();
  #count = 0;

  fresh(prefix = 't'): string {
    let name: string;
    do name = `${prefix}${this.#count++}`;
    while (this.#known.has(name));
    return name;
  }

  has(name: string): boolean {
    return this.#known.has(name);
  }

  /** Makes a name known that no node produces: a graph input or a named initializer. */
  declare(name: string, shape: readonly number[], type: ElementType): Operand {
    this.#known.set(name, { shape, type });
    return { name, shape, type };
  }

  operand(name: string): Operand {
    const known = this.#known.get(name);
    if (!known) throw new Error(`recorder: expected a value named '${name}', got none.`);
    return { name, shape: known.shape, type: known.type };
  }

  splatOf(operand: Operand): number | undefined {
    return this.#known.get(operand.name)?.splat;
  }

  spreadOf(operand: Operand): Operand | undefined {
    return this.#known.get(operand.name)?.spreads;
  }

  /** One node with one output. */
  emit(
    op: string,
    inputs: readonly (Operand | null)[],
    shape: readonly number[],
    type: ElementType,
    options: EmitOptions = {},
  ): Operand {
    return this.emitMany(op, inputs, [{ shape, type }], options)[0] as Operand;
  }

  /** One node with several outputs. The same node with the same inputs is written once. */
  emitMany(
    op: string,
    inputs: readonly (Operand | null)[],
    results: readonly { readonly shape: readonly number[]; readonly type: ElementType }[],
    { attributes = {}, domain = '', name }: EmitOptions = {},
  ): Operand[] {
    const names = inputs.map((input) => input?.name ?? '');
    const key = `${domain}:${op}(${names})${JSON.stringify(attributes)}`;
    let outputs = this.#seen.get(key);
    if (!outputs) {
      // A site that is passed twice (chunks of attention) keeps its name for the first and numbers the rest.
      const wanted = name !== undefined && this.#known.has(name) ? this.fresh(`${name}.`) : name;
      outputs = results.map((_, i) => (i === 0 && wanted !== undefined ? wanted : this.fresh()));
      const node: Node = { op, domain, inputs: names, outputs, attributes };
      this.nodes.push(node);
      outputs.forEach((output, i) => {
        this.#known.set(output, results[i] as Known);
        this.#producers.set(output, node);
      });
      this.#seen.set(key, outputs);
    }
    return outputs.map((output) => this.operand(output));
  }

  /** An initializer; equal small constants share one. */
  constant(values: ArrayLike<number>, shape: readonly number[], type: ConstantType = 'float32'): Operand {
    const data = type === 'int64' ? BigInt64Array.from(Array.from(values, BigInt)) : ARRAYS[type].from(values);
    const key = data.length <= 64 ? `${type}|${shape}|${data}` : undefined;
    const seen = key === undefined ? undefined : this.#seen.get(key)?.[0];
    if (seen !== undefined) return this.operand(seen);
    const name = this.fresh('c');
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.initializers.set(name, { name, type, shape, data: bytes });
    const first = values[0];
    const filled = type === 'float32' && first !== undefined && data.every((value) => value === data[0]);
    this.#known.set(name, filled ? { shape, type, splat: Math.fround(first) } : { shape, type });
    if (key !== undefined) this.#seen.set(key, [name]);
    return { name, shape, type };
  }

  scalar(value: number, type: ConstantType = 'float32'): Operand {
    return this.constant([value], [], type);
  }

  /** A list of sizes or axes, as ONNX takes them. */
  ints(values: readonly number[]): Operand {
    return this.constant(values, [values.length], 'int64');
  }

  fill(value: number, shape: readonly number[], type: 'float32' | 'int32' | 'bool' = 'float32'): Operand {
    const one = this.scalar(value, type);
    if (shape.length === 0) return one;
    const filled = this.emit('Expand', [one, this.ints(shape)], shape, type);
    if (type === 'float32') this.#known.set(filled.name, { shape, type, splat: Math.fround(value) });
    return filled;
  }

  /** Repeats a value over a larger shape; consumers that broadcast by themselves use the original. */
  spread(operand: Operand, shape: readonly number[]): Operand {
    if (sameShape(operand.shape, shape)) return operand;
    const expanded = this.emit('Expand', [operand, this.ints(shape)], shape, operand.type);
    this.#known.set(expanded.name, { shape, type: operand.type, spreads: operand });
    return expanded;
  }

  reshape(operand: Operand, shape: readonly number[]): Operand {
    const producer = this.#producers.get(operand.name);
    const source = producer?.op === 'Reshape' ? this.operand(producer.inputs[0] as string) : operand;
    if (sameShape(source.shape, shape)) return source;
    return this.emit('Reshape', [source, this.ints(shape)], shape, operand.type);
  }

  cast(operand: Operand, type: ElementType): Operand {
    if (operand.type === type) return operand;
    return this.emit('Cast', [operand], operand.shape, type, { attributes: { to: elementCode(type) } });
  }

  /** Gives a value a second, public name. */
  output(name: string, value: Operand): Operand {
    this.nodes.push({ op: 'Identity', domain: '', inputs: [value.name], outputs: [name], attributes: {} });
    return this.declare(name, value.shape, value.type);
  }

  graph(name: string, inputs: readonly Operand[], outputs: readonly Operand[]): Graph {
    return { name, inputs, outputs, nodes: this.nodes, initializers: this.initializers, values: this.#known };
  }
}

/** The type of numbers that go with an operand's: whole ones with whole ones. */
export const numberType = ({ type }: Operand): 'int32' | 'float32' => (type === 'int32' ? 'int32' : 'float32');
