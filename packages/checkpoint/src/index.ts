/** What is pure about model files: the safetensors header, PyTorch's pickles and zips, 16-bit floats, tensor names, tokenizing. Files are in `./node`. */

export { type DType, type DTypeInfo, dtypeFromTag, dtypeInfo, dtypeTags, type StoredArray } from './dtype.ts';
export { CheckpointError, type CheckpointProblem, FormatError, type FormatProblem, OverflowError } from './errors.ts';
export { fromBfloat16, fromFloat16, type Narrowed, toBfloat16, toFloat16 } from './float16.ts';
export {
  type GgufArray,
  type GgufHeader,
  type GgufTensor,
  type GgufValue,
  MAX_GGUF_HEADER_BYTES,
  parseGgufHeader,
} from './gguf.ts';
export {
  dequantize,
  type GgmlType,
  type GgmlTypeInfo,
  ggmlTypeFromCode,
  ggmlTypeInfo,
  ggmlTypes,
} from './gguf-blocks.ts';
export { type GgufModel, ggufModel } from './gguf-config.ts';
export { type GgufView, ggufArchitectures, ggufViews, interleavedRow, type ModelSizes } from './gguf-names.ts';
export { type GgufTokenizer, ggufTokenizer } from './gguf-tokenizer.ts';
export { type JsonObject, type JsonValue, parseJsonObject } from './json.ts';
export { isComputedBuffer } from './names.ts';
export {
  type PickleBuilder,
  type PickleDict,
  type PickleList,
  type PickleRules,
  type PickleTuple,
  type PickleValue,
  readPickle,
} from './pickle.ts';
export {
  elementsOf,
  encodeHeader,
  PREFIX_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type TensorEntry,
  type TensorSpec,
  tensorBytes,
} from './safetensors.ts';
export { createTokenizer, type Tokenizer } from './tokenizer.ts';
export { readTorchPickle, type TorchPickle, type TorchStorage, type TorchTensor } from './torch-pickle.ts';
export {
  parseZipDirectory,
  parseZipEnd,
  parseZipHeader,
  ZIP_END_BYTES,
  type ZipDirectory,
  type ZipEntry,
  zipHeaderBytes,
} from './zip.ts';
