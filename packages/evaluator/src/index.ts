/** Measures language models: perplexity, agreement, signal to noise; and writes tables. */

// Of any LanguageModel
export { perplexity, type Perplexity, type PerplexityOptions, type WindowScore, wordCount } from './perplexity.ts';
export { compareModels, type CompareOptions, type Comparison } from './compare-models.ts';
export { logSumExp, negativeLogLikelihood, negativeLogLikelihoodFromLogits } from './log-likelihood.ts';
export { WindowError, type WindowOptions, windowsOf } from './windows.ts';

// Of decoders
export { decibels, layerSignalToNoise } from './signal-to-noise.ts';

// Reports
export { alignedTable, formatNumber, markdownTable, type Table } from './table.ts';
