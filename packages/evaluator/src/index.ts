/** Measures language models: perplexity, agreement, signal to noise, tasks; and writes tables. */

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
// Tasks
export { type Block, type BlockOptions, blocksOf, type LoadedTask } from './tasks/blocks.ts';
export { selectTasks, taskNames } from './tasks/built-in-tasks.ts';
export { type CompletionsOptions, completionsScorer, type PostJson } from './tasks/completions-scorer.ts';
export type { Request, TextCoder } from './tasks/encode-pair.ts';
export { evaluateBlock, type ItemRecord } from './tasks/evaluate-block.ts';
export type { ItemValue, MetricName, MetricResult } from './tasks/metrics.ts';
export { parseTask } from './tasks/parse-task.ts';
export {
  HARNESS,
  mergeRecords,
  parseRecords,
  type RunHeader,
  type RunRecords,
  type RunResult,
  recordLine,
  resultOf,
  runIdentity,
  type Shard,
} from './tasks/run-records.ts';
export { type ModelScorerOptions, modelScorer, type Score, type Scorer } from './tasks/score.ts';
export type { CountedTask, Summary, TaskResult, TaskTiming } from './tasks/summarize.ts';
export type { ChoiceTask, ContinuationTask, Task, TaskGroup, TextTask } from './tasks/task.ts';
export { TaskError } from './tasks/task-error.ts';
export type { Item } from './tasks/template.ts';
export { articlesOf } from './tasks/wikitext.ts';
export { WindowError, type WindowOptions, windowsOf } from './windows.ts';
