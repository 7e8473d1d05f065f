/** Model directories and GGUF files on disk, and models from the Hugging Face hub. */
export { type Checkpoint, openCheckpoint, readTokenizer } from './checkpoint.ts';
export { type CheckpointWeights, openWeights } from './checkpoint-weights.ts';
export type { DType, StoredArray } from './dtype.ts';
export { CheckpointError, FormatError, OverflowError } from './errors.ts';
export { type DatasetSplit, fetchSplit } from './fetch-split.ts';
export { type GgufFile, openGguf } from './gguf-file.ts';
export type { DownloadProgress, HubOptions } from './hub-revision.ts';
export type { JsonObject, JsonValue } from './json.ts';
export { readJson, readJsonIfThere } from './read-json.ts';
export { type ResolveModelOptions, resolveModel } from './resolve-model.ts';
export { openSafetensors, readSafetensors, type SafetensorsFile, type Tensor } from './safetensors-file.ts';
export type { TensorFile, TensorInfo } from './tensor-file.ts';
export type { Tokenizer } from './tokenizer.ts';
export { openTorchFile } from './torch-file.ts';
export {
  checkReplaceable,
  type StoredFloat,
  type WriteCheckpointOptions,
  writeCheckpoint,
} from './write-checkpoint.ts';
export { writeFileAtomic } from './write-file-atomic.ts';
export {
  type TensorSource,
  type WriteSafetensorsOptions,
  type WrittenFiles,
  writeSafetensors,
} from './write-safetensors.ts';
