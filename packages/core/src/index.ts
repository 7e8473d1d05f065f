/** The unified decoder: its definition, its readings, and running it block by block. */
export { ConfigError, type DecoderConfig, parseConfig, type RopeConfig } from './config.ts';
export { block, type BlockContext, type BlockOptions, type BlockResult, type BlockWeights, type KeysValues } from './block.ts';
export { type HeadWeights, logits, negativeLogLikelihood } from './head.ts';
export { norm } from './norm.ts';
export { inverseFrequencies, rotate, type RopeTables, ropeTables, swapHalves } from './rope.ts';
export { rowDot, softmax } from './row-dot.ts';
export { floatTap, type Hint, type Tap } from './tap.ts';
export { fakeQuantize, type FakeQuantizeAttributes } from './fake-quantize.ts';
export { quantizeAs } from './quantize-as.ts';
export { floatReading, type Part, type Reading, scaleShape, simulatedReading, siteName } from './reading.ts';
export {
  causalMask,
  contextValues,
  createDecoder,
  type Decoder,
  type DecoderOptions,
  languageModel,
  MASKED,
  specsOf,
} from './decoder.ts';
export { deviceForm } from './device-form.ts';
export type { LanguageModel } from './language-model.ts';
export type { QuantizedModel } from './quantized-model.ts';
export { cachedWeights, headName, layerTensorNames, readLayer, rowsOf, type Weights, weightsFrom } from './weights.ts';
import './fake-quantize.lowering.ts';
