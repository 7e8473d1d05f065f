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
export { type ErrorFacts, FormatError, GraphError } from './errors.ts';
export { float16BitsToFloat32, float32ToFloat16Bits } from './float16.ts';
export type { Attribute, ElementType, Graph, Initializer, Node, TensorType, ValueInfo } from './graph.ts';
export { initializer, valuesOf } from './initializer.ts';
export { integerProducts } from './passes/integer-products.ts';
export { mergeCommon } from './passes/merge-common.ts';
export { type PruneOptions, prune } from './passes/prune.ts';
export { printGraph } from './print.ts';
export { producersOf } from './producers-of.ts';
export { type Pass, type RunPassesOptions, runPasses } from './run-passes.ts';
export {
  DEFAULT_OPSET,
  type DecodeOptions,
  dataOf,
  decodeModel,
  type EncodeOptions,
  type ExternalReference,
  encodeModel,
} from './serde.ts';
export { typesOf } from './types-of.ts';
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
