/** The command line's stages as functions, from directory to directory. */

export type { Surroundings } from './command.ts';
// The command line itself
export { runCommandLine } from './command-line.ts';
// Convert
export {
  type CompareMethodsInput,
  type CompareMethodsOptions,
  compareMethods,
  comparisonTable,
  type MethodComparison,
  type MethodResult,
} from './compare-methods.ts';
export { type Converted, type ConvertOptions, convertDirectory } from './convert-directory.ts';
export { evaluateTasks, type TaskRun, type TaskRunOptions } from './evaluate-tasks.ts';
export { type ExportContextOptions, exportContext, qnnContextTarget } from './export-context.ts';
export { type ExportDirectoryOptions, exportDirectory } from './export-directory.ts';
export { FileError } from './file-error.ts';
// Measure and export
export {
  exportedModel,
  type Form,
  type FormOptions,
  floatModel,
  integerModelOf,
  openForm,
  simulatedModel,
} from './forms.ts';
export { LearningFileError, learningFile } from './learning-file.ts';
export { type LintedGraph, lintDirectory } from './lint-directory.ts';
export { duration, size } from './progress.ts';
// Quantize
export {
  LEARNING_FILE,
  type QuantizeDirectoryInput,
  type QuantizeDirectoryOptions,
  type QuantizedDirectory,
  quantizeDirectory,
} from './quantize-directory.ts';
export {
  type ModelSizes,
  type Provenance,
  QUANTIZATION_FILE,
  readQuantized,
  sizesOf,
  writeQuantized,
} from './quantized-directory.ts';
export { QuantizedDirectoryError } from './quantized-directory-error.ts';
// Models and samples
export { type Model, type ReadModelOptions, readModel } from './read-model.ts';
export { readRecipe } from './read-recipe.ts';
export { isReference, readReference } from './read-reference.ts';
// The reference implementation's form
export { ReferenceFormError } from './reference-config.ts';
export {
  allTokens,
  evenSamples,
  randomSamples,
  readTokens,
  SampleError,
  type SampleOptions,
  type TokenSource,
} from './samples.ts';
export type { DTypeChoice } from './storage.ts';
export { readTaskData, type TaskData, type TaskDataOptions } from './task-data.ts';
export { writeLogits } from './write-logits.ts';
export { type WriteReferenceInput, writeReference } from './write-reference.ts';
