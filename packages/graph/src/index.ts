export type { Attribute, ElementType, Graph, Initializer, Node, TensorType, ValueInfo } from './graph.ts';

export {
  type DecodeOptions,
  DEFAULT_OPSET,
  dataOf,
  decodeModel,
  type EncodeOptions,
  encodeModel,
  type ExternalReference,
} from './serde.ts';
export { printGraph } from './print.ts';
export {
  type GraphFacts,
  initializerRules,
  nodeRules,
  outputRules,
  type Rule,
  sourceRules,
  valueRules,
  verify,
} from './verify.ts';

export { integerProducts } from './passes/integer-products.ts';
export { mergeCommon } from './passes/merge-common.ts';
export { prune, type PruneOptions } from './passes/prune.ts';
export { type Pass, runPasses, type RunPassesOptions } from './run-passes.ts';

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
export { float16BitsToFloat32, float32ToFloat16Bits } from './float16.ts';
export { initializer, valuesOf } from './initializer.ts';
export { typesOf } from './types-of.ts';

export { type ErrorFacts, FormatError, GraphError } from './errors.ts';
