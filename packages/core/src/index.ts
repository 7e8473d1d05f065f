/** The unified decoder: its definition, its readings, and running it block by block. */

export {
  type BlockContext,
  type BlockOptions,
  type BlockResult,
  type BlockWeights,
  block,
  type KeysValues,
} from './block.ts';
export { checkedWeights, WeightsError } from './checked-weights.ts';
export { type CheckpointForm, fromCheckpoint, storedName, toCheckpoint, unifiedName } from './checkpoint-form.ts';
export {
  ConfigError,
  type DecoderConfig,
  type DecoderSizes,
  decoderConfig,
  isSliding,
  type NormForm,
  type RopeConfig,
  type SlidingAttention,
} from './config.ts';
export { causalMask, contextCache, contextValues, MASKED, specsOf } from './context.ts';
export { createDecoder, type Decoder, type DecoderOptions } from './decoder.ts';
export { decoderTensors, PREFIX_TENSORS, type TensorShape } from './decoder-tensors.ts';
export { type DerivedTensor, deriveWeights } from './derived-weights.ts';
export { deviceForm, quantizedDeviceForm } from './device-form.ts';
export { type FakeQuantizeAttributes, fakeQuantize } from './fake-quantize.ts';
export { type GenerateOptions, generate } from './generate.ts';
export { type HeadWeights, logits, negativeLogLikelihood } from './head.ts';
export { headRows } from './head-rows.ts';
export { type LanguageModel, languageModel, type TextReader } from './language-model.ts';
export { mulberry32 } from './mulberry32.ts';
export { norm } from './norm.ts';
export { checkpointForm, modelTypes, parseConfig } from './parse-config.ts';
export { withPrefix } from './prefix.ts';
export { quantizeAs } from './quantize-as.ts';
export type { FloatModel, QuantizedModel } from './quantized-model.ts';
export { floatReading, type Part, type Reading, scaleShape, simulatedReading, siteName } from './reading.ts';
export { inverseFrequencies, type RopeTables, ropeTables, rotate, swapHalves } from './rope.ts';
export { rowDot, softmax } from './row-dot.ts';
export { type SamplingOptions, sample } from './sample.ts';
export { floatTap, type Hint, type Tap } from './tap.ts';
export { type GrowingTree, growingTree, type TokenTree } from './token-tree.ts';
export {
  type CachedWeights,
  cachedWeights,
  embed,
  headName,
  headShapes,
  headTensors,
  layerShapes,
  layerTensorNames,
  readHead,
  readLayer,
  rowsOf,
  siteOfTensor,
  type Weights,
  weightsFrom,
} from './weights.ts';

import './fake-quantize.lowering.ts';
