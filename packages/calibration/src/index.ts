/** Finds the best equivalent model: statistics, SmoothQuant, LET, LWC, LRL, OmniQuant, MobileQuant. */
export {
  defaultRates,
  defaultTargets,
  learnAndFuse,
  type Method,
  type MethodInput,
  type MethodOptions,
  METHODS,
  type PreparedModel,
  type PrepareOptions,
  prepareModel,
  quantizeBy,
  quantizedForm,
  quantizePrepared,
} from './methods.ts';
export {
  type ChannelStatistics,
  collectStatistics,
  rangesOf,
  type SiteStatistics,
  type Statistics,
  type StatisticsOptions,
} from './statistics.ts';
export { smooth, type SmoothQuantOptions } from './smooth-quant.ts';
export { applyTransform, type ChannelScale, type LayerTransform, overQueryHeads, type TransformOptions } from './transform.ts';
export { type LayerScales, scaledWeights, type TransformLayer, viewWeights } from './transformed-weights.ts';
export { type FusedLayer, type Gradients, type LayerPrograms, layerPrograms, type LayerProgramsOptions, type LossResult } from './layer-programs.ts';
export {
  availablePairs,
  type Conventions,
  initialLearnables,
  type LayerLearnables,
  learnedRange,
  type LearningTargets,
  liftSmallScales,
  type Pair,
  type ParameterGroup,
  parameterGroup,
} from './learnables.ts';
export {
  InterruptedError,
  type Learned,
  type LearningInput,
  type LearningOptions,
  type LearningState,
  type LearningStore,
  type Session,
  startSession,
  StateMismatchError,
} from './learning.ts';
export { learnLayerWise } from './omni-quant.ts';
export { endToEndGradients, learnEndToEnd } from './mobile-quant.ts';
export { fuseLearned, type QuantizeInput, quantizeModel, type QuantizeResult, withKnownRanges } from './quantize-model.ts';
export { adamW, type AdamW, type AdamWOptions, type AdamWState, type Tree } from './adamw.ts';
export { type LearningRate, learningRateAt } from './schedule.ts';
export { type OnProgress, type Progress, progressOf } from './progress.ts';
