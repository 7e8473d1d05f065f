export type { Attribute, ElementType, Graph, Initializer, Node, TensorType, ValueInfo } from './graph.ts';
export { type DecodeOptions, DEFAULT_OPSET, dataOf, decodeModel, type EncodeOptions, encodeModel, type ExternalReference } from './serde.ts';

export { integerProducts } from './passes/integer-products.ts';
export { prune, type PruneOptions } from './passes/prune.ts';

export {
  byteLength,
  ELEMENT_TYPES,
  type Elements,
  elementCode,
  elementCount,
  elementSize,
  elementTypeOfCode,
  formatType,
  typedArrayOf,
} from './element-type.ts';
export { typesOf } from './types-of.ts';

export { type ErrorFacts, FormatError, GraphError } from './errors.ts';
