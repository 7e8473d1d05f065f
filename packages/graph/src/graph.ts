/**
 * An ONNX graph as plain data. Protobuf is known to `serde.ts` alone; passes are functions `(graph) => graph`.
 */

export type ElementType =
  | 'float32'
  | 'float16'
  | 'float64'
  | 'uint8'
  | 'int8'
  | 'uint16'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint4'
  | 'int4'
  | 'bool';

export interface TensorType {
  readonly type: ElementType;
  /** Static dimensions; a string names a dimension that is known at run time. */
  readonly shape: readonly (number | string)[];
}

export interface ValueInfo extends TensorType {
  readonly name: string;
}

/** An integer is an ONNX INT (INTS), `{ float }` / `{ floats }` the other kind of number. */
export type Attribute =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly floats: readonly number[] };

export interface Node {
  /** Unique; by default the first output. */
  readonly name?: string;
  readonly op: string;
  /** '' for the ONNX domain. */
  readonly domain: string;
  /** '' for an optional input left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** Constant tensor. 4-bit types hold two elements a byte, the first in the low half. */
export interface Initializer extends ValueInfo {
  readonly shape: readonly number[];
  /** Little-endian bytes, or a function that makes them when they are written (large weights are never all in memory). */
  readonly data: Uint8Array | (() => Uint8Array | Promise<Uint8Array>);
}

export interface Graph {
  readonly name: string;
  /** Version of the ONNX operators that the nodes mean; default 21. */
  readonly opset?: number;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** In topological order. */
  readonly nodes: readonly Node[];
  readonly initializers: ReadonlyMap<string, Initializer>;
  /** Types of the values between nodes, as far as known. */
  readonly values: ReadonlyMap<string, TensorType>;
}
