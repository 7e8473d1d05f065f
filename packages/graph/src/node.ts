/** Models as files: streamed to disk, and read lazily from it. */
export { readModel } from './read-model.ts';
export {
  type ExternalDataChoice,
  type SharedWeights,
  type WriteModelOptions,
  type WrittenModel,
  writeModel,
} from './write-model.ts';
