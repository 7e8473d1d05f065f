/** The command line's stages as functions, from directory to directory. */

// Models and samples
export { type Model, readModel, type ReadModelOptions } from './read-model.ts';
export { readRecipe } from './read-recipe.ts';
export { allTokens, evenSamples, mulberry32, randomSamples, readTokens, SampleError, type SampleOptions, type TokenSource } from './samples.ts';

// Quantize
export {
  LEARNING_FILE,
  quantizeDirectory,
  type QuantizeDirectoryInput,
  type QuantizeDirectoryOptions,
  type QuantizedDirectory,
} from './quantize-directory.ts';
export { learningFile, LearningFileError } from './learning-file.ts';
export {
  type ModelSizes,
  type Provenance,
  QUANTIZATION_FILE,
  QuantizedDirectoryError,
  readQuantized,
  sizesOf,
  writeQuantized,
} from './quantized-directory.ts';

// Measure and export
export { exportedModel, floatModel, type Form, type FormOptions, integerModelOf, openForm, simulatedModel } from './forms.ts';
export { exportDirectory, type ExportDirectoryOptions } from './export-directory.ts';
export {
  compareMethods,
  type CompareMethodsInput,
  type CompareMethodsOptions,
  comparisonTable,
  type MethodComparison,
  type MethodResult,
} from './compare-methods.ts';

// The command line itself
export { runCommandLine } from './command-line.ts';
export type { Surroundings } from './command.ts';
export { duration, size } from './progress.ts';
