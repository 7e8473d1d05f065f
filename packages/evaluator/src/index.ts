/** Measures language models: perplexity, agreement, signal to noise; and writes tables. */

export { type CompareOptions, type Comparison, compareModels, type LogitDistance } from './compare-models.ts';
export { logSumExp, negativeLogLikelihood, negativeLogLikelihoodFromLogits } from './log-likelihood.ts';
// Of any LanguageModel
export { type LogRatio, pairedLogRatio } from './paired-log-ratio.ts';
export {
  type Decode,
  type Perplexity,
  type PerplexityOptions,
  perplexity,
  type WindowScore,
  wordCount,
} from './perplexity.ts';
// Of decoders
export { decibels, layerSignalToNoise } from './signal-to-noise.ts';
export { type SiteRatio, siteSignalToNoise } from './site-signal-to-noise.ts';
// Reports
export { alignedTable, formatNumber, markdownTable, type Table } from './table.ts';
export { WindowError, type WindowOptions, windowsOf } from './windows.ts';
