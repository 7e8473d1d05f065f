/** Finds the best equivalent model: statistics, SmoothQuant, LET, LWC, LRL, OmniQuant, MobileQuant. */

export { type AdamW, type AdamWOptions, type AdamWState, adamW, type Tree } from './adamw.ts';
export { carryOut, observe, type PlanOptions, type PlanResult } from './carry-out.ts';
export { type CholeskyOptions, cholesky, type Panel } from './cholesky.ts';
export { clipByError } from './clip-by-error.ts';
export { collectHistograms, type HistogramOptions, type Histograms, type SiteHistogram } from './collect-histograms.ts';
export { collectOutliers, type Outliers, type Peak, type SiteOutliers } from './collect-outliers.ts';
export { collectOutputHessians } from './collect-output-hessians.ts';
export { collectSensitivities } from './collect-sensitivities.ts';
export { type DescendOptions, descend, type Levels } from './descend.ts';
export { foldNorms } from './fold-norms.ts';
export { type GptqInput, type GptqOptions, type GptqResult, gptq } from './gptq.ts';
export { hadamard } from './hadamard.ts';
export { addInputs, emptyHessian, type Feedback, type FeedbackOptions, feedbackOf, wholeHessian } from './hessian.ts';
export { type HiddenStream, hiddenStream, LAYER_END, type SiteValues } from './hidden-stream.ts';
export { binEdge, type Histogram, histogramOf, mergeHistograms, weightedHistogramOf } from './histogram.ts';
export {
  type FusedLayer,
  type Gradients,
  type LayerPrograms,
  type LayerProgramsOptions,
  type LossResult,
  layerPrograms,
} from './layer-programs.ts';
export {
  type LearnedRotation,
  type LearnRotationOptions,
  learnRotation,
  type RotationInput,
} from './learn-rotation.ts';
export {
  availablePairs,
  type Conventions,
  initialLearnables,
  type LayerLearnables,
  type LearningTargets,
  learnedRange,
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
  StateMismatchError,
  startSession,
} from './learning.ts';
export { type LinearWork, linearWork } from './linear-work.ts';
export { type GradientsInput, lossGradients, type SiteGradient } from './loss-gradients.ts';
export { addDrift, type Drift, makeUpForDrift, noDrift } from './make-up-for-drift.ts';
export {
  defaultRates,
  defaultTargets,
  learnAndFuse,
  METHODS,
  type Method,
  type MethodInput,
  type MethodOptions,
  observedForm,
  type PreparedModel,
  type PrepareOptions,
  prepareModel,
  quantizeBy,
  quantizedForm,
  quantizePrepared,
} from './methods.ts';
export { endToEndGradients, learnEndToEnd } from './mobile-quant.ts';
export {
  joinObservations,
  type Observation,
  ObservationError,
  type SampleShard,
} from './observation.ts';
export { type ObserveOptions, type Observer, observeModel } from './observe.ts';
export { learnLayerWise } from './omni-quant.ts';
export {
  movableDivergences,
  movableSites,
  type Placement,
  type PlacementInput,
  placePrecision,
  widenings,
} from './place-precision.ts';
export {
  type Plan,
  type PlanInput,
  PRESETS,
  type Preset,
  presetPlan,
  RANGE_CHOICES,
  type RangeChoice,
  ROUNDINGS,
  type Rounding,
  samplesForTuning,
  TRANSFORMS,
  type Transform,
} from './plan.ts';
export { type OnProgress, type Progress, progressOf } from './progress.ts';
export {
  fuseLearned,
  needsHeadRanges,
  type QuantizeInput,
  type QuantizeResult,
  quantizeModel,
  withKnownRanges,
} from './quantize-model.ts';
export { randomRotation } from './random-rotation.ts';
export { defaultRangeRules, needsHistogram, rangeOf, rangeRulesOf, rangesBy } from './range-rules.ts';
export {
  type ReconstructedLayer,
  type ReconstructInput,
  type ReconstructOptions,
  reconstruct,
} from './reconstruct.ts';
export { type RotateOptions, rotate, rotateHeads, rotateResidual } from './rotations.ts';
export { roundWithFeedback } from './round-with-feedback.ts';
export { roundingError } from './rounding-error.ts';
export type { Exponents } from './scale-candidates.ts';
export { type LearningRate, learningRateAt } from './schedule.ts';
export {
  frequentTokens,
  type Prefix,
  type PrefixInput,
  type PrefixOptions,
  searchPrefix,
} from './search-prefix.ts';
export {
  type ScaleChoice,
  type SearchedLayer,
  type SearchedScales,
  type SearchScalesInput,
  type SearchScalesOptions,
  searchScales,
} from './search-scales.ts';
export { type SiteDivergenceInput, type SiteDivergenceOptions, siteDivergence } from './site-divergence.ts';
export { type SmoothQuantOptions, smooth } from './smooth-quant.ts';
export {
  type ChannelStatistics,
  collectStatistics,
  rangesOf,
  type SiteStatistics,
  type Statistics,
  type StatisticsOptions,
} from './statistics.ts';
export { countsBeside, type StreamOfLinear, streamOf } from './token-counts.ts';
export {
  applyTransform,
  type ChannelScale,
  type LayerTransform,
  overQueryHeads,
  type TransformOptions,
} from './transform.ts';
export { TransformError } from './transform-error.ts';
export { type LayerScales, scaledWeights, type TransformLayer, viewWeights } from './transformed-weights.ts';
export { type Tuned, type TuningEvaluation, type TuningInput, type TuningOptions, tune, tuningRate } from './tuning.ts';
export type { TuningTargets } from './tuning-parameters.ts';
